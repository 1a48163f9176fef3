"""Random crops of photos and their layouts, for training segmenters.

recipe = CropRecipe(height=512, width=512, ignored=29)
photo, layout = random_crop(photo, layout, recipe, rng)
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.transforms import crop, flip, resize_image, resize_layout

TRIES = 10  # crops, before one class may have more than its share
# Bounds of the random colors, as in MMSegmentation's PhotoMetricDistortion.
BRIGHTNESS = 32.0
FACTORS = (0.5, 1.5)  # of contrast and of saturation
HUE = 18  # of 180


@dataclass(frozen=True)
class CropRecipe:
    """Sizes and probabilities of the crops (Xie et al. 2021, section 4.1).

    Attributes:
        height, width: of the crop, in pixels.
        ignored: id of the pixels outside the photo.
        min_scale, max_scale: range of the shorter side of the resized photo over that of the crop.
        max_class_share: share of the known pixels that one class may have, 0 to 1.
        flip: whether half of the crops are mirrored.
        color_jitter: whether brightness, contrast, saturation and hue are random.
    """

    height: int
    width: int
    ignored: int
    min_scale: float = 0.5
    max_scale: float = 2.0
    max_class_share: float = 0.75
    flip: bool = True
    color_jitter: bool = True


def random_crop(
    photo: NDArray[np.uint8],
    layout: NDArray[np.int32],
    recipe: CropRecipe,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Resize, crop, mirror and color a photo (H, W, 3) and its layout (H, W) at random.

    The aspect ratio is kept. A photo that is smaller than the crop is padded on the right and below
    with black pixels of the class `ignored`. Returns uint8 (height, width, 3) and int32
    (height, width).
    """
    shorter = min(recipe.height, recipe.width) * rng.uniform(recipe.min_scale, recipe.max_scale)
    factor = shorter / min(photo.shape[:2])
    height, width = (max(1, round(side * factor)) for side in photo.shape[:2])
    photo, layout = resize_image(photo, height, width), resize_layout(layout, height, width)
    top, left = _choose_window(layout, recipe, rng)
    window = (top, left, min(recipe.height, height), min(recipe.width, width))
    photo, layout = crop(photo, *window), crop(layout, *window)
    # Always sampled, so that an option does not change the random numbers of the others.
    if rng.integers(2) and recipe.flip:
        photo, layout = flip(photo), flip(layout)
    if recipe.color_jitter:
        photo = jitter_colors(photo, rng)
    return _pad(photo, recipe, 0), _pad(layout, recipe, recipe.ignored)


def _choose_window(
    layout: NDArray[np.int32], recipe: CropRecipe, rng: np.random.Generator
) -> tuple[int, int]:
    """Top and left of a crop in which no class has more than its share, if one is found."""
    height, width = layout.shape
    for _ in range(TRIES):
        top = int(rng.integers(max(0, height - recipe.height) + 1))
        left = int(rng.integers(max(0, width - recipe.width) + 1))
        part = layout[top : top + recipe.height, left : left + recipe.width]
        counts = np.bincount(part.ravel())
        if counts.max() <= recipe.max_class_share * part.size:
            break
    return top, left


def jitter_colors(photo: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change brightness, contrast, saturation and hue of (H, W, 3), each with probability 1/2.

    In the order of Liu et al. 2016, "SSD", appendix: contrast comes second or last. Values are
    rounded and clipped to 0..255 after each change.
    """
    if rng.integers(2):
        photo = _scale(photo, 1.0, rng.uniform(-BRIGHTNESS, BRIGHTNESS))
    contrast_last = bool(rng.integers(2))
    contrast = rng.uniform(*FACTORS) if rng.integers(2) else None
    if contrast is not None and not contrast_last:
        photo = _scale(photo, contrast, 0.0)
    saturation = rng.uniform(*FACTORS) if rng.integers(2) else None
    hue = int(rng.integers(-HUE, HUE + 1)) if rng.integers(2) else None
    if saturation is not None or hue is not None:
        photo = _shift_hsv(photo, saturation or 1.0, hue or 0)
    if contrast is not None and contrast_last:
        photo = _scale(photo, contrast, 0.0)
    return photo


def _scale(image: NDArray[np.uint8], factor: float, offset: float) -> NDArray[np.uint8]:
    values = np.arange(256) * factor + offset
    table = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return table[image]


def _shift_hsv(image: NDArray[np.uint8], factor: float, shift: int) -> NDArray[np.uint8]:
    """Multiply the saturation, and shift the hue by 2 * `shift` degrees."""
    hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
    hues = ((np.arange(256) + shift) % 180).astype(np.uint8)
    hsv[..., 0] = hues[hsv[..., 0]]
    hsv[..., 1] = _scale(hsv[..., 1], factor, 0.0)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def _pad(array: NDArray[np.generic], recipe: CropRecipe, value: int) -> NDArray:
    rows, columns = recipe.height - array.shape[0], recipe.width - array.shape[1]
    if not rows and not columns:
        return array
    widths = [(0, rows), (0, columns), (0, 0)][: array.ndim]
    return np.pad(array, widths, constant_values=value)
