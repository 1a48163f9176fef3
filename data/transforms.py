"""Resizing, mapping, mirroring and cropping of arrays; no files, no randomness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GREY_LEVELS = (np.arange(256) / 127.5 - 1).astype(np.float32)


def resize_image(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize uint8 RGB (H, W, 3) by bicubic interpolation, antialiased where it shrinks.

    Pillow widens the filter by the scale on each axis by itself; OpenCV's bicubic does not.
    """
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def resize_layout(layout: NDArray[np.int32], height: int, width: int) -> NDArray[np.int32]:
    """Resize ids (H, W) to the nearest pixel: pixel i takes floor((i + 1/2) H / height).

    Pixel centres are aligned, as in `resize_image`, so that layout and photograph stay together.
    """
    old_height, old_width = layout.shape
    if (old_height, old_width) == (height, width):
        return layout
    rows = (2 * np.arange(height) + 1) * old_height // (2 * height)
    columns = (2 * np.arange(width) + 1) * old_width // (2 * width)
    return layout[rows[:, None], columns]


def map_unknown(
    layout: NDArray[np.int32], classes: int, unknown_label: int | None, first_id: int = 0
) -> NDArray[np.int32]:
    """Make ids classes: `first_id` is class 0, `unknown_label` is `classes`, one past the known."""
    known = layout - np.int32(first_id) if first_id else layout
    if unknown_label is None or (unknown_label == classes and not first_id):
        return known
    return np.where(layout == unknown_label, np.int32(classes), known)


def flip(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Mirror (H, W, ...) left to right."""
    return array[:, ::-1]


def crop(
    array: NDArray[np.generic], top: int, left: int, height: int, width: int
) -> NDArray[np.generic]:
    """Cut height x width out of (H, W, ...). Raises ValueError where it does not lie inside."""
    if not (0 <= top <= array.shape[0] - height and 0 <= left <= array.shape[1] - width):
        window = f"rows {top}..{top + height}, columns {left}..{left + width}"
        raise ValueError(f"a crop must lie inside {array.shape[0]} x {array.shape[1]}: {window}")
    return array[top : top + height, left : left + width]


def instance_edges(instances: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Mark the borders of objects: (H, W) numbers to uint8 (H, W), 0 or 1.

    A pixel is 1 where its left, right, upper or lower neighbour has another number (SPADE's
    `get_edges`).
    """
    edges = np.zeros(instances.shape, dtype=np.uint8)
    across = instances[:, 1:] != instances[:, :-1]
    down = instances[1:] != instances[:-1]
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges


def normalise(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale uint8 0..255 of any shape to float32 -1..1."""
    return np.take(_GREY_LEVELS, image)


def denormalise(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale float32 -1..1 of any shape to uint8 0..255, rounded; values outside are clipped."""
    return np.clip(np.rint((image + 1) * 127.5), 0, 255).astype(np.uint8)
