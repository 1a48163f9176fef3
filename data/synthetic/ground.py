"""The camera and the land: a height field that is ray cast into the image.

The field is a grid of distance steps times image columns. Its points lie on rays of the camera, so
one pass over the steps finds the visible land of every pixel, and near and far land have the same
detail.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from data.classes import CONTEST_CLASSES
from data.synthetic.noise import Noise, smoothstep

STEPS = 288
IDS = {name: number for number, name in enumerate(CONTEST_CLASSES)}


@dataclass(frozen=True)
class Camera:
    """A level pinhole camera at x = 0, z = 0, looking along z.

    height, width: size of the image in pixels. eye: meters above height 0. horizon: its row as a
    share of the image height, from the top. focal: focal length in image heights.
    near, far: meters, limits of the rendered land.
    """

    height: int
    width: int
    eye: float
    horizon: float
    focal: float
    near: float
    far: float

    @cached_property
    def across(self) -> np.ndarray:
        """(W,) x / z of each column."""
        columns = np.arange(self.width) + 0.5 - self.width / 2
        return (columns / self.height / self.focal).astype(np.float32)

    @cached_property
    def upward(self) -> np.ndarray:
        """(H,) (height - eye) / z of each row."""
        rows = (np.arange(self.height, dtype=np.float32) + 0.5) / self.height
        return (self.horizon - rows) / self.focal

    @cached_property
    def distances(self) -> np.ndarray:
        """(STEPS,) meters."""
        return np.geomspace(self.near, self.far, STEPS).astype(np.float32)

    @property
    def reach(self) -> float:
        """x / z at the right border of the image; the left border is its negative."""
        return self.width / self.height / 2 / self.focal

    @property
    def first(self) -> float:
        """Meters to the flat land at the lower border of the image."""
        return self.focal * self.eye / (1 - self.horizon)

    def scale_at(self, z: float) -> float:
        """Return pixels per meter at distance z."""
        return self.focal * self.height / z

    def column_at(self, x: float, z: float) -> float:
        """Return the column of a place, in pixels from the left border."""
        return self.width / 2 + x * self.scale_at(z)

    def row_at(self, height: float, z: float) -> float:
        """Return the row of a height at distance z, in pixels from the upper border."""
        return self.horizon * self.height + (self.eye - height) * self.scale_at(z)

    def step_at(self, z: float) -> float:
        """Return the fractional index of a distance in `distances`."""
        step = math.log(z / self.near) / math.log(self.far / self.near) * (STEPS - 1)
        return min(max(step, 0.0), STEPS - 1.001)


@dataclass
class Region:
    """The area of a class, `extent` > 0 (STEPS, W); later regions cover earlier ones."""

    name: str
    extent: np.ndarray


@dataclass
class Ground:
    """Heights on the camera's grid, and the classes that cover them.

    x, z, height, canopy: float32 (STEPS, W), meters; u is x / z. The layout depends on these alone,
    not on the style.
    """

    camera: Camera
    noise: Noise
    regions: list[Region] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.z = np.repeat(self.camera.distances[:, None], self.camera.width, axis=1)
        self.u = np.repeat(self.camera.across[None, :], STEPS, axis=0)
        self.x = self.z * self.u
        self.height = np.zeros_like(self.x)
        self.canopy = np.zeros_like(self.x)

    def fractal(self, wavelength: float) -> np.ndarray:
        """Return fractal noise (mean 0, deviation 1) on the land; longest waves in meters."""
        return self.noise.fractal(self.x, self.z, wavelength)

    def band(self, wavelength: float) -> np.ndarray:
        """Return noise of one wavelength in meters (mean 0, deviation 1) on the land."""
        return self.noise.band(self.x, self.z, wavelength)

    def ridged(self, wavelength: float) -> np.ndarray:
        """Return mountain ridges, 0 to 1, on the land; `wavelength` in meters."""
        return self.noise.ridged(self.x, self.z, wavelength)

    def self_similar(self, wavelength: float) -> np.ndarray:
        """Return fractal noise of one scale in the image, at any distance.

        wavelength: in focal lengths across, and as a share of the distance in depth.
        """
        return self.noise.fractal(self.u, np.log(self.z), wavelength)

    def cover(self, name: str, extent: np.ndarray | float) -> None:
        """Cover the land with a class in the area `extent` > 0."""
        self.regions.append(Region(name, np.broadcast_to(np.float32(extent), self.x.shape)))

    def flood(self, name: str) -> None:
        """Fill the land below height 0 with water."""
        self.cover(name, -self.height)
        self.height = np.maximum(self.height, 0)

    def forest(self, extent: np.ndarray, canopy: float, edge: float) -> None:
        """Add trees in the area `extent` > 0; `canopy` meters high from `extent` = `edge` on."""
        crowns = self.noise.band(self.x, self.z, canopy * 0.9)
        grown = np.clip(extent / edge, 0, 1)
        self.canopy = np.maximum(self.canopy, canopy * grown * (0.8 + 0.16 * crowns))
        self.cover("tree", extent - 0.25 * edge)

    @property
    def top(self) -> np.ndarray:
        """Heights including the trees."""
        return self.height + self.canopy

    def read(self, values: np.ndarray, x: float, z: float) -> float:
        """Interpolate grid values (STEPS, W) at one place."""
        camera = self.camera
        step = camera.step_at(z)
        column = min(max(camera.column_at(x, z) - 0.5, 0.0), camera.width - 1.001)
        low, left = int(step), int(column)
        part = column - left
        lower, upper = (
            values[row, left] * (1 - part) + values[row, left + 1] * part for row in (low, low + 1)
        )
        return float(lower + (upper - lower) * (step - low))

    def height_at(self, x: float, z: float) -> float:
        """Return the height of the land at a place, without trees."""
        return self.read(self.height, x, z)

    def view(self) -> View:
        return View.cast(self)


@dataclass(frozen=True)
class View:
    """The visible land per pixel.

    sky: bool (H, W). step: float32 (H, W), fractional index into the grid's distance steps.
    """

    ground: Ground
    sky: np.ndarray
    step: np.ndarray

    @classmethod
    def cast(cls, ground: Ground) -> View:
        """Find the nearest land on the ray of each pixel."""
        camera = ground.camera
        height, width = camera.height, camera.width
        slope = (ground.top - camera.eye) / ground.z
        silhouette = np.maximum.accumulate(slope, axis=0)
        # First row from the top whose ray is at or below the silhouette so far.
        row = np.ceil(height * (camera.horizon - silhouette * camera.focal) - 0.5)
        row = np.clip(row, 0, height).astype(np.int64)
        counts = np.bincount(
            (row * width + np.arange(width)).ravel(), minlength=(height + 1) * width
        ).reshape(height + 1, width)
        # Steps below the ray of row y are those whose first row is below y.
        hit = np.cumsum(counts[::-1], axis=0)[::-1][1:]
        sky = hit >= STEPS
        upper = np.minimum(hit, STEPS - 1)
        lower = np.maximum(upper - 1, 0)
        columns = np.arange(width)[None, :]
        above, below = slope[upper, columns], slope[lower, columns]
        share = (camera.upward[:, None] - below) / np.maximum(above - below, 1e-9)
        step = lower + np.clip(share, 0, 1)
        return cls(ground, sky, step.astype(np.float32))

    def sample(self, values: np.ndarray) -> np.ndarray:
        """Interpolate grid values (STEPS, W) at each pixel: float32 (H, W)."""
        columns = np.broadcast_to(np.arange(self.step.shape[1], dtype=np.float32), self.step.shape)
        return cv2.remap(
            np.ascontiguousarray(values, np.float32),
            columns,
            self.step,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )

    @cached_property
    def z(self) -> np.ndarray:
        camera = self.ground.camera
        growth = np.log(camera.far / camera.near) / (STEPS - 1)
        return camera.near * np.exp(self.step * np.float32(growth))

    @cached_property
    def x(self) -> np.ndarray:
        return self.z * self.ground.camera.across[None, :]

    @cached_property
    def height(self) -> np.ndarray:
        return self.sample(self.ground.top)

    def classes(self) -> np.ndarray:
        """Return the layout of sky and land, uint8 (H, W)."""
        layout = np.full(self.sky.shape, IDS["sky"], np.uint8)
        land = ~self.sky
        for region in self.ground.regions:
            layout[land & (self.sample(region.extent) > 0)] = IDS[region.name]
        return layout


# A line on the land: z (meters) -> x (meters).
Line = Callable[[Any], Any]


def winding_line(camera: Camera, rng: np.random.Generator, bends: float, sway: float) -> Line:
    """Return a line that winds into the distance: z (meters) -> x (meters).

    It bends in log distance, so that perspective shows as many bends at any distance.
    """
    phase, start, drift = rng.uniform((0, -0.25, -0.3), (2 * np.pi, 0.25, 0.3))

    def line(z: np.ndarray) -> np.ndarray:
        way = np.log(z / camera.near) / np.log(camera.far / camera.near)
        turn = np.sin(phase + bends * 2 * np.pi * way) + 0.4 * np.sin(phase * 2 + bends * 14 * way)
        return z * (start + drift * way + sway * turn * smoothstep(-0.05, 0.3, way))

    return line
