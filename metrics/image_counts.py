"""Agreement of predicted layouts with true ones, kept per image and class.

counts = count_per_image(images, layouts, LayoutClasses(29), predictor)
counts.mask_accuracy, counts.class_accuracies
counts.take(rows).mask_accuracy             # of some of the images
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.reading import LayoutClasses
from metrics.predictions import Predictor, Progress, predict_layouts


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """Pixels of N images and K classes, int64 (N, K) each, by the true class.

    correct: those that are predicted as their true class. pixels: all of them.
    """

    correct: NDArray[np.int64]
    pixels: NDArray[np.int64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """The share of equal pixels of each image, (N,)."""
        return self.correct.sum(axis=1) / self.pixels.sum(axis=1)

    @property
    def mask_accuracy(self) -> float:
        """The contest's mask accuracy, as in `metrics.segmentation`: the mean of `shares`."""
        return float(self.shares.mean())

    @property
    def class_accuracies(self) -> NDArray[np.float64]:
        """The share of correct pixels per class over all images (K,); NaN without such pixels."""
        correct, pixels = self.correct.sum(axis=0), self.pixels.sum(axis=0)
        unknown = np.full(len(pixels), np.nan)
        return np.divide(correct, pixels, out=unknown, where=pixels > 0)

    def take(self, rows: NDArray[np.integer]) -> ImageCounts:
        """Return the counts of some images, by their indices."""
        return ImageCounts(self.correct[rows], self.pixels[rows])


def count_per_image(
    images: Sequence[Path],
    layouts: Sequence[Path],
    classes: LayoutClasses,
    predictor: Predictor,
    progress: Progress | None = None,
    size: tuple[int, int] | None = None,
) -> ImageCounts:
    """Count equal pixels of predictions and layouts per image.

    Arguments and errors are those of `predict_layouts`.
    """
    correct, pixels = (np.zeros((len(images), classes.count), np.int64) for _ in range(2))
    for one in predict_layouts(images, layouts, classes, predictor, progress, size):
        equal = one.layout[one.layout == one.predicted]
        correct[one.index] = np.bincount(equal, minlength=classes.count)
        pixels[one.index] = np.bincount(one.layout.ravel(), minlength=classes.count)
    return ImageCounts(correct, pixels)
