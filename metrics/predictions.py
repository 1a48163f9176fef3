"""Agreement of a segmenter's predictions for image files with their layouts.

predictor = Predictor(29, segment)
agreement = measure_masks(images, layouts, LayoutClasses(29), predictor)
agreement.counts.mask_accuracy
agreement.images[0].share
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from data.images import ImageError, read_image
from data.reading import LayoutClasses, read_photo
from data.transforms import normalize_planes
from metrics.segmentation import ImageAgreement, SegmentationCounts
from options.errors import UserError

BATCH_SIZE = 8
BATCH_PIXELS = 1 << 21  # of several images together; one image may have more
THREADS = 2  # that decode

Progress: TypeAlias = Callable[[int, int], object]


@dataclass(frozen=True, eq=False)
class _Sample:
    index: int
    image: NDArray[np.uint8]
    layout: NDArray[np.int32]


@dataclass(frozen=True)
class Predictor:
    """A segmenter.

    segment: maps a batch float32 (N, 3, H, W) in [-1, 1] to classes int32 (N, H, W).
    smallest_side: the least height and width that it accepts.
    """

    classes: int
    segment: Callable[[NDArray[np.float32]], NDArray[np.int32]]
    smallest_side: int = 1


def require_classes(found: int, classes: LayoutClasses, what: str) -> None:
    """Raise UserError if a segmenter has another number of classes than layouts.

    found: its number of classes. what: the file, as messages name it.
    """
    if found != classes.count:
        unknown = "" if classes.unknown_label is None else ", the last one unknown"
        raise UserError(
            f"{what}: expected a segmenter of {classes.count} classes{unknown}, got one of "
            f"{found}. Name a segmenter of the layouts' classes"
        )


@dataclass(frozen=True, eq=False)
class Prediction:
    """An image uint8 RGB (H, W, 3), its layout and the predicted one, int32 (H, W) each.

    index: the place of the image in the list of images.
    """

    index: int
    image: NDArray[np.uint8]
    layout: NDArray[np.int32]
    predicted: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Agreement:
    """The agreement of predictions with layouts: pixel counts, and each image in their order."""

    counts: SegmentationCounts
    images: list[ImageAgreement]


def measure_masks(
    images: Sequence[Path],
    layouts: Sequence[Path],
    classes: LayoutClasses,
    predictor: Predictor,
    progress: Progress | None = None,
) -> Agreement:
    """Count equal pixels of predictions and layouts, as `predict_layouts` makes and reads them."""
    counts = SegmentationCounts(classes.count)
    found = {
        one.index: counts.add(one.layout, one.predicted)
        for one in predict_layouts(images, layouts, classes, predictor, progress)
    }
    return Agreement(counts, [found[index] for index in range(len(images))])


def predict_layouts(
    images: Sequence[Path],
    layouts: Sequence[Path],
    classes: LayoutClasses,
    predictor: Predictor,
    progress: Progress | None = None,
    size: tuple[int, int] | None = None,
) -> Iterator[Prediction]:
    """Yield the prediction for each image at its own size, those of equal sizes together.

    images, layouts: one layout per image; it is resized by nearest pixels to the image's size.
    size: (height, width) that all images are resized to first, as the photos of training are.
    Raises UserError for the first file that cannot be read, or for an image that is too small;
    ValueError if `predictor` has another number of classes.
    """
    if predictor.classes != classes.count:
        raise ValueError(f"predictor: expected {classes.count} classes, got {predictor.classes}.")

    pairs = list(zip(images, layouts, strict=True))

    def read(index: int) -> _Sample:
        image_path, layout_path = pairs[index]
        image = read_image(image_path) if size is None else read_photo(image_path, *size)
        height, width = image.shape[:2]
        if min(height, width) < predictor.smallest_side:
            rule = f"sides of {predictor.smallest_side} pixels or more for the segmenter"
            raise ImageError(image_path, rule, f"{height} x {width}", "remove it")
        return _Sample(index, image, classes.read(layout_path, height, width))

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(pairs), BATCH_SIZE):
            part = range(start, min(start + BATCH_SIZE, len(pairs)))
            for batch in _batches(pool.map(read, part)):
                inputs = np.stack([normalize_planes(one.image) for one in batch])
                predicted = predictor.segment(inputs)
                for one, found in zip(batch, predicted, strict=True):
                    yield Prediction(one.index, one.image, one.layout, found)
            if progress is not None:
                progress(part.stop, len(pairs))


def _batches(samples: Iterable[_Sample]) -> Iterator[list[_Sample]]:
    """Group the samples by the size of their images."""
    by_size: dict[tuple[int, int], list[_Sample]] = {}
    for sample in samples:
        height, width = sample.layout.shape
        by_size.setdefault((height, width), []).append(sample)
    for (height, width), group in by_size.items():
        most = max(1, BATCH_PIXELS // (height * width))
        for start in range(0, len(group), most):
            yield group[start : start + most]
