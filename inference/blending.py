"""Mixes images by class regions with feathered borders."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray


def feathered_masks(
    owners: NDArray[np.integer], count: int, deviation: float
) -> NDArray[np.float32]:
    """Return a weight per image and pixel (count, H, W); they sum to 1 at each pixel.

    owners: index of an image per pixel (H, W). Each image's mask is blurred by a Gaussian of
    `deviation` pixels, mirrored at the borders of the image; 0 leaves hard edges.
    """
    masks = (owners[None] == np.arange(count)[:, None, None]).astype(np.float32)
    if deviation > 0:
        for mask in masks:
            mask[:] = cv2.GaussianBlur(mask, (0, 0), deviation, borderType=cv2.BORDER_REFLECT)
    return masks


def blend_regions(
    images: Sequence[NDArray[np.uint8]], owners: NDArray[np.integer], deviation: float
) -> NDArray[np.uint8]:
    """Return the mean of images uint8 (H, W, 3), weighted by `feathered_masks`."""
    masks = feathered_masks(owners, len(images), deviation)
    mixed = np.zeros(images[0].shape, np.float32)
    for mask, image in zip(masks, images, strict=True):
        mixed += mask[..., None] * image
    return np.rint(mixed).clip(0, 255).astype(np.uint8)
