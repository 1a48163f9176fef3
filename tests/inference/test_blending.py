"""Regions of several images with feathered borders."""

from __future__ import annotations

import numpy as np
import pytest

from inference.blending import blend_regions, feathered_masks

SIZE = (24, 40)


def owners() -> np.ndarray:
    """Image 1 has the right half, image 2 a square at the upper border."""
    found = np.zeros(SIZE, int)
    found[:, 20:] = 1
    found[:6, 10:16] = 2
    return found


def gaussian(deviation: float) -> np.ndarray:
    """Weights of a Gaussian at -r..r, which sum to 1."""
    places = np.arange(-20, 21)
    weights = np.exp(-(places**2) / (2 * deviation**2))
    return weights / weights.sum()


def test_masks_sum_to_one_and_are_those_of_a_gaussian() -> None:
    masks = feathered_masks(owners(), 3, 2.0)
    np.testing.assert_allclose(masks.sum(axis=0), 1, atol=1e-5)
    for number, mask in enumerate(masks):
        padded = np.pad((owners() == number).astype(float), 20, mode="symmetric")
        for axis in (0, 1):
            padded = np.apply_along_axis(np.convolve, axis, padded, gaussian(2.0), "same")
        np.testing.assert_allclose(mask, padded[20:-20, 20:-20], atol=2e-3)


def test_hard_edges() -> None:
    images = [np.full((*SIZE, 3), value, np.uint8) for value in (10, 200, 77)]
    found = blend_regions(images, owners(), 0)
    assert (found == np.array([10, 200, 77])[owners()][..., None]).all()


def test_a_mixed_image_is_the_weighted_mean() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8) for _ in range(3)]
    found = blend_regions(images, owners(), 3.0)
    masks = feathered_masks(owners(), 3, 3.0).astype(np.float64)
    expected = sum(mask[..., None] * image for mask, image in zip(masks, images, strict=True))
    assert found.dtype == np.uint8 and np.abs(found - expected).max() <= 0.5 + 1e-3
    # far from every border, each image is itself
    assert (found[-1, 0] == images[0][-1, 0]).all() and (found[-1, -1] == images[1][-1, -1]).all()


@pytest.mark.parametrize("value", [0, 255])
def test_equal_images_stay_as_they_are(value: int) -> None:
    image = np.full((*SIZE, 3), value, np.uint8)
    assert (blend_regions([image] * 3, owners(), 4.0) == value).all()
