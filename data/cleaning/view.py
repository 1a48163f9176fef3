"""One pair at the size of the measures, with the arrays that several measures share."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as label_segments

from data.transforms import resize_layout

# Longer side of a view in pixels: enough for the large regions of a scene, and fast.
SIDE = 256


class View:
    """A photo, uint8 RGB (H, W, 3), and its layout, int32 ids (H, W); longer side 256 pixels.

    Both are resized to the layout's aspect ratio: the photo by area means, the layout by nearest
    pixels. Measures of appearance ignore the pixels of `unknown`.
    """

    def __init__(
        self,
        image: NDArray[np.uint8],
        layout: NDArray[np.int32],
        unknown: int | None = None,
        side: int = SIDE,
    ) -> None:
        height, width = layout.shape
        scale = side / max(height, width)
        size = (max(16, round(height * scale)), max(16, round(width * scale)))
        self.layout = resize_layout(layout, *size)
        shrinks = image.shape[0] > size[0]
        self.image: NDArray[np.uint8] = cv2.resize(
            image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        self.unknown = unknown

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.layout.shape[0], self.layout.shape[1]

    @cached_property
    def lab(self) -> NDArray[np.float32]:
        """CIE L*a*b*, float32 (H, W, 3): L* 0..100, a* and b* about -100..100."""
        return cv2.cvtColor(self.image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Mask of the pixels of a known class, bool (H, W)."""
        if self.unknown is None:
            return np.ones(self.size, dtype=np.bool_)
        return self.layout != self.unknown

    @cached_property
    def borders(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Class borders, bool: between columns (H, W - 1) and between rows (H - 1, W)."""
        ids, known = self.layout, self.known
        across = (ids[:, 1:] != ids[:, :-1]) & known[:, 1:] & known[:, :-1]
        down = (ids[1:] != ids[:-1]) & known[1:] & known[:-1]
        return across, down

    @cached_property
    def edges(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Color edges between columns (H, W - 1) and between rows (H - 1, W), -1..1.

        e = g / (g + mean g), minus its mean over 31 x 31 pixels; g is the distance of neighbors in
        L*a*b*, smoothed by a Gaussian of 1 pixel. The ratio limits single strong edges; the local
        mean cancels textured regions.
        """
        smooth = cv2.GaussianBlur(self.lab, (0, 0), 1.0)
        steps = (smooth[:, 1:] - smooth[:, :-1], smooth[1:] - smooth[:-1])
        found = []
        for step in steps:
            size = np.sqrt((step * step).sum(axis=2))
            size /= size + max(float(size.mean()), 1e-3)
            found.append(size - cv2.blur(size, (31, 31)))
        return found[0], found[1]

    @cached_property
    def segments(self) -> NDArray[np.int32]:
        """Connected regions of one id (4-neighbors), numbered from 1: int32 (H, W)."""
        return label_segments(self.layout, background=-1, connectivity=1).astype(np.int32)
