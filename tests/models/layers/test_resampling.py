"""Resampling against NumPy."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest

from models.kernels import fused
from models.layers.resampling import (
    downsample,
    pad_reflected,
    pool_average,
    resize_bilinear,
    resize_to_classes,
    sum_resized,
    upsample,
)
from tests.models.inputs import shape


def _pixels(height: int, width: int) -> np.ndarray:
    return np.random.RandomState(0).random_sample((2, 3, height, width)).astype(np.float32)


def test_upsample_and_downsample() -> None:
    x = _pixels(7, 9)
    upsampled = upsample(jt.array(x)).numpy()
    np.testing.assert_array_equal(upsampled, x.repeat(2, axis=2).repeat(2, axis=3))
    np.testing.assert_array_equal(downsample(jt.array(upsampled)).numpy(), x)
    assert shape(downsample(jt.array(x))) == (2, 3, 3, 4)  # an odd last row and column is dropped


def test_the_gradient_of_upsample_sums_four_pixels() -> None:
    x = jt.array(_pixels(7, 9))
    weights = _pixels(14, 18)
    gradient = jt.grad((upsample(x) * jt.array(weights)).sum(), x).numpy()
    expected = weights.reshape(2, 3, 7, 2, 9, 2).sum((3, 5))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


@pytest.mark.parametrize(("size", "width"), [((7, 9), 3), ((2, 3), 1), ((4, 5), 3)])
def test_pad_reflected_does_not_repeat_the_border(size: tuple[int, int], width: int) -> None:
    x = _pixels(*size)
    around = ((0, 0), (0, 0), (width, width), (width, width))
    padded = pad_reflected(jt.array(x), width).numpy()
    np.testing.assert_array_equal(padded, np.pad(x, around, mode="reflect"))


@pytest.mark.parametrize("size", [(7, 9), (8, 10), (1, 1)])
def test_pool_average_counts_only_pixels_inside(size: tuple[int, int]) -> None:
    x = _pixels(*size)
    h, w = (size[0] + 1) // 2, (size[1] + 1) // 2
    expected = np.empty((2, 3, h, w), np.float32)
    for i in range(h):
        for j in range(w):
            window = x[:, :, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
            expected[:, :, i, j] = window.mean((2, 3))
    np.testing.assert_allclose(pool_average(jt.array(x)).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(14, 18), (4, 5)])
def test_resize_bilinear_aligns_centers(size: tuple[int, int]) -> None:
    x = _pixels(7, 9).astype(np.float64)
    for axis, new in ((2, size[0]), (3, size[1])):
        old = x.shape[axis]
        places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        below = np.floor(places).astype(int)
        share = (places - below).reshape([-1 if a == axis else 1 for a in range(4)])
        above = np.minimum(below + 1, old - 1)
        x = x.take(below, axis) * (1 - share) + x.take(above, axis) * share
    found = resize_bilinear(jt.array(_pixels(7, 9)), size).numpy()
    np.testing.assert_allclose(found, x, atol=1e-5)


@pytest.mark.parametrize("size", [(12, 17), (5, 7), (3, 4)])
def test_sum_resized(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    maps = [jt.array(_pixels(*side)) for side in ((5, 7), (3, 4), (1, 2), (5, 7))]
    expected = sum(resize_bilinear(x, size).numpy() for x in maps)
    weights = jt.array(_pixels(*size))
    found = []
    for available in (True, False):
        monkeypatch.setattr(fused, "available", lambda available=available: available)
        total = sum_resized(maps, size)
        gradients = jt.grad((total * weights).sum(), maps)
        found.append([array.numpy() for array in (total, *gradients)])
    np.testing.assert_allclose(found[0][0], expected, atol=1e-5)
    for kernel, plain in zip(*found, strict=True):
        np.testing.assert_allclose(kernel, plain, rtol=1e-5, atol=1e-5)


def test_resize_to_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = jt.array(_pixels(5, 7))
    found = []
    for available in (True, False):
        monkeypatch.setattr(fused, "available", lambda available=available: available)
        found.append(resize_to_classes(scores, (23, 31)).numpy())
    np.testing.assert_array_equal(*found)
    assert found[0].dtype == np.int32 and set(np.unique(found[0])) == {0, 1, 2}
    same = resize_to_classes(jt.array(np.ones((1, 4, 2, 2), np.float32)), (3, 3)).numpy()
    assert not same.any()  # the first of equal scores
