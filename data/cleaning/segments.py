"""Features of the large segments of a layout, for a classifier."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.cleaning.view import View

# Smaller segments, as a share of the image, show too little of their class.
LEAST_SHARE = 0.003
MOST_SEGMENTS = 40
APPEARANCE = (
    "mean L*", "mean a*", "mean b*", "deviation of L*", "deviation of a*", "deviation of b*",
    "mean L* minus the image's", "mean a* minus the image's", "mean b* minus the image's",
    "image's mean L*", "image's mean a*", "image's mean b*",
    "fine texture", "coarse texture", "share of steps across",
    "10th percentile of L*", "90th percentile of L*",
    "log10 of the area", "center's height", "top", "bottom", "height", "width",
    "share of its box", "sides of the image touched",
)  # fmt: skip


@dataclass(frozen=True)
class Segments:
    """The large segments of one layout, at most 40, largest first; S of them.

    classes: int32 (S,). areas: float32 (S,), shares of the image. features: float32 (S, 25 + K),
    the appearance (APPEARANCE), then the share of the border with each class.
    """

    classes: NDArray[np.int32]
    areas: NDArray[np.float32]
    features: NDArray[np.float32]


def describe_segments(view: View, classes: int) -> Segments:
    """Describe the segments of a view with a known class and at least 0.3% of the area.

    Heights and widths are shares of the image's; height 0 is its top.
    """
    height, width = view.size
    numbers = view.segments.ravel()
    ids = view.layout.ravel()
    areas = np.bincount(numbers)
    class_of = np.zeros(len(areas), dtype=np.int32)
    class_of[numbers] = ids
    large = np.flatnonzero(areas >= LEAST_SHARE * numbers.size)
    large = large[class_of[large] != (-1 if view.unknown is None else view.unknown)]
    large = large[np.argsort(-areas[large], kind="stable")][:MOST_SEGMENTS]
    count = len(large)
    if not count:
        empty = np.zeros((0, len(APPEARANCE) + classes), np.float32)
        return Segments(np.zeros(0, np.int32), np.zeros(0, np.float32), empty)

    # Pixels of all other segments are counted as one extra segment, which is dropped.
    rank = np.full(len(areas), count, dtype=np.int32)
    rank[large] = np.arange(count)
    at = rank[numbers]  # (H * W,)

    def mean(values: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.bincount(at, values.ravel(), minlength=count + 1)[:count] / areas[large]

    lab = view.lab
    lightness = np.ascontiguousarray(lab[..., 0])
    means = [mean(lab[..., channel]) for channel in range(3)]
    spreads = [
        np.sqrt(np.maximum(mean(lab[..., channel] ** 2) - means[channel] ** 2, 0))
        for channel in range(3)
    ]
    whole = [np.full(count, float(lab[..., channel].mean())) for channel in range(3)]
    smooth = cv2.GaussianBlur(lightness, (0, 0), 4)
    across = np.abs(cv2.Sobel(lightness, cv2.CV_32F, 1, 0))
    down = np.abs(cv2.Sobel(lightness, cv2.CV_32F, 0, 1))
    fine = mean(np.abs(cv2.Laplacian(lightness, cv2.CV_32F)))
    coarse = mean(np.abs(smooth - cv2.GaussianBlur(lightness, (0, 0), 1)))
    steps_across, steps_down = mean(across), mean(down)

    low, high = _percentiles(lightness.ravel(), at, count)
    rows = np.repeat(np.arange(height, dtype=np.float32) / height, width)
    top, bottom, left, right = _boxes(at.reshape(height, width), count)
    tall, wide = (bottom - top) / height, (right - left) / width
    share = areas[large] / numbers.size
    touched = (top == 0).astype(float) + (bottom == height) + (left == 0) + (right == width)
    columns = [
        *means, *spreads, *(a - b for a, b in zip(means, whole, strict=True)), *whole,
        fine, coarse, steps_across / (steps_across + steps_down + 1e-3), low, high,
        np.log10(share), mean(rows), top / height, bottom / height, tall, wide,
        share / np.maximum(tall * wide, 1e-6), touched,
    ]  # fmt: skip
    neighbors = _neighbors(view, at.reshape(height, width), count, classes)
    features = np.concatenate([np.stack(columns, axis=1), neighbors], axis=1)
    return Segments(class_of[large], share.astype(np.float32), features.astype(np.float32))


def _percentiles(
    values: NDArray[np.float32], at: NDArray[np.int32], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 10th and 90th percentile of each segment's lightness, in steps of 1/64."""
    bins = np.clip(values * 0.64, 0, 63).astype(np.int32)
    histogram = np.bincount(at * 64 + bins, minlength=(count + 1) * 64).reshape(-1, 64)[:count]
    shares = np.cumsum(histogram, axis=1) / histogram.sum(axis=1, keepdims=True)
    low, high = ((shares < share).sum(axis=1) / 0.64 for share in (0.1, 0.9))
    return low, high


def _boxes(at: NDArray[np.int32], count: int) -> tuple[NDArray[np.float64], ...]:
    """Return top, bottom, left, right of each segment in pixels; bottom and right are exclusive."""
    found = np.zeros((4, count))
    for axis, (first, last) in ((0, (0, 1)), (1, (2, 3))):
        length, other = at.shape[axis], at.shape[1 - axis]
        places = np.arange(length)[:, None] if axis == 0 else np.arange(length)[None]
        seen = (
            np.bincount((at * length + places).ravel(), minlength=(count + 1) * length).reshape(
                -1, length
            )[:count]
            > 0
        )
        assert other
        found[first] = seen.argmax(axis=1)
        found[last] = length - seen[:, ::-1].argmax(axis=1)
    return tuple(found)


def _neighbors(view: View, at: NDArray[np.int32], count: int, classes: int) -> NDArray[np.float64]:
    """Return the share of each segment's border with each class: (S, K)."""
    ids = np.minimum(view.layout, classes)
    counted = np.zeros((count + 1) * (classes + 1))
    for one, two in (
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[1:], np.s_[:-1]),
        (np.s_[:-1], np.s_[1:]),
    ):
        differs = at[one] != at[two]
        keys = at[one][differs] * (classes + 1) + ids[two][differs]
        counted += np.bincount(keys, minlength=len(counted))
    table = counted.reshape(count + 1, classes + 1)[:count]
    return table[:, :classes] / np.maximum(table.sum(axis=1, keepdims=True), 1)
