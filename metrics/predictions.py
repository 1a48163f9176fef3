"""Agreement of a segmenter's predictions for image files with their layouts.

predictor = Predictor(29, segment)
counts = measure_masks(images, layouts, LayoutClasses(29), predictor)
counts.mask_accuracy
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
from data.reading import LayoutClasses
from data.transforms import normalize
from metrics.segmentation import SegmentationCounts

BATCH_SIZE = 8
BATCH_PIXELS = 1 << 21  # of several images together; one image may have more
THREADS = 2  # that decode

Sample: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.int32]]


@dataclass(frozen=True)
class Predictor:
    """A segmenter.

    segment: maps a batch float32 (N, 3, H, W) in [-1, 1] to classes int32 (N, H, W).
    smallest_side: the least height and width that it accepts.
    """

    classes: int
    segment: Callable[[NDArray[np.float32]], NDArray[np.int32]]
    smallest_side: int = 1


def measure_masks(
    images: Sequence[Path],
    layouts: Sequence[Path],
    classes: LayoutClasses,
    predictor: Predictor,
    progress: Callable[[int, int], object] | None = None,
) -> SegmentationCounts:
    """Count equal pixels of predictions and layouts, at the size of each image.

    images, layouts: one layout per image; it is resized by nearest pixels to the image's size.
    Raises UserError for the first file that cannot be read, or for an image that is too small;
    ValueError if `predictor` has another number of classes.
    """
    if predictor.classes != classes.count:
        raise ValueError(f"predictor: expected {classes.count} classes, got {predictor.classes}.")

    def read(paths: tuple[Path, Path]) -> Sample:
        image = read_image(paths[0])
        height, width = image.shape[:2]
        if min(height, width) < predictor.smallest_side:
            rule = f"sides of {predictor.smallest_side} pixels or more for the segmenter"
            raise ImageError(paths[0], rule, f"{height} x {width}", "remove it")
        return image, classes.read(paths[1], height, width)

    counts = SegmentationCounts(classes.count)
    pairs = list(zip(images, layouts, strict=True))
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(pairs), BATCH_SIZE):
            part = pairs[start : start + BATCH_SIZE]
            for batch in _batches(pool.map(read, part)):
                inputs = np.stack([normalize(image).transpose(2, 0, 1) for image, _ in batch])
                predicted = predictor.segment(inputs)
                for (_, layout), found in zip(batch, predicted, strict=True):
                    counts.add(layout, found)
            if progress is not None:
                progress(start + len(part), len(pairs))
    return counts


def _batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Group the samples by the size of their images."""
    by_size: dict[tuple[int, int], list[Sample]] = {}
    for image, layout in samples:
        height, width = layout.shape
        by_size.setdefault((height, width), []).append((image, layout))
    for (height, width), group in by_size.items():
        most = max(1, BATCH_PIXELS // (height * width))
        for start in range(0, len(group), most):
            yield group[start : start + most]
