"""Plants known faults in clean pairs, so that what finds them can be measured.

Each function returns the new (image, layout), or None where the fault would not show in this pair.
Images are uint8 RGB (H, W, 3), layouts int32 ids (H, W).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as label_segments

from data.transforms import resize_layout

Image = NDArray[np.uint8]
Layout = NDArray[np.int32]
Planted = tuple[Image, Layout] | None


@dataclass(frozen=True)
class Others:
    """What the rest of the dataset lends to a fault: layouts to swap in, classes that occur."""

    layouts: Sequence[Layout]
    classes: NDArray[np.int32]
    unknown: int | None = None


def swapped(image: Image, layout: Layout, others: Others, rng: np.random.Generator) -> Planted:
    """Give the pair another pair's layout, one that agrees with its own in under 60% of pixels."""
    for index in rng.permutation(len(others.layouts)):
        other = resize_layout(others.layouts[index], *layout.shape)
        if (other == layout).mean() < 0.6:
            return image, other
    return None


def shifted(image: Image, layout: Layout, others: Others, rng: np.random.Generator) -> Planted:
    """Move the layout by 8% of a side, in one of eight directions; its rim is repeated.

    None where under 3% of the pixels change.
    """
    angle = rng.integers(8) * np.pi / 4
    rows = round(0.08 * layout.shape[0] * np.sin(angle))
    columns = round(0.08 * layout.shape[1] * np.cos(angle))
    height, width = layout.shape
    ys = np.clip(np.arange(height) - rows, 0, height - 1)
    xs = np.clip(np.arange(width) - columns, 0, width - 1)
    moved = layout[ys[:, None], xs]
    return (image, moved) if (moved != layout).mean() >= 0.03 else None


def mirrored(image: Image, layout: Layout, others: Others, rng: np.random.Generator) -> Planted:
    """Mirror the layout left to right; None where over 90% of it is symmetric."""
    turned = np.ascontiguousarray(layout[:, ::-1])
    return (image, turned) if (turned == layout).mean() <= 0.9 else None


def relabelled(image: Image, layout: Layout, others: Others, rng: np.random.Generator) -> Planted:
    """Give 20% of the segments (at least one) another class of the dataset, drawn evenly.

    Segments are connected regions of at least 0.5% of the picture. None where there is but one.
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
    return image, changed


def speckled(image: Image, layout: Layout, others: Others, rng: np.random.Generator) -> Planted:
    """Give 5% of the pixels a class drawn evenly from the dataset's: salt and pepper."""
    changed = layout.copy()
    chosen = rng.random(layout.shape) < 0.05
    changed[chosen] = rng.choice(others.classes, int(chosen.sum()))
    return image, changed


def striped(image: Image, layout: Layout, others: Others, rng: np.random.Generator) -> Planted:
    """Interleave a second class in stripes over a window of half to all of each side.

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
    return image, changed


def backlit(image: Image, layout: Layout, others: Others, rng: np.random.Generator) -> Planted:
    """Crush the foreground by a tone curve: v -> min(1, v / p)^g, g in 3.5..5, v in 0..1.

    p is the 90th percentile of the tones, which becomes white. None where under 15% of the picture
    is brighter than 0.8 p or under 25% darker than 0.6 p: there is no sky to be against.
    """
    tones = image.astype(np.float32) / 255
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    white = max(float(np.percentile(grey, 90)), 0.05)
    if (grey > 0.8 * white).mean() < 0.15 or (grey < 0.6 * white).mean() < 0.25:
        return None
    crushed = np.minimum(1, tones / white) ** rng.uniform(3.5, 5)
    return np.rint(255 * crushed).astype(np.uint8), layout


def relit(
    image: Image, layout: Layout, others: Others, rng: np.random.Generator
) -> tuple[Image, Layout]:
    """Change a copy's light: gamma 0.6..1.6, each channel by 0.8..1.2."""
    gains = rng.uniform(0.8, 1.2, 3)
    tones = (image / 255.0) ** rng.uniform(0.6, 1.6) * gains
    return np.clip(np.rint(255 * tones), 0, 255).astype(np.uint8), layout.copy()


def retaken(image: Image, layout: Layout, others: Others, rng: np.random.Generator) -> Planted:
    """Change a copy's light and move it by up to 1% of the sides: the camera was not quite still.

    Its rim is repeated.
    """
    changed, _ = relit(image, layout, others, rng)
    rows, columns = (round(n * rng.uniform(-0.01, 0.01)) for n in layout.shape)
    ys = np.clip(np.arange(layout.shape[0]) - rows, 0, layout.shape[0] - 1)
    xs = np.clip(np.arange(layout.shape[1]) - columns, 0, layout.shape[1] - 1)
    return changed[ys[:, None], xs], layout[ys[:, None], xs]


FAULTS: dict[str, Callable[[Image, Layout, Others, np.random.Generator], Planted]] = {
    "swapped": swapped,
    "shifted": shifted,
    "mirrored": mirrored,
    "relabelled": relabelled,
    "speckled": speckled,
    "striped": striped,
    "backlit": backlit,
}

# Copies that are added to a dataset beside their originals.
COPIES: dict[str, Callable[[Image, Layout, Others, np.random.Generator], Planted]] = {
    "duplicate": relit,
    "retaken": retaken,
}
