"""Structures: houses, towers, bridges, boats, piers, fences and walls."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from data.synthetic.faces import Face, Frame, Point, Structure, box, saddle
from data.synthetic.light import rgb

WALLS = (
    rgb(226, 218, 200),
    rgb(206, 186, 150),
    rgb(190, 150, 120),
    rgb(216, 216, 214),
    rgb(168, 92, 70),
)
ROOFS = (rgb(156, 78, 58), rgb(120, 66, 52), rgb(94, 92, 98), rgb(142, 104, 70))
CONCRETE = (
    rgb(170, 172, 176),
    rgb(148, 140, 132),
    rgb(196, 190, 180),
    rgb(116, 130, 146),
    rgb(170, 132, 110),
)
HULLS = (
    rgb(228, 226, 220),
    rgb(54, 84, 120),
    rgb(150, 54, 46),
    rgb(70, 104, 84),
    rgb(146, 104, 64),
)
FREIGHT = (rgb(60, 66, 78), rgb(128, 52, 46), rgb(224, 224, 222))
MASONRY = (rgb(166, 154, 138), rgb(176, 142, 116), rgb(140, 140, 142))
WHITE = rgb(232, 232, 230)
RED = rgb(190, 62, 52)
WOOD = rgb(142, 124, 102)
IRON = rgb(70, 76, 82)


def _one_of(rng: np.random.Generator, colors: Sequence[np.ndarray]) -> np.ndarray:
    return colors[rng.integers(len(colors))]


def _lights(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 31))


def house(rng: np.random.Generator, at: Point, size: float) -> Structure:
    """Return a gabled house, `size` meters long."""
    frame = Frame(at, rng.uniform(-0.7, 0.7))
    color, tile = _one_of(rng, WALLS), _one_of(rng, ROOFS)
    half, deep, over = size / 2, size * rng.uniform(0.3, 0.4), size * 0.05
    wall = size * rng.uniform(0.36, 0.55)
    ridge = wall + deep * rng.uniform(0.8, 1.2)
    # The foot extends into the ground, which may slope.
    foot = 0.2 * size
    walls = box(
        frame,
        (size, wall + foot, 2 * deep),
        color,
        (0.0, -foot, 0.0),
        windows=(3, 2),
        lit=_lights(rng),
        roof=False,
    )
    gables = [
        Face(
            frame.quad(
                (s * half, wall, -s * deep), (s * half, wall, s * deep), (s * half, ridge, 0.0)
            ),
            color,
        )
        for s in (1, -1)
    ]
    stack = 0.09 * size
    chimney = box(
        frame, (stack, 0.3 * size, stack), tile * 0.8, (half / 2, ridge - 0.2 * size, 0.0)
    )
    roof = saddle(frame, half + over, deep + over, wall - over, ridge, tile)
    return Structure("house", (*walls, *gables, *chimney, *roof), at[2], grain=0.08)


def tower(rng: np.random.Generator, at: Point, wide: float, tall: float) -> Structure:
    """Return a city building."""
    frame = Frame(at, rng.uniform(-0.5, 0.5))
    color = _one_of(rng, CONCRETE) * rng.uniform(0.8, 1.15)
    windows = (int(np.clip(wide / 7, 2, 7)), int(np.clip(tall / 9, 2, 14)))
    depth, lit, kind = wide * rng.uniform(0.6, 1.0), _lights(rng), rng.random()
    faces = box(frame, (wide, tall, depth), color, windows=windows, lit=lit)
    top = (0.0, tall, 0.0)
    if kind < 0.3:
        faces += box(frame, (wide * 0.6, tall * 0.25, depth * 0.6), color, top, windows, lit)
    elif kind < 0.45:
        faces += box(frame, (wide * 0.06, tall * 0.3, wide * 0.06), IRON, top)
    return Structure("building", tuple(faces), at[2])


def church(rng: np.random.Generator, at: Point, size: float) -> Structure:
    """Return a church: a nave `size` meters long, and a steeple."""
    frame = Frame(at, rng.uniform(-0.4, 0.4))
    color, tile, lit = _one_of(rng, WALLS[:4]), _one_of(rng, ROOFS), _lights(rng)
    half, deep, wall = size * 0.5, size * 0.22, size * 0.35
    foot = (0.0, -0.3 * wall, 0.0)
    nave = box(frame, (size, wall * 1.3, 2 * deep), color, foot, (5, 1), lit, roof=False)
    roof = saddle(frame, half, deep, wall, wall + size * 0.28, tile)
    side, top = size * 0.14, size * 0.85
    steeple = box(frame, (2 * side, top, 2 * side), color, (-half, 0.0, 0.0), (1, 4), lit)
    left, right, peak = -half - side, -half + side, (-half, top + size * 0.6, 0.0)
    rim = [(left, -side), (right, -side), (right, side), (left, side), (left, -side)]
    spire = [
        Face(frame.quad((a, top, b), (c, top, d), peak), tile) for (a, b), (c, d) in pairwise(rim)
    ]
    return Structure("building", (*nave, *roof, *steeple, *spire), at[2], grain=0.06)


def lighthouse(rng: np.random.Generator, at: Point, tall: float) -> Structure:
    """Return a lighthouse: a white tower with red bands and a lamp."""
    frame = Frame(at, rng.uniform(-0.7, 0.7))
    faces: list[Face] = []
    for band in range(5):
        wide = tall * (0.24 - 0.025 * band)
        low = (0.0, tall * 0.18 * band, 0.0)
        faces += box(frame, (wide, tall * 0.18, wide), RED if band % 2 else WHITE, low)
    lamp = tall * 0.12
    faces += box(frame, (lamp, lamp, lamp), IRON, (0.0, tall * 0.9, 0.0), windows=(1, 1), lit=2)
    return Structure("building", tuple(faces), at[2])


def _hull(frame: Frame, length: float, wide: float, deck: float, color: np.ndarray) -> list[Face]:
    bow, half = length / 2, wide / 2
    foot = [(-bow * 0.9, 0.0, -half * 0.8), (bow * 0.6, 0.0, -half * 0.8), (bow * 0.85, 0.0, 0.0)]
    rim = [(-bow, deck, -half), (bow * 0.6, deck, -half), (bow, deck * 1.3, 0.0)]
    far_foot, far_rim = ([(a, u, -b) for a, u, b in side] for side in (foot, rim))

    def strake(low: list[Point], high: list[Point]) -> list[Face]:
        return [
            Face(frame.quad(low[i], low[i + 1], high[i + 1], high[i]), color, both=True)
            for i in range(2)
        ]

    stern = Face(frame.quad(foot[0], rim[0], far_rim[0], far_foot[0]), color * 0.8, both=True)
    inside = Face(frame.quad(*rim, far_rim[1], far_rim[0]), color * 0.45, both=True)
    return [*strake(far_foot, far_rim), stern, inside, *strake(foot, rim)]


def _heading(rng: np.random.Generator, at: Point, swing: float) -> Frame:
    """Return a frame that heads left or right, up to `swing` radians off."""
    turn = rng.uniform(-swing, swing)
    return Frame(at, float(turn + (np.pi if rng.random() < 0.5 else 0.0)))


def boat(rng: np.random.Generator, at: Point, length: float) -> Structure:
    """Return a sailing boat, a motor boat or a rowing boat."""
    frame = _heading(rng, at, 0.6)
    deck = 0.13 * length
    faces = _hull(frame, length, 0.34 * length, deck, _one_of(rng, HULLS))
    kind = rng.random()
    if kind < 0.55:
        high = rng.uniform(1.1, 1.4)
        canvas = rgb(240, 236, 224) if rng.random() < 0.8 else rgb(196, 92, 64)
        mast = 0.02 * length
        faces += box(frame, (mast, high * length, mast), WOOD, (0.08 * length, 0.0, 0.0))
        main = ((0.05, 0.22), (-0.45, 0.26), (0.06, high))
        jib = ((0.12, 0.25), (0.48, 0.2), (0.1, 0.85 * high))
        for sail, tone in ((main, 1.0), (jib, 0.92)):
            corners = frame.quad(*((along * length, up * length, 0.0) for along, up in sail))
            faces.append(Face(corners, canvas * tone, both=True))
    elif kind < 0.8:
        cabin = (0.34 * length, 0.2 * length, 0.22 * length)
        faces += box(frame, cabin, WHITE, (-0.05 * length, deck, 0.0), windows=(2, 1), lit=1)
    return Structure("boat", tuple(faces), at[2])


def ship(rng: np.random.Generator, at: Point, length: float) -> Structure:
    """Return a freighter or a ferry."""
    frame = _heading(rng, at, 0.35)
    color, deck, lit = _one_of(rng, FREIGHT), 0.10 * length, _lights(rng)
    faces = _hull(frame, length, 0.18 * length, deck, color)

    def stack(size: Point, along: float, up: float, color: np.ndarray, **details: object) -> None:
        long, high, deep = (part * length for part in size)
        base = (along * length, deck + up * length, 0.0)
        faces.extend(box(frame, (long, high, deep), color, base, **details))  # type: ignore[arg-type]

    if rng.random() < 0.5:
        for place in np.linspace(-0.12, 0.3, 4):
            stack((0.1, 0.07, 0.13), float(place), 0.0, _one_of(rng, HULLS[1:]))
        stack((0.14, 0.17, 0.14), -0.32, 0.0, WHITE, windows=(4, 4), lit=lit)
    else:
        for level, share in enumerate((0.72, 0.56, 0.36)):
            windows = (int(30 * share), 1)
            stack((share, 0.055, 0.14), -0.06, 0.055 * level, WHITE, windows=windows, lit=lit)
        stack((0.07, 0.09, 0.07), -0.1, 0.165, color)
    return Structure("ship", tuple(faces), at[2])


def arch_bridge(
    rng: np.random.Generator, left: float, right: float, z: float, deck: float, arches: int
) -> Structure:
    """Return a stone bridge from bank to bank, its deck `deck` meters up."""
    color = _one_of(rng, MASONRY)
    span = (right - left) / arches
    pier = 0.12 * span
    under: list[tuple[float, float]] = []
    for arch in range(arches):
        start, stop = left + span * arch + pier, left + span * (arch + 1) - pier
        under.append((start, -1.0))
        for angle in np.linspace(np.pi, 0, 13):
            x = (start + stop) / 2 + np.cos(angle) * (stop - start) / 2
            under.append((float(x), float(0.1 * deck + np.sin(angle) * 0.72 * deck)))
        under.append((stop, -1.0))
    # Ramps lead down to the banks at both ends.
    low_left, low_right = left - 1.3 * span, right + 1.3 * span
    high_left, high_right = left - 0.4 * span, right + 0.4 * span
    over = [(low_right, -1.0), (high_right, deck), (high_left, deck)]
    outline = [(low_left, -1.0), *under, *over]
    parapet = [*over[:0:-1], (high_right, deck + 1.1), (high_left, deck + 1.1)]

    def wall(points: Sequence[tuple[float, float]], depth: float, tone: float) -> Face:
        return Face(tuple((x, y, z + depth) for x, y in points), color * tone, both=True)

    # The rear wall, visible through the arches, is their shaded inside.
    faces = (wall(outline, 0.5 * deck + 2, 0.5), wall(outline, 0, 1.0), wall(parapet, 0, 1.15))
    return Structure("bridge", faces, z, grain=0.16)


def hanging_bridge(left: float, right: float, z: float, deck: float) -> Structure:
    """Return a suspension bridge: two towers, cables, a thin deck."""
    color, frame = rgb(150, 74, 60), Frame((0.0, 0.0, z))
    length, middle = right - left, (left + right) / 2
    posts, top, thick = (
        (left + length / 4, right - length / 4),
        deck + 0.16 * length,
        0.012 * length,
    )

    def cable_at(x: float) -> float:
        """Return the height of the cable: a parabola between the towers, straight outside."""
        share = abs(x - middle) / (length / 4)
        return deck + thick + (top - deck) * (share**2 if share <= 1 else 2 - share)

    def strip(points: Sequence[tuple[float, float]]) -> Face:
        return Face(frame.quad(*((x, y, 0.0) for x, y in points)), color, both=True)

    faces: list[Face] = []
    stations = [(float(x), cable_at(float(x))) for x in np.linspace(left, right, 41)]
    for (x0, y0), (x1, y1) in pairwise(stations):
        faces.append(strip([(x0, y0), (x1, y1), (x1, y1 + 0.4 * thick), (x0, y0 + 0.4 * thick)]))
    for x, y in stations[1:-1:2]:
        slim = x + 0.15 * thick
        faces.append(strip([(x, deck), (slim, deck), (slim, y), (x, y)]))
    for x in posts:
        faces += box(frame, (1.3 * thick, top + 6, 1.3 * thick), color, (x, -6.0, 0.0))
    road = (1.6 * length, 1.2 * thick, 3 * thick)
    faces += box(frame, road, color * 0.9, (middle, deck, 0.0))
    high = deck + 2 * thick
    outline = [(left - 0.3 * length, deck), (right + 0.3 * length, deck), (right, high)]
    outline += [(posts[1], top), (middle, high), (posts[0], top), (left, high)]
    return Structure("bridge", tuple(faces), z, outline=tuple((x, y, z) for x, y in outline))


def pier(start: Point, end: Point, wide: float) -> Structure:
    """Return a jetty of planks on posts; start is its nearer end."""
    (x0, deck, z0), (x1, _, z1) = start, end
    planks = 14
    shares = (np.geomspace(z0, z1, planks + 1) - z0) / (z1 - z0)
    along = np.array((x1 - x0, z1 - z0))
    across = np.array((along[1], -along[0])) * (wide / 2 / np.hypot(*along))
    middle = np.array((x0, z0)) + shares[:, None] * along
    rims = [(tuple(place - across), tuple(place + across)) for place in middle.tolist()]
    faces: list[Face] = []
    for sides in rims[::-2]:
        for x, z in sides:
            faces += box(Frame((x, -1.0, z)), (0.22, deck + 1.6, 0.22), WOOD * 0.7)
    for plank, (far, near) in enumerate(pairwise(reversed(rims))):
        tone = 1.12 + 0.18 * (plank % 2)
        top = tuple((x, deck, z) for x, z in (near[0], near[1], far[1], far[0]))
        faces.append(Face(top, WOOD * tone, both=True))
        for (ax, az), (bx, bz) in zip(near, far, strict=True):
            low, high = deck - 0.25, deck
            edge = ((ax, low, az), (bx, low, bz), (bx, high, bz), (ax, high, az))
            faces.append(Face(edge, WOOD * 0.6, both=True))
    # It stands on water, so only objects nearer than all of it may hide it.
    return Structure("pier", tuple(faces), 0.9 * z0)


def barrier(name: str, line: Sequence[Point], tall: float) -> list[Structure]:
    """Return a fence, a railing or a wall along places of the land, one structure per section."""
    sections = []
    for near, far in pairwise(line):
        (x0, y0, z0), (x1, y1, z1) = near, far
        outline = ((x0, y0 - 0.1, z0), (x1, y1 - 0.1, z1), (x1, y1 + tall, z1), (x0, y0 + tall, z0))
        if name == "wall":
            left, right = outline[3], outline[2]
            rear = tuple((x, y, z + 0.5) for x, y, z in (right, left))
            stone = MASONRY[0]
            faces = [
                Face(outline, stone * 0.85, both=True),
                Face((left, right, *rear), stone * 1.1, both=True),
            ]
        else:
            faces = _rails(name, near, far, tall)
        grain = 0.3 if name == "wall" else 0.0
        sections.append(Structure(name, tuple(faces), min(z0, z1), outline, grain))
    return sections


def _rails(name: str, near: Point, far: Point, tall: float) -> list[Face]:
    """Return posts and rails between two places: a wooden fence, or a railing of slim bars."""
    wooden = name == "fence"
    (x0, y0, z0), (x1, y1, z1) = near, far
    color, thick = (WOOD, 0.09 * tall) if wooden else (IRON, 0.05 * tall)
    faces = []
    for share in (0.45, 0.85) if wooden else (0.12, 0.5, 0.95):
        low, high = share * tall - thick / 2, share * tall + thick / 2
        rail = ((x0, y0 + low, z0), (x1, y1 + low, z1), (x1, y1 + high, z1), (x0, y0 + high, z0))
        faces.append(Face(rail, color, both=True))
    for share in np.linspace(0, 1, 3 if wooden else 7).tolist():
        x, y, z = (a + (b - a) * share for a, b in zip(near, far, strict=True))
        half = thick if wooden or share in (0, 1) else 0.4 * thick
        low, high = y - 0.1, y + tall
        post = ((x - half, low, z), (x + half, low, z), (x + half, high, z), (x - half, high, z))
        faces.append(Face(post, color * 0.9, both=True))
    return faces
