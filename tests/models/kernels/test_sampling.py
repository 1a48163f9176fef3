"""Nearest-neighbor sampling against NumPy."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest

from models.kernels.sampling import resize_nearest


def nearest(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixel (i, j) is pixel (floor(i * H / h), floor(j * W / w))."""
    rows, columns = (
        np.arange(new) * old // new for new, old in zip(size, x.shape[2:], strict=True)
    )
    return x[:, :, rows][:, :, :, columns]


@pytest.mark.parametrize("size", [(14, 18), (3, 5), (5, 13), (7, 9), (1, 1)])
def test_resize_nearest(size: tuple[int, int]) -> None:
    x = np.random.RandomState(0).random_sample((2, 3, 7, 9)).astype(np.float32)
    np.testing.assert_array_equal(resize_nearest(jt.array(x), size).numpy(), nearest(x, size))


def test_resize_nearest_does_not_round_the_ratio() -> None:
    # 11 * (26 / 22) is 12.99... in float32: an index from a rounded ratio gives the previous pixel.
    x = np.arange(26, dtype=np.float32).reshape(1, 1, 1, 26)
    found = resize_nearest(jt.array(x), (1, 22)).numpy().ravel()
    np.testing.assert_array_equal(found, np.arange(22) * 26 // 22)
