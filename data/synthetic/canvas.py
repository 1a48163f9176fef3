"""Compositing of an image and its layout, layer over layer from back to front."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from data.synthetic.ground import IDS, View
from data.synthetic.light import Light
from data.synthetic.sky import render_sky
from data.synthetic.textures import MATERIALS, Surface, Traits
from data.synthetic.water import MOTIONS, render_water


@dataclass(frozen=True)
class Patch:
    """An image patch to composite: linear lit color (h, w, 3) and alpha (h, w).

    top, left: its corner in pixels; it may extend beyond the image.
    """

    top: int
    left: int
    color: np.ndarray
    alpha: np.ndarray


class Canvas:
    """The image and the layout while they are rendered.

    image: linear float32 (H, W, 3). layout: uint8 (H, W). depth: meters (H, W), sky infinite.
    """

    def __init__(self, view: View, light: Light, traits: Traits, rng: np.random.Generator) -> None:
        self.view, self.light = view, light
        self.surface = Surface(view, light, traits, rng)
        self.is_wet = np.zeros(256, bool)
        self.is_wet[[IDS[name] for name in MOTIONS]] = True
        self.layout = view.classes()
        self.all_wet = self.is_wet[self.layout]
        self.depth = np.where(view.sky, np.float32(np.inf), view.z)
        self.image = np.zeros((*view.sky.shape, 3), np.float32)

    @cached_property
    def _leaves(self) -> np.ndarray:
        height, width = self.layout.shape
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        noise = self.surface.noise
        fine, clumps = (
            noise.band(columns, rows, height / 70),
            noise.fractal(columns, rows, height / 9),
        )
        return 0.75 * fine + 0.65 * clumps

    def leaves(self, shape: tuple[int, int]) -> np.ndarray:
        """Return noise (mean 0, deviation 1) of the scale of near leaves, of this shape."""
        height, width = np.maximum(0, np.subtract(shape, self.layout.shape))
        noise = cv2.copyMakeBorder(self._leaves, 0, height, 0, width, cv2.BORDER_WRAP)
        return noise[: shape[0], : shape[1]]

    def render_land(self) -> None:
        """Render the sky, the classes of the land, lit and hazed, then the reflecting water."""
        sky, image, light = self.view.sky, self.image, self.light
        lowest = int(np.flatnonzero(sky.any(axis=1)).max(initial=0)) + 1
        image[:lowest] = render_sky(light, lowest)
        present = set(np.unique(self.layout[~sky]))
        masks = {name: (self.layout == IDS[name]) & ~sky for name in MATERIALS}
        masks = {name: mask for name, mask in masks.items() if IDS[name] in present}
        for name, mask in masks.items():
            rows, columns = np.nonzero(mask)
            at = rows, columns
            image[at] = MATERIALS[name](self.surface, at)
        land = np.nonzero(~sky)
        nx, ny, nz = (component[land] for component in self.surface.normals)
        lit = light.on(nx, ny, nz, self.surface.sunlit[land])
        image[land] *= lit * (1 - 0.35 * self.surface.hollow[land])[:, None]
        across = np.broadcast_to(light.camera.across[None, :], sky.shape)[land]
        image[land] = light.haze(image[land], self.depth[land], across)
        self._soften()
        for name in MOTIONS:
            if name in masks:
                shore = self._shore(name)
                render_water(
                    image, self.depth, self.surface, name, masks[name], self.all_wet, shore
                )

    def _shore(self, name: str) -> np.ndarray | None:
        for region in self.view.ground.regions:
            if region.name == name:
                return self.view.sample(region.extent)
        return None

    def _soften(self) -> None:
        """Antialias the silhouettes, at jumps of the distance."""
        depth = np.minimum(self.depth, 1e6)
        jump = cv2.dilate(depth, np.ones((3, 3))) > 1.25 * cv2.erode(depth, np.ones((3, 3)))
        smooth = cv2.GaussianBlur(self.image, (3, 3), 0.7)
        self.image[jump] = smooth[jump]

    def composite(self, name: str, patch: Patch, solid: np.ndarray, distance: float) -> None:
        """Composite an object over the image; its class takes the pixels `solid` (h, w)."""
        window = self._window(patch)
        if window is None:
            return
        on_image, on_patch = window
        # Nearer land hides the object; the tolerance keeps its foot visible.
        seen = self.depth[on_image] > distance * 0.985
        self._blend(patch, window, seen, distance)
        taken = solid[on_patch] & seen
        self.layout[on_image][taken] = IDS[name]
        self.depth[on_image][taken] = distance

    def reflect(self, patch: Patch, distance: float) -> None:
        """Composite an object's reflection, already upside down, on the water in front of it."""
        window = self._window(patch)
        if window is None:
            return
        on_image, _ = window
        wet = self.is_wet[self.layout[on_image]] & (self.depth[on_image] < distance * 1.02)
        if not wet.any():
            return
        # Waves displace each row of the reflection.
        height, width = patch.alpha.shape
        size = np.float32(self.image.shape[0])
        rows = np.arange(height, dtype=np.float32)[:, None] + np.zeros((1, width), np.float32)
        down = (rows + patch.top) / size
        sway = np.sin(down * 170 + 2 * np.sin(down * 61)) * (0.0035 * size)
        columns = np.arange(width, dtype=np.float32)[None, :] + sway
        swayed = cv2.remap(np.dstack([patch.color, patch.alpha]), columns, rows, cv2.INTER_LINEAR)
        moved = Patch(patch.top, patch.left, swayed[..., :3] * 0.8, swayed[..., 3])
        self._blend(moved, window, wet * np.float32(0.6), distance)

    def shade(self, column: float, row: float, wide: float, high: float, strength: float) -> None:
        """Darken the ground under an object: an ellipse around (column, row), in pixels."""
        top, left = int(row - high), int(column - wide)
        shape = (int(2 * high) + 2, int(2 * wide) + 2)
        window = self._window(Patch(top, left, np.zeros((*shape, 3)), np.zeros(shape)))
        if window is None:
            return
        on_image, on_patch = window
        rows = (np.arange(shape[0]) + top + 0.5 - row)[on_patch[0], None] / high
        columns = (np.arange(shape[1]) + left + 0.5 - column)[None, on_patch[1]] / wide
        dark = np.clip(1 - rows**2 - columns**2, 0, 1) * ~self.is_wet[self.layout[on_image]]
        self.image[on_image] *= (1 - strength * dark)[..., None].astype(np.float32)

    def _blend(self, patch: Patch, window: tuple, share: np.ndarray, distance: float) -> None:
        on_image, on_patch = window
        across = self.light.camera.across[None, on_image[1]]
        color = self.light.haze(patch.color[on_patch], distance, across)
        region = self.image[on_image]
        region += (patch.alpha[on_patch] * share)[..., None] * (color - region)

    def _window(self, patch: Patch) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
        """Return the slices of image and patch where they overlap; None if they do not."""
        height, width = self.layout.shape
        top, left, shape = patch.top, patch.left, patch.alpha.shape
        bottom, right = min(top + shape[0], height), min(left + shape[1], width)
        first_row, first_column = max(top, 0), max(left, 0)
        if bottom <= first_row or right <= first_column:
            return None
        on_image = (slice(first_row, bottom), slice(first_column, right))
        on_patch = (slice(first_row - top, bottom - top), slice(first_column - left, right - left))
        return on_image, on_patch

    def to_image(self) -> np.ndarray:
        """Return the tone-mapped image: uint8 RGB (H, W, 3)."""
        bright = self.image * np.float32(self.light.style.exposure)
        # The shoulder of the curve keeps clouds and snow below white.
        display = np.sqrt(np.clip(bright * (1 + 0.12 * bright) / (1 + 0.24 * bright), 0, 1))
        return (display * 255 + 0.5).astype(np.uint8)

    def clean_layout(self) -> np.ndarray:
        """Return the layout without specks: uint8 (H, W)."""
        return without_specks(self.layout)


def without_specks(layout: np.ndarray, share: float = 1 / 4000) -> np.ndarray:
    """Replace regions smaller than `share` of the layout by the nearest other class."""
    specks = np.zeros(layout.shape, bool)
    smallest = max(4, layout.size * share)
    for labels, areas in _regions(layout):
        small = areas < smallest
        small[0] = False
        if small.any():
            specks |= small[labels]
    if not specks.any():
        return layout
    # A labeled distance transform gives the nearest pixel outside the specks.
    _, nearest = cv2.distanceTransformWithLabels(
        specks.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    classes = np.zeros(nearest.max() + 1, layout.dtype)
    classes[nearest[~specks]] = layout[~specks]
    return np.where(specks, classes[nearest], layout)


def _regions(layout: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield per class the numbers of its connected regions (H, W), and their areas."""
    for number in np.unique(layout):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(
            (layout == number).astype(np.uint8), connectivity=4
        )
        yield labels, stats[:, cv2.CC_STAT_AREA]
