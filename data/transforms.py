"""Resizing, cropping, flipping and scaling of arrays; no files, no randomness."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Scalar = TypeVar("Scalar", bound=np.generic)

_GRAY_LEVELS = (np.arange(256) / 127.5 - 1).astype(np.float32)


def resize_image(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize uint8 RGB (H, W, 3) to (height, width, 3): bicubic, antialiased when it shrinks.

    Pillow widens the filter by the scale of each axis; OpenCV's bicubic does not.
    """
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def resize_layout(layout: NDArray[np.int32], height: int, width: int) -> NDArray[np.int32]:
    """Resize ids (H, W) to (height, width) by nearest pixels: row i is floor((i + 1/2) H / height).

    Pixel centers are aligned as in `resize_image`, so layout and photo stay registered.
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
    """Map ids (H, W) to classes: `first_id` to 0, `unknown_label` to `classes`."""
    known = layout - np.int32(first_id) if first_id else layout
    if unknown_label is None or (unknown_label == classes and not first_id):
        return known
    return np.where(layout == unknown_label, np.int32(classes), known)


def flip(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """Flip (H, W, ...) left to right."""
    return array[:, ::-1]


def crop(array: NDArray[Scalar], top: int, left: int, height: int, width: int) -> NDArray[Scalar]:
    """Crop (H, W, ...) to (height, width, ...).

    Raises ValueError if the window leaves the array.
    """
    if not (0 <= top <= array.shape[0] - height and 0 <= left <= array.shape[1] - width):
        window = f"rows {top}..{top + height}, columns {left}..{left + width}"
        size = f"{array.shape[0]} x {array.shape[1]}"
        raise ValueError(f"crop: expected a window inside {size}, got {window}.")
    return array[top : top + height, left : left + width]


def instance_edges(instances: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return the instance boundaries of (H, W) numbers as uint8 (H, W), 0 or 1.

    A pixel is 1 if its left, right, upper or lower neighbor has another number (SPADE's
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


def normalize(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale uint8 0..255 to float32 -1..1, any shape."""
    return np.take(_GRAY_LEVELS, image)


def normalize_planes(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale uint8 (H, W, 3) to float32 -1..1 as (3, H, W), the input of the networks.

    Plane by plane: a third of the time of `normalize` and a transposed copy.
    """
    planes = np.empty((image.shape[2], *image.shape[:2]), np.float32)
    for channel, plane in enumerate(planes):
        np.take(_GRAY_LEVELS, image[..., channel], out=plane)
    return planes


def denormalize(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale float32 -1..1 to uint8 0..255, any shape; rounds, and clips values outside."""
    return np.clip(np.rint((image + 1) * 127.5), 0, 255).astype(np.uint8)
