"""Neighbourhoods: found exactly, at every border, for every kernel that the networks have."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.partition import Partition, find_neighbourhoods

KERNELS = [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (4, 2, 2), (4, 1, 2)]


def _values(batch: int, height: int, width: int, classes: int = 3) -> NDArray[np.int32]:
    values = np.random.RandomState(height).randint(0, classes, (batch, height, width))
    values[:, : height // 2] = values[0, 0, 0]  # a flat region, as layouts have
    return values.astype(np.int32)


def _windows(values: NDArray, kernel: int, stride: int, padding: int) -> NDArray:
    """(N, h, w, k * k), what the kernel covers, -1 outside."""
    padded = np.pad(values, ((0, 0), (padding,) * 2, (padding,) * 2), constant_values=-1)
    view = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))  # type: ignore[call-overload]
    view = view[:, ::stride, ::stride]
    return view.reshape(*view.shape[:3], -1)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [(1, 7, 9), (3, 8, 6), (2, 1, 1), (2, 2, 5), (2, 90, 80)])
def test_groups_are_the_different_neighbourhoods(
    kernel: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    if size[1] + 2 * kernel[2] < kernel[0]:
        pytest.skip("the kernel does not fit")
    values = _values(*size)
    partition = find_neighbourhoods(values, *kernel)
    windows = _windows(values, *kernel)
    assert partition.index.shape == windows.shape[:3]
    np.testing.assert_array_equal(partition.neighbours[partition.index], windows)
    different = np.unique(windows.reshape(-1, windows.shape[-1]), axis=0)
    assert partition.groups == len(different)
    assert partition.share == len(different) / windows[..., 0].size
    np.testing.assert_array_equal(
        partition.index.ravel()[partition.first], np.arange(partition.groups)
    )


def test_a_second_neighbourhood_is_that_of_five_by_five() -> None:
    values = _values(2, 9, 8)
    twice = find_neighbourhoods(values, 3, 1, 1).neighbourhoods(3, 1, 1)
    windows = _windows(values, 5, 1, 2).reshape(-1, 25)
    # Beside what 5 x 5 ids tell, padding twice tells how far the border is, and so do they.
    assert twice.groups == len(np.unique(windows, axis=0))
    assert twice is not twice.neighbourhoods(3, 1, 1)
    assert twice.neighbourhoods(3, 1, 1) is twice.neighbourhoods(3, 1, 1)


def test_pictures_are_kept_apart_where_a_norm_asks_for_it() -> None:
    values = np.repeat(_values(1, 6, 8), 3, axis=0)
    together = find_neighbourhoods(values, 3, 1, 1)
    apart = find_neighbourhoods(values, 3, 1, 1, by_picture=True)
    assert apart.groups == 3 * together.groups
    np.testing.assert_array_equal(
        apart.picture[apart.index], np.arange(3)[:, None, None] + 0 * values
    )
    np.testing.assert_allclose(apart.weights.numpy().sum(axis=0), 1, rtol=1e-6)
    second = apart.neighbourhoods(3, 1, 1)
    np.testing.assert_array_equal(
        second.picture[second.index], np.arange(3)[:, None, None] + 0 * values
    )


@pytest.mark.parametrize("size", [(6, 8), (7, 9)])
def test_halving_keeps_every_second_pixel(size: tuple[int, int]) -> None:
    partition = find_neighbourhoods(_values(2, *size), 3, 1, 1)
    halved: Partition = partition.halved
    kept = partition.index[:, : size[0] // 2 * 2 : 2, : size[1] // 2 * 2 : 2]
    np.testing.assert_array_equal(halved.neighbours[halved.index, 0], kept)


def test_ids_of_any_size_are_told_apart() -> None:
    values = np.array([[[0, 2**31 - 1, 2**16], [255, 256, -1]]], np.int32)
    partition = find_neighbourhoods(values, 1)
    np.testing.assert_array_equal(partition.neighbours[partition.index, 0], values)
