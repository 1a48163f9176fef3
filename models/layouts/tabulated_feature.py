"""Feature maps that are functions of the layout, tabulated: one column per neighborhood."""

from __future__ import annotations

from collections.abc import Callable

import jittor as jt
import numpy as np
from numpy.typing import NDArray

from models.kernels.precision import to_compute_dtype, to_float32
from models.layouts.partition import LayoutPartition

# With more groups per pixel than this a convolution is faster on the dense feature map ...
DENSE_SHARE = 0.6
# ... except on maps of at most this many pixels: there it is a product over columns anyway.
SMALL_PIXELS = 768


class TabulatedFeature:
    """A feature map (N, C, h, w) as a table and an index: pixel p is column index[p] of the table.

    Values that pixels with the same neighborhood share are computed once. The result and its
    gradient are exact: zero padding is part of a neighborhood.

    Args:
        table: (1, C, 1, U); operators that act per channel or per pixel apply to it unchanged.
        partition: the group, 0..U-1, of each pixel.
    """

    def __init__(self, table: jt.Var, partition: LayoutPartition):
        self.table = table
        self.partition = partition

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, h, w), the shape of the feature map."""
        n, h, w = self.partition.index.shape
        return n, int(self.table.shape[1]), h, w

    def map(self, function: Callable[[jt.Var], jt.Var]) -> TabulatedFeature:
        """Applies a function that acts per pixel, or per channel and pixel, to every column."""
        return TabulatedFeature(function(self.table), self.partition)

    def dense(self) -> jt.Var:
        """The feature map, (N, C, h, w)."""
        return gather(self.table, self.partition)

    def is_faster(self, kernel_size: int, stride: int, padding: int) -> bool:
        """Whether such a convolution is faster on the table than on the feature map."""
        if kernel_size == stride == 1 and not padding:
            return True
        partition = self.partition.neighborhoods(kernel_size, stride, padding)
        return partition.share <= DENSE_SHARE or partition.index.size <= SMALL_PIXELS

    def convolve(self, weight: jt.Var, stride: int, padding: int) -> TabulatedFeature:
        """Cross-correlates with (O, C, k, k) and zero padding: (N, C, H, W) -> (N, O, h, w).

        One matrix product over the neighborhoods; h = (H + 2 * padding - k) // stride + 1.
        """
        out_channels, channels, kernel, _ = weight.shape
        partition = self.partition
        if kernel == stride == 1 and not padding:
            columns = self.table.reshape((channels, -1))  # (C, U)
        else:
            partition = partition.neighborhoods(kernel, stride, padding)
            columns = self._columns(partition).reshape((-1, partition.groups))  # (C * k * k, U')
        matrix = weight.reshape((out_channels, -1))  # (O, C * k * k)
        product = to_float32(jt.matmul(to_compute_dtype(matrix), to_compute_dtype(columns)))
        return TabulatedFeature(product.reshape((1, out_channels, 1, partition.groups)), partition)

    def downsample(self) -> TabulatedFeature:
        """Keeps every second pixel of every second row: (N, C, h // 2, w // 2)."""
        partition = self.partition.downsampled
        return TabulatedFeature(
            self._columns(partition).reshape((1, -1, 1, partition.groups)), partition
        )

    def pool_average(self) -> TabulatedFeature:
        """Averages 3 x 3 windows at stride 2 over pixels inside: (N, C, ceil(h / 2), ceil(w / 2)).

        See `layers.resampling.pool_average`.
        """
        partition = self.partition.neighborhoods(3, 2, 1)
        inside = (partition.neighbors_var >= 0).sum(dim=1).float32()  # (U',)
        table = self._columns(partition).sum(dim=1) / inside.unsqueeze(0)  # (C, U')
        return TabulatedFeature(table.reshape((1, -1, 1, partition.groups)), partition)

    def _columns(self, partition: LayoutPartition) -> jt.Var:
        """(C, k * k, U') for the U' neighborhoods of `partition`, 0 outside the image."""
        channels, cells = self.table.shape[1], partition.neighbors.shape[1]
        return self.table.reindex(
            [channels, cells, partition.groups],
            ["0", "i0", "0", "@e0(i2,i1)"],
            extras=[partition.neighbors_var],
        )

    def mean_of_pixels(self) -> jt.Var:
        """Mean over the pixels of each image, (C, N); no group may span two images."""
        return jt.matmul(self.table.reshape((self.table.shape[1], -1)), self.partition.weights)

    def broadcast_to_groups(self, value: jt.Var) -> jt.Var:
        """Repeats (C, N), one number per channel and image, for the columns: (1, C, 1, U)."""
        groups = self.partition.groups
        return value.reindex(
            [1, value.shape[0], 1, groups],
            ["i1", "@e0(i3)"],
            extras=[self.partition.image_index_var],
        )

    def __add__(self, other: TabulatedFeature | jt.Var) -> TabulatedFeature | jt.Var:
        """The sum with a feature map (N, C, h, w); one of two partitions must refine the other."""
        if isinstance(other, jt.Var):
            return self.dense() + other
        fine, coarse = self, other
        if fine.partition.groups < coarse.partition.groups:
            fine, coarse = other, self
        if fine.partition is coarse.partition:
            return fine.map(lambda table: table + coarse.table)
        place = jt.array(coarse.partition.index.ravel()[fine.partition.first])
        shape = [1, fine.table.shape[1], 1, fine.partition.groups]
        columns = coarse.table.reindex(shape, ["0", "i1", "0", "@e0(i3)"], extras=[place])
        return fine.map(lambda table: table + columns)


class OneHotFeature(TabulatedFeature):
    """One-hot planes of a layout, followed by the plane of the instance edges if there are any.

    Args:
        ids: int32 (U,), the class of each group, -1 for none.
        edges: float32 (U,), 1 on an edge, else 0; None without instances.
        classes: K, the number of one-hot planes.
        partition: the group, 0..U-1, of each pixel.
    """

    def __init__(
        self, ids: NDArray, edges: NDArray | None, classes: int, partition: LayoutPartition
    ) -> None:
        planes = (ids[None] == np.arange(classes)[:, None]).astype(np.float32)
        if edges is not None:
            planes = np.concatenate([planes, edges[None].astype(np.float32)])
        super().__init__(jt.array(planes[None, :, None]).stop_grad(), partition)
        self._ids = jt.array(ids.astype(np.int32)).stop_grad()
        self._edges = None if edges is None else jt.array(edges.astype(np.float32)).stop_grad()

    def convolve(self, weight: jt.Var, stride: int, padding: int) -> TabulatedFeature:
        """The convolution of the base class, as a sum of weights: each cell selects one class."""
        out_channels, channels, kernel, _ = weight.shape
        partition = self.partition.neighborhoods(kernel, stride, padding)
        shape = [out_channels, self.partition.groups, kernel, kernel]  # (O, U, k, k)
        picked = weight.reindex(shape, ["i0", "@e0(i1)", "i2", "i3"], extras=[self._ids])
        if self._edges is not None:
            picked = picked + weight[:, channels - 1 :] * self._edges.reshape((1, -1, 1, 1))
        cells = picked.reindex(
            [out_channels, partition.groups, kernel * kernel],
            ["i0", "@e0(i1,i2)", f"i2/{kernel}", f"i2%{kernel}"],
            extras=[partition.neighbors_var],
        )  # (O, U', k * k)
        table = cells.sum(dim=2).reshape((1, out_channels, 1, partition.groups))
        return TabulatedFeature(table, partition)


def dense(x: TabulatedFeature | jt.Var) -> jt.Var:
    """The feature map (N, C, h, w) of a tabulated or dense feature."""
    return x.dense() if isinstance(x, TabulatedFeature) else x


def gather(table: jt.Var, partition: LayoutPartition) -> jt.Var:
    """Gathers the columns of a table (1, C, 1, U) for the pixels of a partition: (N, C, h, w)."""
    n, h, w = partition.index.shape
    return table.reindex(
        [n, table.shape[1], h, w], ["0", "i1", "0", "@e0(i0,i2,i3)"], extras=[partition.index_var]
    )
