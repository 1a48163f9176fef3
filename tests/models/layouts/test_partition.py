"""Neighborhoods are exact, at every border, for every kernel of the networks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.layouts.partition import LayoutPartition, find_neighborhoods

KERNELS = [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (4, 2, 2), (4, 1, 2)]


def _values(batch: int, height: int, width: int, classes: int = 3) -> NDArray[np.int32]:
    values = np.random.RandomState(height).randint(0, classes, (batch, height, width))
    values[:, : height // 2] = values[0, 0, 0]  # a flat region, as layouts have
    return values.astype(np.int32)


def _windows(values: NDArray, kernel: int, stride: int, padding: int) -> NDArray:
    """The values that the kernel covers, (N, h, w, k * k); -1 outside the image."""
    padded = np.pad(values, ((0, 0), (padding,) * 2, (padding,) * 2), constant_values=-1)
    view = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))  # type: ignore[call-overload]
    view = view[:, ::stride, ::stride]
    return view.reshape(*view.shape[:3], -1)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [(1, 7, 9), (3, 8, 6), (2, 1, 1), (2, 2, 5), (2, 90, 80)])
def test_groups_are_the_different_neighborhoods(
    kernel: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    if size[1] + 2 * kernel[2] < kernel[0]:
        pytest.skip("the kernel does not fit")
    values = _values(*size)
    partition = find_neighborhoods(values, *kernel)
    windows = _windows(values, *kernel)
    assert partition.index.shape == windows.shape[:3]
    np.testing.assert_array_equal(partition.neighbors[partition.index], windows)
    different = np.unique(windows.reshape(-1, windows.shape[-1]), axis=0)
    assert partition.groups == len(different)
    assert partition.share == len(different) / windows[..., 0].size
    np.testing.assert_array_equal(
        partition.index.ravel()[partition.first], np.arange(partition.groups)
    )


def test_two_neighborhoods_of_three_are_one_of_five() -> None:
    values = _values(2, 9, 8)
    twice = find_neighborhoods(values, 3, 1, 1).neighborhoods(3, 1, 1)
    windows = _windows(values, 5, 1, 2).reshape(-1, 25)
    # Padding twice adds the distance to the border, which the 5 x 5 windows contain as well.
    assert twice.groups == len(np.unique(windows, axis=0))
    assert twice is not twice.neighborhoods(3, 1, 1)
    assert twice.neighborhoods(3, 1, 1) is twice.neighborhoods(3, 1, 1)


def test_no_group_spans_two_images_with_by_image() -> None:
    values = np.repeat(_values(1, 6, 8), 3, axis=0)
    together = find_neighborhoods(values, 3, 1, 1)
    apart = find_neighborhoods(values, 3, 1, 1, by_image=True)
    assert apart.groups == 3 * together.groups
    np.testing.assert_array_equal(
        apart.image_index[apart.index], np.arange(3)[:, None, None] + 0 * values
    )
    np.testing.assert_allclose(apart.weights.numpy().sum(axis=0), 1, rtol=1e-6)
    second = apart.neighborhoods(3, 1, 1)
    np.testing.assert_array_equal(
        second.image_index[second.index], np.arange(3)[:, None, None] + 0 * values
    )


@pytest.mark.parametrize("size", [(6, 8), (7, 9)])
def test_downsampled_keeps_every_second_pixel(size: tuple[int, int]) -> None:
    partition = find_neighborhoods(_values(2, *size), 3, 1, 1)
    downsampled: LayoutPartition = partition.downsampled
    kept = partition.index[:, : size[0] // 2 * 2 : 2, : size[1] // 2 * 2 : 2]
    np.testing.assert_array_equal(downsampled.neighbors[downsampled.index, 0], kept)


def test_ids_of_any_size_are_distinguished() -> None:
    values = np.array([[[0, 2**31 - 1, 2**16], [255, 256, -1]]], np.int32)
    partition = find_neighborhoods(values, 1)
    np.testing.assert_array_equal(partition.neighbors[partition.index, 0], values)
