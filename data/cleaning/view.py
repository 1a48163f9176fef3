"""One pair at the size that it is measured at, with what several measures share."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as label_segments

from data.transforms import resize_layout

# The longer side of a view: measures look at a scene's large parts, and time grows with the area.
SIDE = 256


class View:
    """A photograph, uint8 RGB (H, W, 3), and its layout, int32 ids (H, W), 256 pixels long.

    The photograph is shrunk by area means and the layout to nearest pixels; both come to the
    layout's aspect ratio. Pixels of `unknown` take part in no measure of how a class looks.
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
        """Where the class is known."""
        if self.unknown is None:
            return np.ones(self.size, dtype=np.bool_)
        return self.layout != self.unknown

    @cached_property
    def borders(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Where a class ends: between columns (H, W - 1) and between rows (H - 1, W)."""
        ids, known = self.layout, self.known
        across = (ids[:, 1:] != ids[:, :-1]) & known[:, 1:] & known[:, :-1]
        down = (ids[1:] != ids[:-1]) & known[1:] & known[:-1]
        return across, down

    @cached_property
    def edges(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Colour steps between columns (H, W - 1) and between rows (H - 1, W), -1..1.

        The distance g of neighbours in L*a*b*, smoothed by a Gaussian of 1 pixel; g / (g + mean g),
        so that one strong edge does not outweigh the rest; less its mean over 31 x 31 pixels, so
        that a busy region is no edge by itself.
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
        """Connected regions of one id (4-neighbours), numbered from 1: int32 (H, W)."""
        return label_segments(self.layout, background=-1, connectivity=1).astype(np.int32)
