"""Scenes: a camera, land forms, and objects on the land."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from data.synthetic.canvas import Canvas
from data.synthetic.ground import Camera, Ground, Line
from data.synthetic.noise import Noise, smoothstep
from data.synthetic.sprites import Sprite
from data.synthetic.structures import barrier, boat, ship
from data.synthetic.textures import Traits

Range = tuple[float, float]
Size = tuple[int, int]
# Objects below this share of the image height are left out.
SMALLEST = 0.035


class Thing(Protocol):
    """An object on the land; farther ones are rendered first."""

    @property
    def z(self) -> float:
        """Distance in meters."""

    def render(self, canvas: Canvas) -> None:
        """Render the object and its part of the layout."""


@dataclass
class Scene:
    """The land, its properties, and the objects on it."""

    rng: np.random.Generator
    ground: Ground
    traits: Traits
    things: list[Thing] = field(default_factory=list)

    @property
    def camera(self) -> Camera:
        return self.ground.camera

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, *names: str) -> str:
        return names[self.rng.integers(len(names))]

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def describe(self, **traits: object) -> None:
        """Change some traits of the land."""
        self.traits = replace(self.traits, **traits)  # type: ignore[arg-type]

    def add(self, *things: Thing) -> None:
        self.things.extend(things)

    def places(
        self, count: int, distance: Range, spread: float = 1.08
    ) -> Iterator[tuple[float, float, int]]:
        """Yield (x, z, seed), uniform over the image width and the logarithm of distance.

        Each place has its own seed: a place may be used at one image size and not at another, and
        later random numbers stay the same.
        """
        reach = self.camera.reach * spread
        for _ in range(count):
            z = float(np.exp(self.rng.uniform(*np.log(distance))))
            x = self.between(-reach, reach) * z
            yield x, z, int(self.rng.integers(1 << 62))

    def scatter(
        self, kinds: str, count: int, where: np.ndarray, distance: Range, tall: Range
    ) -> None:
        """Add sprites at up to `count` places with `where` > 0 on the grid.

        kinds: names to sample from. distance, tall: meters.
        """
        names = kinds.split()
        for x, z, seed in self.places(count, distance):
            kind, size = self.pick(*names), self.between(*tall)
            if self.camera.focal * size / z < SMALLEST or self.ground.read(where, x, z) <= 0:
                continue
            at = (x, self.ground.height_at(x, z), z)
            self.add(Sprite.of(np.random.default_rng(seed), kind, at, size))

    def moor(self, deep: np.ndarray, distance: Range, count: int) -> None:
        """Add up to `count` boats at places with `deep` > 1 on the grid."""
        for x, z, seed in self.places(3 * count, distance, spread=0.8):
            if count and self.ground.read(deep, x, z) > 1:
                rng = np.random.default_rng(seed)
                self.add(boat(rng, (x, 0.0, z), rng.uniform(0.09, 0.2) * z / self.camera.focal))
                count -= 1

    def sail(self) -> None:
        """Add a ship on the open sea."""
        z = self.between(1500, 3000)
        x, length = self.between(-0.6, 0.6) * self.camera.reach * z, self.between(0.10, 0.22) * z
        self.add(ship(self.rng, (x, 0.0, z), length / self.camera.focal))

    def build_along(
        self, name: str, line: Line, aside: float, distance: Range, tall: float
    ) -> None:
        """Build a fence or a wall along a winding line, `aside` meters from it."""
        ways = np.geomspace(*distance, 11).astype(np.float32)
        places = [(float(x), float(z)) for x, z in zip(line(ways) + aside, ways, strict=True)]
        self.add(*barrier(name, [(x, self.ground.height_at(x, z), z) for x, z in places], tall))

    def raise_mountains(self, start: float, rise: Range, gap: Range = (0, 0.8)) -> np.ndarray:
        """Add mountains from `start` meters on, `rise` image heights high; return their heights.

        gap: how much lower they are in the middle of a valley.
        """
        ground = self.ground
        height = self.between(*rise) * 1.9 * start / self.camera.focal
        ridges = ground.ridged(start * self.between(1.8, 3.0))
        broad = ground.fractal(start * 2.5)
        foot = ground.z + 0.08 * start * ground.fractal(start * 0.6)
        shape = smoothstep(start, start * 2.1, foot) * np.clip(0.8 + 0.25 * broad, 0.25, 1.2)
        # Ranges far behind would show in the gaps of the first as rows of thin teeth.
        shape = shape * smoothstep(5 * start, 3 * start, ground.z)
        valley, depth = np.abs(ground.u - self.between(-0.25, 0.25)), self.between(*gap)
        shape = shape * (1 - depth + depth * smoothstep(0.0, 0.5, valley))
        mountains = height * shape * (0.15 + 0.85 * ridges)
        ground.height = ground.height + mountains
        return mountains

    def raise_bank(self, away: np.ndarray, steep: float) -> None:
        """Shape a shore; `away` is the distance from the water in meters, negative in it."""
        ground, eye = self.ground, self.camera.eye
        swell = 1 + 0.25 * ground.fractal(40 + 4 * eye)
        bank = steep * eye * np.tanh(away / (1.5 * eye)) * swell
        ground.height = ground.height + np.where(away > 0, bank, 0.08 * away)

    def roll_hills(self, height: float) -> np.ndarray:
        """Add rolling hills, `height` times their distance high; return their heights.

        The height grows with distance, so that far hills are visible.
        """
        ground, eye = self.ground, self.camera.eye
        hills = np.maximum(ground.self_similar(1.6) + 0.4, 0)
        hills = height * ground.z * hills * smoothstep(4 * eye, 20 * eye, ground.z)
        ground.height = ground.height + hills
        return hills

    def snow_from(self, low: float, high: float) -> None:
        """Sample the snow line between two shares of the highest land's height."""
        self.describe(snow_line=float(self.ground.height.max()) * self.between(low, high))


def begin(
    rng: np.random.Generator, size: Size, eye: Range, horizon: Range, far: float = 12000.0
) -> Scene:
    """Return a scene of flat land at height 0, with a camera sampled from the given ranges."""
    ranges = np.array((eye, horizon, (0.95, 1.25)))
    up, level, focal = (float(value) for value in rng.uniform(ranges[:, 0], ranges[:, 1]))
    height, width = size
    # High land may be nearer than the flat land at the lower border of the image.
    near = 0.4 * focal * up / (1 - level)
    camera = Camera(height, width, up, level, focal, near, far)
    traits = Traits(
        stone=int(rng.integers(4)), soil=int(rng.integers(3)), furrows=float(rng.uniform(0, np.pi))
    )
    return Scene(rng, Ground(camera, Noise(rng)), traits)


def least(*fields: np.ndarray | float) -> np.ndarray:
    """Return the minimum of several fields: the intersection of extents."""
    result = fields[0]
    for values in fields[1:]:
        result = np.minimum(result, values)
    return np.asarray(result)
