"""Trees, bushes, reeds, boulders and figures: stencils drawn once, then lit and scaled at will."""

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
    """A thing without its light: float32 (SIZE, SIZE, 3) each, rows from the top.

    shape: alpha 0..1, the surface's normal to the right, its normal up. look: factor of its colour,
    share of its second colour (bark, blossom, clothes), what a person would outline, 0..1.
    """

    shape: np.ndarray
    look: np.ndarray


class _Board:
    """A stencil being drawn. Coordinates: x -1..1 to the right, y 0..2 up from the foot."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        step = 2 / SIZE
        self.x = np.repeat(((np.arange(SIZE) + 0.5) * step - 1)[None, :], SIZE, 0).astype("f4")
        self.y = np.repeat((2 - (np.arange(SIZE) + 0.5) * step)[:, None], SIZE, 1).astype("f4")
        self.noise = Noise(rng)
        self.alpha, self.nx, self.ny, self.second = np.zeros((4, SIZE, SIZE), np.float32)
        self.tone = np.ones((SIZE, SIZE), np.float32)

    def blob(self, x: float, y: float, wide: float, high: float, rough: float, tone: float) -> None:
        """A rounded mass of leaves or stone."""
        dx, dy = (self.x - x) / wide, (self.y - y) / high
        ragged = rough * self.noise.band(self.x, self.y, 0.09)
        inside = dx * dx + dy * dy + ragged < 1
        self.alpha[inside] = 1
        self.nx[inside] = dx[inside] * 0.8
        self.ny[inside] = dy[inside] * 0.8
        self.tone[inside] = tone
        self.second[inside] = 0

    def limb(self, start: tuple[float, float], end: tuple[float, float], thick: float) -> None:
        """A tapering limb of the second colour."""
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
        """Add the grain of leaves or stone, and the outline that a layout shows."""
        leaves = self.noise.band(self.x, self.y, 0.055)
        leaves += 0.6 * self.noise.band(self.x, self.y, 0.12)
        tone = self.tone * np.clip(1 + grain * leaves, 0.25, 1.8)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (closing, closing))
        # Room around it, or the closing would fill the corners.
        wide = cv2.morphologyEx(np.pad(self.alpha, closing), cv2.MORPH_CLOSE, kernel)
        solid = cv2.GaussianBlur(wide, (0, 0), closing / 4)[closing:-closing, closing:-closing]
        return Stencil(
            np.dstack((self.alpha, self.nx, self.ny)).astype(np.float32),
            np.dstack((tone, self.second, solid)).astype(np.float32),
        )


def _broadleaf(board: _Board) -> Stencil:
    rng = board.rng
    crown = rng.uniform(1.08, 1.25)
    wide, high = rng.uniform(0.62, 0.85), 1.92 - crown
    board.limb((0, 0), (rng.uniform(-0.08, 0.08), crown), rng.uniform(0.06, 0.09))
    for side in (-1, 1):
        board.limb((0, 0.35), (side * wide * 0.6, crown), 0.04)
    # Back and low masses first, so that the lit ones on top overlap them.
    for level in np.linspace(-0.9, 0.92, 44):
        reach = wide * np.sqrt(1 - level**2) * (1.1 if level < 0 else 1.0)
        size = rng.uniform(0.11, 0.24)
        x, y = rng.uniform(-1, 1) * max(reach - 0.5 * size, 0.05), crown + level * (high - 0.1)
        board.blob(x, y, size * 1.2, size, 0.3, 0.62 + 0.36 * (level + 1) / 2)
    return board.finished(0.24, 9)


def _poplar(board: _Board) -> Stencil:
    rng = board.rng
    board.limb((0, 0), (0, 0.7), 0.05)
    wide = rng.uniform(0.2, 0.32)
    for level in np.linspace(0.2, 1.84, 28):
        reach = wide * np.sin(np.pi * np.clip((level + 0.05) / 2.0, 0, 1)) ** 0.7
        size = max(0.07, reach * 0.9)
        board.blob(
            rng.uniform(-0.5, 0.5) * reach, level, size, size * 1.4, 0.25, 0.75 + 0.1 * level
        )
    return board.finished(0.22, 9)


def _conifer(board: _Board) -> Stencil:
    rng = board.rng
    board.limb((0, 0), (0, 1.7), 0.035)
    tiers = int(rng.integers(8, 13))
    wide = rng.uniform(0.38, 0.56)
    start = rng.uniform(0.1, 0.3)
    for tier in range(tiers):
        share = tier / (tiers - 1)
        foot = start + (1.86 - start) * share**0.92
        reach = wide * (1 - share) ** 0.85 * rng.uniform(0.85, 1.12) + 0.03
        drop = 0.17 * (1 - 0.5 * share)
        # A skirt of boughs: it hangs lower at its ends and is dark below.
        sag = foot - 0.25 * np.abs(board.x) + 0.03 * board.noise.band(board.x, board.y, 0.07)
        rise = (board.y - sag) / (drop * 2.0)
        edge = (
            reach * (1 - np.clip(rise, 0, 1)) * (1 + 0.12 * board.noise.band(board.y, board.x, 0.1))
        )
        inside = (rise > 0) & (rise < 1) & (np.abs(board.x) < edge)
        board.alpha[inside] = 1
        board.nx[inside] = (np.clip(board.x / max(reach, 0.05), -1, 1) * 0.8)[inside]
        board.ny[inside] = 0.35
        board.tone[inside] = (0.5 + 0.6 * np.clip(rise * 1.5, 0, 1))[inside]
        board.second[inside] = 0
    return board.finished(0.2, 9)


def _palm(board: _Board) -> Stencil:
    rng = board.rng
    lean = rng.uniform(-0.35, 0.35)
    spine = [(lean * (t**2), 1.45 * t) for t in np.linspace(0, 1, 6)]
    for start, end in pairwise(spine):
        board.limb(start, end, 0.04)
    top_x, top_y = spine[-1]
    for angle in np.linspace(-0.5, np.pi + 0.5, 13) + rng.uniform(-0.12, 0.12, 13):
        length = rng.uniform(0.5, 0.66)
        for t in np.linspace(0.08, 1, 22):
            x = top_x + np.cos(angle) * length * t
            y = top_y + np.sin(angle) * length * 0.8 * t - 0.26 * length * t * t
            size = 0.06 * np.sin(np.pi * (0.15 + 0.85 * t)) + 0.012
            board.blob(x, y, size, size * 0.8, 0.6, 0.75 + 0.3 * np.sin(angle))
    return board.finished(0.25, 15)


def _bush(board: _Board) -> Stencil:
    rng = board.rng
    for level in np.linspace(0.15, 1.0, 22):
        reach = 0.78 * np.sqrt(1 - (level / 1.35) ** 2)
        size = rng.uniform(0.2, 0.32)
        x = rng.uniform(-1, 1) * (reach - 0.1)
        board.blob(x, level * 0.95, size, size * 0.9, 0.3, 0.62 + 0.4 * level)
    board.alpha[board.y < 0.06] = 0
    flowers = board.noise.band(board.x, board.y, 0.1) > 1.5
    board.second[flowers & (rng.random() < 0.6)] = 1
    return board.finished(0.26, 13)


def _reeds(board: _Board) -> Stencil:
    rng = board.rng
    for _ in range(90):
        foot = rng.normal(0, 0.34)
        bend = rng.normal(0.3 * foot, 0.18)
        high = rng.uniform(0.7, 1.9) * np.exp(-(foot**2) * 0.8)
        t = np.clip(board.y / high, 0, 1)
        width = 0.030 * (1 - t) + 0.006
        aside = (board.x - foot - bend * t**2) / width
        inside = (np.abs(aside) < 1) & (board.y < high)
        board.alpha[inside] = 1
        board.nx[inside] = (aside * 0.7)[inside]
        board.ny[inside] = 0.4
        board.tone[inside] = (rng.uniform(0.6, 1.25) * (0.55 + 0.6 * t))[inside]
        board.second[inside] = float(rng.random() < 0.12)
    return board.finished(0.1, 21)


def _boulder(board: _Board) -> Stencil:
    rng = board.rng
    angle = np.arctan2(board.y - 0.45, board.x)
    reach = np.full_like(angle, 2.0)
    away = np.hypot(board.x / rng.uniform(0.75, 0.95), (board.y - 0.45) / rng.uniform(0.6, 0.85))
    facets_x, facets_y = np.zeros_like(angle), np.zeros_like(angle)
    # A stone is what a few planes cut out of the block; the nearest plane gives the facet.
    for turn in range(9):
        way = (turn + rng.uniform(-0.4, 0.4)) * 2 * np.pi / 9
        cut = rng.uniform(0.62, 0.9) / np.maximum(np.cos(angle - way), 0.45)
        nearer = cut < reach
        reach = np.minimum(reach, cut)
        facets_x[nearer], facets_y[nearer] = np.cos(way), np.sin(way)
    rough = 0.06 * board.noise.fractal(board.x, board.y, 0.6)
    share = away / reach + rough
    inside = (share < 1) & (board.y > 0.02 + 0.03 * rough)
    bump = 0.22 * board.noise.band(board.x, board.y, 0.3)
    board.alpha[inside] = 1
    board.nx[inside] = np.clip(facets_x * share * 0.85 + bump, -0.95, 0.95)[inside]
    board.ny[inside] = np.clip(facets_y * share * 0.7 + 0.3 * bump + 0.25, -0.3, 0.95)[inside]
    board.tone[inside] = np.clip(0.65 + 0.35 * board.y, 0, 1.1)[inside]
    return board.finished(0.12, 7)


def _figure(board: _Board) -> Stencil:
    rng = board.rng
    stride = rng.uniform(0.05, 0.16)
    for side in (-1, 1):
        board.limb((side * stride, 0.0), (side * 0.04, 0.95), 0.085)
    board.blob(0, 1.25, 0.2, 0.36, 0.0, 1.0)
    for side in (-1, 1):
        board.blob(side * 0.22, 1.2, 0.06, 0.3, 0.0, 0.9)
    board.blob(0, 1.76, 0.13, 0.16, 0.0, 1.0)
    board.second[board.y > 1.6] = 0.6
    return board.finished(0.05, 15)


DRAWINGS: dict[str, Callable[[_Board], Stencil]] = {
    "broadleaf": _broadleaf, "poplar": _poplar, "conifer": _conifer, "palm": _palm,
    "bush": _bush, "reeds": _reeds, "boulder": _boulder, "figure": _figure,
}  # fmt: skip
LEAFY = ("broadleaf", "poplar", "conifer", "bush")
CLASSES = {"bush": "plant", "reeds": "plant", "boulder": "rock", "figure": "person"}
CLOTHES = (rgb(168, 52, 48), rgb(58, 82, 138), rgb(210, 196, 160), rgb(64, 66, 72))
BLOSSOMS = (rgb(226, 214, 90), rgb(212, 120, 160), rgb(236, 236, 230), rgb(176, 84, 170))


@cache
def stencil(kind: str, variant: int, flip: bool = False) -> Stencil:
    """One of the drawings of a kind, the same in every picture of every run."""
    if flip:
        drawn = stencil(kind, variant)
        shape = drawn.shape[:, ::-1] * np.array((1, -1, 1), np.float32)
        return Stencil(shape, np.ascontiguousarray(drawn.look[:, ::-1]))
    return DRAWINGS[kind](_Board(stream(2022, variant, kind)))


@dataclass(frozen=True)
class Sprite:
    """A stencil standing on the land at (x, z), its foot `foot` metres up, `tall` metres high.

    hue: 0..1, its place in its palette.
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
        """A sprite of a kind, standing at (x, height, z)."""
        x, foot, z = at
        variant, hue, flip = int(rng.integers(VARIANTS)), float(rng.random()), rng.random() < 0.5
        return cls(kind, variant, x, z, foot, float(tall), hue, bool(flip))

    def draw(self, canvas: Canvas) -> None:
        camera = canvas.light.camera
        size = max(
            2, round(self.tall * camera.scale_at(self.z) * (2.0 / _TALL.get(self.kind, 2.0)))
        )
        row, column = camera.row_at(self.foot, self.z), camera.column_at(self.x, self.z)
        top, left = round(row) - size, round(column - size / 2)
        columns = _visible(left, size, camera.width)
        mirrors = self.foot < 0.5 * self.tall and bool(canvas.all_wet.any())
        # What the picture does not show may still be seen in the water.
        rows = slice(0, size) if mirrors else _visible(top, size, camera.height)
        if columns.stop <= columns.start or rows.stop <= rows.start:
            return
        drawn = stencil(self.kind, self.variant, self.flip)
        alpha, nx, ny = cv2.split(_scaled(drawn.shape, size, rows, columns))
        tone, second, solid = cv2.split(_scaled(drawn.look, size, rows, columns))
        if size > SIZE and self.kind in LEAFY:
            # Enlarged, a stencil has no leaves of its own left.
            leaves = canvas.leaves(alpha.shape)
            tone = tone * np.clip(1 + 0.4 * leaves, 0.3, 1.8)
            alpha = np.clip((alpha + 0.22 * leaves - 0.5) * 3 + 0.5, 0, 1) * (alpha > 0.05)
        alpha = np.minimum(alpha * 1.1, 1)
        colour = self._colour(canvas.light, nx, ny, tone, second)
        top, left = top + rows.start, left + columns.start
        if mirrors:
            mirrored = round(camera.row_at(-self.foot, self.z))
            canvas.reflect(Patch(mirrored, left, colour[::-1], alpha[::-1]), self.z)
        canvas.shade(column, row, 0.42 * size, 0.06 * size + 1, 0.45)
        name = CLASSES.get(self.kind, "tree")
        canvas.stamp(name, Patch(top, left, colour, alpha), solid > 0.5, self.z)

    def _colour(
        self, light: Light, nx: np.ndarray, ny: np.ndarray, tone: np.ndarray, second: np.ndarray
    ) -> np.ndarray:
        """Lit colours (h, w, 3)."""
        first_colour, second_colour = self._palette(light)
        shine = light.on(nx, ny, -np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0)))
        if self.kind in LEAFY:
            # Leaves let light through.
            shine += 0.22 * light.sun
        return mix(first_colour * tone[..., None], second_colour, second) * shine

    def _palette(self, light: Light) -> tuple[np.ndarray, np.ndarray]:
        style = light.style
        leaves = np.stack(style.leaves)
        green = leaves[int(self.hue * 3.999)] * (0.85 + 0.3 * ((self.hue * 7) % 1))
        if self.kind in ("conifer", "palm"):
            # Evergreens keep their colour in autumn.
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


# Heights, of 2, that the drawings of a kind reach.
_TALL = {"bush": 1.25, "boulder": 1.1, "reeds": 1.7}


def _visible(start: int, size: int, limit: int) -> slice:
    """The part of a span of pixels that lies within 0..limit, counted from the span's start."""
    return slice(max(0, -start), min(size, limit - start))


def _scaled(fields: np.ndarray, size: int, rows: slice, columns: slice) -> np.ndarray:
    """A part of a stencil's fields (SIZE, SIZE, 3), scaled to `size` pixels each way."""
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
