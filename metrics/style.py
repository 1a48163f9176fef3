"""Style similarity of an image and its reference photo: correlation of their color histograms.

The contest of 2023 does not publish its bins. Two guesses of participants are public, and neither
has been confirmed:

    hue_similarity      180 bins of the hue (SecretWeapon, 4th place)
    joint_similarity    mean of 16 x 16 x 16 bins of blue, green and red, and of 8 x 3 x 3 bins of
                        hue, saturation and value (72 bins)

A correlation is between -1 and 1 and does not depend on the number of pixels, so that the sizes of
image and photo may differ. The hue of gray pixels is 0: two gray images correlate at about 1.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# Hues of OpenCV in 8 bits: degrees / 2.
HUES = 180
# OpenCV's DBL_EPSILON. numpy.finfo warns if a library has made the processor flush subnormals.
EPSILON = 2.0**-52


def hue_similarity(image: NDArray[np.uint8], photo: NDArray[np.uint8]) -> float:
    """Return the correlation of 180 hue bins; uint8 RGB (H, W, 3), sizes may differ."""
    return correlation(_hue_histogram(image), _hue_histogram(photo))


def joint_similarity(image: NDArray[np.uint8], photo: NDArray[np.uint8]) -> float:
    """Return the mean correlation of 16^3 BGR bins and 72 HSV bins; uint8 RGB (H, W, 3)."""
    bgr = correlation(_bgr_histogram(image), _bgr_histogram(photo))
    hsv = correlation(_hsv_histogram(image), _hsv_histogram(photo))
    return (bgr + hsv) / 2


def correlation(first: NDArray[np.integer], second: NDArray[np.integer]) -> float:
    """Return Pearson's correlation of two histograms; 1 if one of them is flat, as in OpenCV."""
    a = first - first.mean()
    b = second - second.mean()
    product = float((a * a).sum() * (b * b).sum())
    if product <= EPSILON:
        return 1.0
    return float((a * b).sum() / np.sqrt(product))


def _hue_histogram(image: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.bincount(_hsv(image)[..., 0].ravel(), minlength=HUES)


def _bgr_histogram(image: NDArray[np.uint8]) -> NDArray[np.int64]:
    red, green, blue = np.moveaxis((image >> 4).astype(np.int64), -1, 0)
    return np.bincount(((blue * 16 + green) * 16 + red).ravel(), minlength=16**3)


def _hsv_histogram(image: NDArray[np.uint8]) -> NDArray[np.int64]:
    hue, saturation, value = np.moveaxis(_hsv(image).astype(np.int64), -1, 0)
    bins = ((hue * 8 // HUES) * 3 + saturation * 3 // 256) * 3 + value * 3 // 256
    return np.bincount(bins.ravel(), minlength=72)


def _hsv(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
