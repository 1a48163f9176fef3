"""Trees, bushes, reeds, boulders and figures: stencils that are built once, then lit and scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import cv2
import numpy as np

from data.synthetic.canvas import Canvas, Patch
from data.synthetic.light import Light, mix, rgb
from data.synthetic.noise import Noise, stream
from data.synthetic.textures import STONES

SIZE = 144
VARIANTS = 8
BARK = rgb(92, 74, 58)


@dataclass(frozen=True)
class Stencil:
    """An unlit sprite: two arrays, float32 (SIZE, SIZE, 3), rows from the top.

    shape: alpha 0..1, normal to the right, normal up. look: factor of its color, share of its
    second color (bark, blossom, clothes), coverage of its area in the layout, 0..1.
    """

    shape: np.ndarray
    look: np.ndarray


class _StencilBuilder:
    """Builds a stencil. Coordinates: x -1..1 to the right, y 0..2 up from the foot."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        step = 2 / SIZE
        self.x = np.repeat(((np.arange(SIZE) + 0.5) * step - 1)[None, :], SIZE, 0).astype("f4")
        self.y = np.repeat((2 - (np.arange(SIZE) + 0.5) * step)[:, None], SIZE, 1).astype("f4")
        self.noise = Noise(rng)
        self.alpha, self.nx, self.ny, self.second = np.zeros((4, SIZE, SIZE), np.float32)
        self.tone = np.ones((SIZE, SIZE), np.float32)

    def blob(self, x: float, y: float, wide: float, high: float, rough: float, tone: float) -> None:
        """Add a rounded mass of leaves or stone."""
        dx, dy = (self.x - x) / wide, (self.y - y) / high
        ragged = rough * self.noise.band(self.x, self.y, 0.09)
        inside = dx * dx + dy * dy + ragged < 1
        self.alpha[inside] = 1
        self.nx[inside] = dx[inside] * 0.8
        self.ny[inside] = dy[inside] * 0.8
        self.tone[inside] = tone
        self.second[inside] = 0

    def limb(self, start: tuple[float, float], end: tuple[float, float], thick: float) -> None:
        """Add a tapering limb of the second color."""
        (x0, y0), (x1, y1) = start, end
        along = np.array((x1 - x0, y1 - y0))
        length = float(np.hypot(*along))
        ux, uy = along / length
        t = (self.x - x0) * ux + (self.y - y0) * uy
        aside = (self.x - x0) * -uy + (self.y - y0) * ux
        width = thick * (1 - 0.6 * np.clip(t / length, 0, 1))
        inside = (t > 0) & (t < length) & (np.abs(aside) < width)
        self.alpha[inside] = 1
        self.nx[inside] = (aside / width * 0.8)[inside] * -np.sign(uy or 1)
        self.ny[inside] = 0
        self.second[inside] = 1
        self.tone[inside] = 1

    def finished(self, grain: float, closing: int) -> Stencil:
        """Return the stencil with the grain of leaves or stone, and its area in the layout."""
        leaves = self.noise.band(self.x, self.y, 0.055)
        leaves += 0.6 * self.noise.band(self.x, self.y, 0.12)
        tone = self.tone * np.clip(1 + grain * leaves, 0.25, 1.8)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (closing, closing))
        # Padded, or the closing would fill the corners.
        wide = cv2.morphologyEx(np.pad(self.alpha, closing), cv2.MORPH_CLOSE, kernel)
        solid = cv2.GaussianBlur(wide, (0, 0), closing / 4)[closing:-closing, closing:-closing]
        return Stencil(
            np.dstack((self.alpha, self.nx, self.ny)).astype(np.float32),
            np.dstack((tone, self.second, solid)).astype(np.float32),
        )


def _broadleaf(builder: _StencilBuilder) -> Stencil:
    rng = builder.rng
    crown = rng.uniform(1.08, 1.25)
    wide, high = rng.uniform(0.62, 0.85), 1.92 - crown
    builder.limb((0, 0), (rng.uniform(-0.08, 0.08), crown), rng.uniform(0.06, 0.09))
    for side in (-1, 1):
        builder.limb((0, 0.35), (side * wide * 0.6, crown), 0.04)
    # Back and low masses first: the lit ones on top overlap them.
    for level in np.linspace(-0.9, 0.92, 44):
        reach = wide * np.sqrt(1 - level**2) * (1.1 if level < 0 else 1.0)
        size = rng.uniform(0.11, 0.24)
        x, y = rng.uniform(-1, 1) * max(reach - 0.5 * size, 0.05), crown + level * (high - 0.1)
        builder.blob(x, y, size * 1.2, size, 0.3, 0.62 + 0.36 * (level + 1) / 2)
    return builder.finished(0.24, 9)


def _poplar(builder: _StencilBuilder) -> Stencil:
    rng = builder.rng
    builder.limb((0, 0), (0, 0.7), 0.05)
    wide = rng.uniform(0.2, 0.32)
    for level in np.linspace(0.2, 1.84, 28):
        reach = wide * np.sin(np.pi * np.clip((level + 0.05) / 2.0, 0, 1)) ** 0.7
        size = max(0.07, reach * 0.9)
        builder.blob(
            rng.uniform(-0.5, 0.5) * reach, level, size, size * 1.4, 0.25, 0.75 + 0.1 * level
        )
    return builder.finished(0.22, 9)


def _conifer(builder: _StencilBuilder) -> Stencil:
    rng = builder.rng
    builder.limb((0, 0), (0, 1.7), 0.035)
    tiers = int(rng.integers(8, 13))
    wide = rng.uniform(0.38, 0.56)
    start = rng.uniform(0.1, 0.3)
    for tier in range(tiers):
        share = tier / (tiers - 1)
        foot = start + (1.86 - start) * share**0.92
        reach = wide * (1 - share) ** 0.85 * rng.uniform(0.85, 1.12) + 0.03
        drop = 0.17 * (1 - 0.5 * share)
        # A skirt of boughs hangs lower at its ends and is dark below.
        sag = (
            foot - 0.25 * np.abs(builder.x) + 0.03 * builder.noise.band(builder.x, builder.y, 0.07)
        )
        rise = (builder.y - sag) / (drop * 2.0)
        edge = (
            reach
            * (1 - np.clip(rise, 0, 1))
            * (1 + 0.12 * builder.noise.band(builder.y, builder.x, 0.1))
        )
        inside = (rise > 0) & (rise < 1) & (np.abs(builder.x) < edge)
        builder.alpha[inside] = 1
        builder.nx[inside] = (np.clip(builder.x / max(reach, 0.05), -1, 1) * 0.8)[inside]
        builder.ny[inside] = 0.35
        builder.tone[inside] = (0.5 + 0.6 * np.clip(rise * 1.5, 0, 1))[inside]
        builder.second[inside] = 0
    return builder.finished(0.2, 9)


def _palm(builder: _StencilBuilder) -> Stencil:
    rng = builder.rng
    lean = rng.uniform(-0.35, 0.35)
    spine = [(lean * (t**2), 1.45 * t) for t in np.linspace(0, 1, 6)]
    for start, end in pairwise(spine):
        builder.limb(start, end, 0.04)
    top_x, top_y = spine[-1]
    for angle in np.linspace(-0.5, np.pi + 0.5, 13) + rng.uniform(-0.12, 0.12, 13):
        length = rng.uniform(0.5, 0.66)
        for t in np.linspace(0.08, 1, 22):
            x = top_x + np.cos(angle) * length * t
            y = top_y + np.sin(angle) * length * 0.8 * t - 0.26 * length * t * t
            size = 0.06 * np.sin(np.pi * (0.15 + 0.85 * t)) + 0.012
            builder.blob(x, y, size, size * 0.8, 0.6, 0.75 + 0.3 * np.sin(angle))
    return builder.finished(0.25, 15)


def _bush(builder: _StencilBuilder) -> Stencil:
    rng = builder.rng
    for level in np.linspace(0.15, 1.0, 22):
        reach = 0.78 * np.sqrt(1 - (level / 1.35) ** 2)
        size = rng.uniform(0.2, 0.32)
        x = rng.uniform(-1, 1) * (reach - 0.1)
        builder.blob(x, level * 0.95, size, size * 0.9, 0.3, 0.62 + 0.4 * level)
    builder.alpha[builder.y < 0.06] = 0
    flowers = builder.noise.band(builder.x, builder.y, 0.1) > 1.5
    builder.second[flowers & (rng.random() < 0.6)] = 1
    return builder.finished(0.26, 13)


def _reeds(builder: _StencilBuilder) -> Stencil:
    rng = builder.rng
    for _ in range(90):
        foot = rng.normal(0, 0.34)
        bend = rng.normal(0.3 * foot, 0.18)
        high = rng.uniform(0.7, 1.9) * np.exp(-(foot**2) * 0.8)
        t = np.clip(builder.y / high, 0, 1)
        width = 0.030 * (1 - t) + 0.006
        aside = (builder.x - foot - bend * t**2) / width
        inside = (np.abs(aside) < 1) & (builder.y < high)
        builder.alpha[inside] = 1
        builder.nx[inside] = (aside * 0.7)[inside]
        builder.ny[inside] = 0.4
        builder.tone[inside] = (rng.uniform(0.6, 1.25) * (0.55 + 0.6 * t))[inside]
        builder.second[inside] = float(rng.random() < 0.12)
    return builder.finished(0.1, 21)


def _boulder(builder: _StencilBuilder) -> Stencil:
    rng = builder.rng
    angle = np.arctan2(builder.y - 0.45, builder.x)
    reach = np.full_like(angle, 2.0)
    away = np.hypot(
        builder.x / rng.uniform(0.75, 0.95), (builder.y - 0.45) / rng.uniform(0.6, 0.85)
    )
    facets_x, facets_y = np.zeros_like(angle), np.zeros_like(angle)
    # Planes cut a stone out of a block; the nearest plane gives the facet.
    for turn in range(9):
        way = (turn + rng.uniform(-0.4, 0.4)) * 2 * np.pi / 9
        cut = rng.uniform(0.62, 0.9) / np.maximum(np.cos(angle - way), 0.45)
        nearer = cut < reach
        reach = np.minimum(reach, cut)
        facets_x[nearer], facets_y[nearer] = np.cos(way), np.sin(way)
    rough = 0.06 * builder.noise.fractal(builder.x, builder.y, 0.6)
    share = away / reach + rough
    inside = (share < 1) & (builder.y > 0.02 + 0.03 * rough)
    bump = 0.22 * builder.noise.band(builder.x, builder.y, 0.3)
    builder.alpha[inside] = 1
    builder.nx[inside] = np.clip(facets_x * share * 0.85 + bump, -0.95, 0.95)[inside]
    builder.ny[inside] = np.clip(facets_y * share * 0.7 + 0.3 * bump + 0.25, -0.3, 0.95)[inside]
    builder.tone[inside] = np.clip(0.65 + 0.35 * builder.y, 0, 1.1)[inside]
    return builder.finished(0.12, 7)


def _figure(builder: _StencilBuilder) -> Stencil:
    rng = builder.rng
    stride = rng.uniform(0.05, 0.16)
    for side in (-1, 1):
        builder.limb((side * stride, 0.0), (side * 0.04, 0.95), 0.085)
    builder.blob(0, 1.25, 0.2, 0.36, 0.0, 1.0)
    for side in (-1, 1):
        builder.blob(side * 0.22, 1.2, 0.06, 0.3, 0.0, 0.9)
    builder.blob(0, 1.76, 0.13, 0.16, 0.0, 1.0)
    builder.second[builder.y > 1.6] = 0.6
    return builder.finished(0.05, 15)


BUILDERS: dict[str, Callable[[_StencilBuilder], Stencil]] = {
    "broadleaf": _broadleaf, "poplar": _poplar, "conifer": _conifer, "palm": _palm,
    "bush": _bush, "reeds": _reeds, "boulder": _boulder, "figure": _figure,
}  # fmt: skip
LEAFY = ("broadleaf", "poplar", "conifer", "bush")
CLASSES = {"bush": "plant", "reeds": "plant", "boulder": "rock", "figure": "person"}
CLOTHES = (rgb(168, 52, 48), rgb(58, 82, 138), rgb(210, 196, 160), rgb(64, 66, 72))
BLOSSOMS = (rgb(226, 214, 90), rgb(212, 120, 160), rgb(236, 236, 230), rgb(176, 84, 170))


@cache
def stencil(kind: str, variant: int, flip: bool = False) -> Stencil:
    """Return one of the stencils of a kind, the same in every image of every run."""
    if flip:
        base = stencil(kind, variant)
        shape = base.shape[:, ::-1] * np.array((1, -1, 1), np.float32)
        return Stencil(shape, np.ascontiguousarray(base.look[:, ::-1]))
    return BUILDERS[kind](_StencilBuilder(stream(2022, variant, kind)))


@dataclass(frozen=True)
class Sprite:
    """A stencil on the land at (x, z), its foot at height `foot`, `tall` meters high.

    hue: 0..1, its position in the palette.
    """

    kind: str
    variant: int
    x: float
    z: float
    foot: float
    tall: float
    hue: float
    flip: bool

    @classmethod
    def of(
        cls, rng: np.random.Generator, kind: str, at: tuple[float, float, float], tall: float
    ) -> Sprite:
        """Return a sprite of a kind at (x, height, z)."""
        x, foot, z = at
        variant, hue, flip = int(rng.integers(VARIANTS)), float(rng.random()), rng.random() < 0.5
        return cls(kind, variant, x, z, foot, float(tall), hue, bool(flip))

    def render(self, canvas: Canvas) -> None:
        """Render the sprite, its shadow, and its reflection in water."""
        camera = canvas.light.camera
        size = max(
            2, round(self.tall * camera.scale_at(self.z) * (2.0 / _TALL.get(self.kind, 2.0)))
        )
        row, column = camera.row_at(self.foot, self.z), camera.column_at(self.x, self.z)
        top, left = round(row) - size, round(column - size / 2)
        columns = _visible(left, size, camera.width)
        mirrors = self.foot < 0.5 * self.tall and bool(canvas.all_wet.any())
        # Rows outside the image may still show in the water.
        rows = slice(0, size) if mirrors else _visible(top, size, camera.height)
        if columns.stop <= columns.start or rows.stop <= rows.start:
            return
        base = stencil(self.kind, self.variant, self.flip)
        alpha, nx, ny = cv2.split(_scaled(base.shape, size, rows, columns))
        tone, second, solid = cv2.split(_scaled(base.look, size, rows, columns))
        if size > SIZE and self.kind in LEAFY:
            # An enlarged stencil is too smooth for leaves.
            leaves = canvas.leaves(alpha.shape)
            tone = tone * np.clip(1 + 0.4 * leaves, 0.3, 1.8)
            alpha = np.clip((alpha + 0.22 * leaves - 0.5) * 3 + 0.5, 0, 1) * (alpha > 0.05)
        alpha = np.minimum(alpha * 1.1, 1)
        color = self._color(canvas.light, nx, ny, tone, second)
        top, left = top + rows.start, left + columns.start
        if mirrors:
            mirrored = round(camera.row_at(-self.foot, self.z))
            canvas.reflect(Patch(mirrored, left, color[::-1], alpha[::-1]), self.z)
        canvas.shade(column, row, 0.42 * size, 0.06 * size + 1, 0.45)
        name = CLASSES.get(self.kind, "tree")
        canvas.composite(name, Patch(top, left, color, alpha), solid > 0.5, self.z)

    def _color(
        self, light: Light, nx: np.ndarray, ny: np.ndarray, tone: np.ndarray, second: np.ndarray
    ) -> np.ndarray:
        """Return lit colors (h, w, 3)."""
        first_color, second_color = self._palette(light)
        shine = light.on(nx, ny, -np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0)))
        if self.kind in LEAFY:
            # Leaves are translucent.
            shine += 0.22 * light.sun
        return mix(first_color * tone[..., None], second_color, second) * shine

    def _palette(self, light: Light) -> tuple[np.ndarray, np.ndarray]:
        style = light.style
        leaves = np.stack(style.leaves)
        green = leaves[int(self.hue * 3.999)] * (0.85 + 0.3 * ((self.hue * 7) % 1))
        if self.kind in ("conifer", "palm"):
            # Evergreens keep their color in autumn.
            green = mix(rgb(44, 82, 50), rgb(60, 92, 48), self.hue)
        if self.kind == "boulder":
            return mix(*STONES[int(self.hue * 3.999)], 0.2), BARK
        if self.kind == "figure":
            return CLOTHES[int(self.hue * 3.999)], rgb(72, 62, 60)
        if self.kind == "reeds":
            return mix(style.grass[0], style.grass[2], self.hue), rgb(150, 108, 66)
        if self.kind == "bush":
            return mix(green, style.grass[1], 0.45) * 1.1, BLOSSOMS[int(self.hue * 39.99) % 4]
        return green, BARK


# Heights, of 2, of the stencils of a kind.
_TALL = {"bush": 1.25, "boulder": 1.1, "reeds": 1.7}


def _visible(start: int, size: int, limit: int) -> slice:
    """Return the part of a span of pixels within 0..limit, counted from the start of the span."""
    return slice(max(0, -start), min(size, limit - start))


def _scaled(fields: np.ndarray, size: int, rows: slice, columns: slice) -> np.ndarray:
    """Return a part of a stencil's array (SIZE, SIZE, 3), scaled to `size` pixels per side."""
    if size < SIZE:
        return cv2.resize(fields, (size, size), interpolation=cv2.INTER_AREA)[rows, columns]
    step = SIZE / size
    start = [(part.start + 0.5) * step - 0.5 for part in (columns, rows)]
    return cv2.warpAffine(
        fields,
        np.array(((step, 0, start[0]), (0, step, start[1]))),
        (columns.stop - columns.start, rows.stop - rows.start),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
