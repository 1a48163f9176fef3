"""Fault injection: known faults for clean pairs, to evaluate the measures.

Each function returns the new (photo, layout), or None if the fault would not show in this pair.
Photos are uint8 RGB (H, W, 3), layouts int32 ids (H, W).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as label_segments

from data.transforms import resize_layout

Photo = NDArray[np.uint8]
Layout = NDArray[np.int32]
Injected = tuple[Photo, Layout] | None


@dataclass(frozen=True)
class Others:
    """The rest of the dataset: layouts to swap in, and the classes that occur."""

    layouts: Sequence[Layout]
    classes: NDArray[np.int32]
    unknown: int | None = None


def swapped(photo: Photo, layout: Layout, others: Others, rng: np.random.Generator) -> Injected:
    """Replace the layout by that of another pair, with the same class in under 60% of pixels."""
    for index in rng.permutation(len(others.layouts)):
        other = resize_layout(others.layouts[index], *layout.shape)
        if (other == layout).mean() < 0.6:
            return photo, other
    return None


def shifted(photo: Photo, layout: Layout, others: Others, rng: np.random.Generator) -> Injected:
    """Shift the layout by 8% of a side in one of eight directions; border pixels repeat.

    None if under 3% of the pixels change.
    """
    angle = rng.integers(8) * np.pi / 4
    rows = round(0.08 * layout.shape[0] * np.sin(angle))
    columns = round(0.08 * layout.shape[1] * np.cos(angle))
    height, width = layout.shape
    ys = np.clip(np.arange(height) - rows, 0, height - 1)
    xs = np.clip(np.arange(width) - columns, 0, width - 1)
    moved = layout[ys[:, None], xs]
    return (photo, moved) if (moved != layout).mean() >= 0.03 else None


def mirrored(photo: Photo, layout: Layout, others: Others, rng: np.random.Generator) -> Injected:
    """Flip the layout left to right; None if over 90% of it is symmetric."""
    flipped = np.ascontiguousarray(layout[:, ::-1])
    return (photo, flipped) if (flipped == layout).mean() <= 0.9 else None


def relabeled(photo: Photo, layout: Layout, others: Others, rng: np.random.Generator) -> Injected:
    """Give 20% of the segments (at least one) another class, sampled uniformly from the dataset's.

    Segments are connected regions of at least 0.5% of the image. None if there is only one.
    """
    segments = label_segments(layout, background=-1, connectivity=1)
    areas = np.bincount(segments.ravel())
    numbers = np.flatnonzero(areas >= 0.005 * layout.size)
    ids = {int(n): int(layout.ravel()[np.argmax(segments.ravel() == n)]) for n in numbers}
    numbers = np.array([n for n in numbers if ids[int(n)] != others.unknown])
    if len(numbers) < 2:
        return None
    changed = layout.copy()
    for number in rng.choice(numbers, max(1, round(0.2 * len(numbers))), replace=False):
        choices = others.classes[others.classes != ids[int(number)]]
        changed[segments == number] = rng.choice(choices)
    return photo, changed


def speckled(photo: Photo, layout: Layout, others: Others, rng: np.random.Generator) -> Injected:
    """Give 5% of the pixels a class sampled uniformly from the dataset's: salt and pepper."""
    changed = layout.copy()
    chosen = rng.random(layout.shape) < 0.05
    changed[chosen] = rng.choice(others.classes, int(chosen.sum()))
    return photo, changed


def striped(photo: Photo, layout: Layout, others: Others, rng: np.random.Generator) -> Injected:
    """Interleave stripes of a second class in a window of 50% to 100% of each side.

    A stripe is 1/128 to 1/42 of the width, in one of four directions.
    """
    height, width = layout.shape
    share = rng.uniform(0.5, 1.0, 2)
    window = (round(share[0] * height), round(share[1] * width))
    top = int(rng.integers(height - window[0] + 1))
    left = int(rng.integers(width - window[1] + 1))
    ys, xs = np.mgrid[: window[0], : window[1]]
    angle = rng.integers(4) * np.pi / 4
    thick = max(1.0, width * rng.uniform(1 / 128, 1 / 42))
    odd = np.floor((ys * np.sin(angle) + xs * np.cos(angle)) / thick) % 2 == 1
    changed = layout.copy()
    part = changed[top : top + window[0], left : left + window[1]]
    most = np.bincount(part.ravel()).argmax()
    part[odd] = rng.choice(others.classes[others.classes != most])
    return photo, changed


def backlit(photo: Photo, layout: Layout, others: Others, rng: np.random.Generator) -> Injected:
    """Crush the foreground by a tone curve: v -> min(1, v / p)^g, g in 3.5..5, v in 0..1.

    p is the 90th percentile of the tones, which becomes white. None if under 15% of the photo is
    brighter than 0.8 p or under 25% is darker than 0.6 p: it has no sky or no foreground.
    """
    tones = photo.astype(np.float32) / 255
    gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    white = max(float(np.percentile(gray, 90)), 0.05)
    if (gray > 0.8 * white).mean() < 0.15 or (gray < 0.6 * white).mean() < 0.25:
        return None
    crushed = np.minimum(1, tones / white) ** rng.uniform(3.5, 5)
    return np.rint(255 * crushed).astype(np.uint8), layout


def relit(
    photo: Photo, layout: Layout, others: Others, rng: np.random.Generator
) -> tuple[Photo, Layout]:
    """Return a copy with other light: gamma 0.6..1.6, gain 0.8..1.2 per channel."""
    gains = rng.uniform(0.8, 1.2, 3)
    tones = (photo / 255.0) ** rng.uniform(0.6, 1.6) * gains
    return np.clip(np.rint(255 * tones), 0, 255).astype(np.uint8), layout.copy()


def retaken(photo: Photo, layout: Layout, others: Others, rng: np.random.Generator) -> Injected:
    """Return a copy with other light, shifted by up to 1% of the sides, as by a moving camera.

    Border pixels repeat.
    """
    changed, _ = relit(photo, layout, others, rng)
    rows, columns = (round(n * rng.uniform(-0.01, 0.01)) for n in layout.shape)
    ys = np.clip(np.arange(layout.shape[0]) - rows, 0, layout.shape[0] - 1)
    xs = np.clip(np.arange(layout.shape[1]) - columns, 0, layout.shape[1] - 1)
    return changed[ys[:, None], xs], layout[ys[:, None], xs]


FAULTS: dict[str, Callable[[Photo, Layout, Others, np.random.Generator], Injected]] = {
    "swapped": swapped,
    "shifted": shifted,
    "mirrored": mirrored,
    "relabeled": relabeled,
    "speckled": speckled,
    "striped": striped,
    "backlit": backlit,
}

# Copies that are added to a dataset in addition to their originals.
COPIES: dict[str, Callable[[Photo, Layout, Others, np.random.Generator], Injected]] = {
    "duplicate": relit,
    "retaken": retaken,
}
