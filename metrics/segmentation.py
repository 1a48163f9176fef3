"""Agreement of predicted layouts with true ones.

    counts = SegmentationCounts(classes=29)
    for truth, predicted in layouts:                # int (H, W) each
        counts.add(truth, predicted)
    counts.mask_accuracy                            # the contest's

A class that occurs in no layout has no accuracy: NaN, left out of the means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Confusion:
    """Pixels of one class that are predicted as another; `share`: of all pixels of the image."""

    true: int
    predicted: int
    share: float


@dataclass(frozen=True)
class ImageAgreement:
    """The share of equal pixels of an image, and its largest confusion, None if all are equal."""

    share: float
    confusion: Confusion | None


def confusion_matrix(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Return pixel counts (K, K): row = true class, column = predicted class.

    Both layouts are (H, W) of ids 0..K-1. Raises ValueError if shapes differ, or for other ids; an
    unknown class is a class of its own, id K - 1.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"layouts: expected equal shapes, got {truth.shape}, {predicted.shape}.")
    for name, layout in (("truth", truth), ("predicted", predicted)):
        if layout.size and not 0 <= int(layout.min()) <= int(layout.max()) < classes:
            found = f"{layout.min()}..{layout.max()}"
            raise ValueError(f"{name}: expected ids 0..{classes - 1}, got {found}.")
    pairs = truth.astype(np.int64).ravel() * classes + predicted.ravel()
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def pixel_accuracy(matrix: NDArray[np.int64]) -> float:
    """Return the share of equal pixels over all images together; NaN without pixels."""
    return float(_divide(np.trace(matrix), matrix.sum()))


def class_accuracies(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return, per true class (K,), the share of its pixels that are predicted as this class."""
    return _divide(np.diag(matrix), matrix.sum(axis=1))


def class_ious(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return intersection over union per class (K,); NaN if neither side has the class."""
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix)
    return _divide(np.diag(matrix), union)


def mean_iou(matrix: NDArray[np.int64]) -> float:
    """Return the mean IoU over the classes that occur on one side or both; NaN without pixels."""
    ious = class_ious(matrix)
    occurs = ~np.isnan(ious)
    return float(_divide(ious[occurs].sum(), occurs.sum()))


def largest_confusion(matrix: NDArray[np.int64]) -> Confusion | None:
    """Return the two unequal classes with the most pixels of a matrix (K, K); None without any.

    Of equal counts the first one wins, row by row.
    """
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    true, predicted = divmod(int(wrong.argmax()), len(matrix))
    if not wrong[true, predicted]:
        return None
    return Confusion(true, predicted, float(wrong[true, predicted] / matrix.sum()))


class SegmentationCounts:
    """Counts pixels over many layouts; `matrix` is their confusion matrix (K, K)."""

    def __init__(self, classes: int) -> None:
        self.matrix = np.zeros((classes, classes), np.int64)
        self._shares: list[float] = []
        self._class_shares = np.zeros(classes)  # of the true pixels, summed over images

    def add(self, truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> ImageAgreement:
        """Add the layouts (H, W) of one image; return their agreement.

        Sizes may differ between images. Raises ValueError as `confusion_matrix` does, or for a
        layout without pixels.
        """
        if not truth.size:
            raise ValueError(f"truth: expected pixels, got {truth.shape}.")
        matrix = confusion_matrix(truth, predicted, len(self.matrix))
        self.matrix += matrix
        self._shares.append(pixel_accuracy(matrix))
        self._class_shares += matrix.sum(axis=1) / truth.size
        return ImageAgreement(self._shares[-1], largest_confusion(matrix))

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self._shares)

    @property
    def floor(self) -> tuple[int, float]:
        """The class with the best mask accuracy if predicted at every pixel, and that accuracy."""
        commonest = int(self._class_shares.argmax())
        return commonest, float(_divide(self._class_shares[commonest], len(self._shares)))

    @property
    def mask_accuracy(self) -> float:
        """The contest's mask accuracy: mean over images of the share of equal pixels.

        All pixels count. Images of unequal size have equal weight, unlike in `pixel_accuracy`.
        """
        return float(_divide(sum(self._shares), len(self._shares)))


def _divide(counts: NDArray | float, totals: NDArray | float) -> NDArray[np.float64]:
    """counts / totals, NaN if a total is 0."""
    counts, totals = np.asarray(counts, np.float64), np.asarray(totals, np.float64)
    return np.divide(counts, totals, out=np.full(totals.shape, np.nan), where=totals > 0)
