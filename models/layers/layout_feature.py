"""A feature map that is a function of the layout: a column for each different neighbourhood."""

from __future__ import annotations

from collections.abc import Callable

import jittor as jt
import numpy as np
from numpy.typing import NDArray

from models.layers.precision import lower, restore
from models.partition import Partition

# With more groups a pixel than this a convolution is quicker on the dense feature map ...
DENSE_SHARE = 0.6
# ... except on maps of no more pixels than this, where it is a product over columns anyway.
SMALL_PIXELS = 768


class LayoutFeature:
    """A feature map (N, C, h, w) as a table and an index: pixel p is column index[p] of the table.

    What pixels of the same neighbourhood share is computed once. Exact, the gradient too: zero
    padding is part of a neighbourhood.

    Args:
        table: (1, C, 1, U), so that what acts on a channel or a pixel alone acts on it as it is.
        partition: which of the U groups each pixel is in.
    """

    def __init__(self, table: jt.Var, partition: Partition):
        self.table = table
        self.partition = partition

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, h, w) of the feature map that this stands for."""
        n, h, w = self.partition.index.shape
        return n, int(self.table.shape[1]), h, w

    def map(self, function: Callable[[jt.Var], jt.Var]) -> LayoutFeature:
        """Apply a function of a pixel, or of a channel and a pixel, to every column."""
        return LayoutFeature(function(self.table), self.partition)

    def dense(self) -> jt.Var:
        """The feature map itself, (N, C, h, w)."""
        return look_up(self.table, self.partition)

    def pays(self, kernel_size: int, stride: int, padding: int) -> bool:
        """Whether a convolution of that kind is quicker on the table than on the feature map."""
        if kernel_size == stride == 1 and not padding:
            return True
        partition = self.partition.neighbourhoods(kernel_size, stride, padding)
        return partition.share <= DENSE_SHARE or partition.index.size <= SMALL_PIXELS

    def convolve(self, weight: jt.Var, stride: int, padding: int) -> LayoutFeature:
        """Cross-correlate with (O, C, k, k) and zero padding: a product over neighbourhoods."""
        out_channels, channels, kernel, _ = weight.shape
        partition = self.partition
        if kernel == stride == 1 and not padding:
            columns = self.table.reshape((channels, -1))
        else:
            partition = partition.neighbourhoods(kernel, stride, padding)
            columns = self._columns(partition).reshape((-1, partition.groups))
        matrix = weight.reshape((out_channels, -1))
        product = restore(jt.matmul(lower(matrix), lower(columns)))
        return LayoutFeature(product.reshape((1, out_channels, 1, partition.groups)), partition)

    def halve(self) -> LayoutFeature:
        """Keep every second pixel of every second row: (N, C, h // 2, w // 2)."""
        partition = self.partition.halved
        return LayoutFeature(
            self._columns(partition).reshape((1, -1, 1, partition.groups)), partition
        )

    def pool_average(self) -> LayoutFeature:
        """Average 3 x 3 windows at stride 2, pixels inside alone; see layers.resampling."""
        partition = self.partition.neighbourhoods(3, 2, 1)
        inside = (partition.neighbours_var >= 0).sum(dim=1).float32()
        table = self._columns(partition).sum(dim=1) / inside.unsqueeze(0)
        return LayoutFeature(table.reshape((1, -1, 1, partition.groups)), partition)

    def _columns(self, partition: Partition) -> jt.Var:
        """(C, k * k, U') for the U' neighbourhoods of `partition`, 0 where they are outside."""
        channels, cells = self.table.shape[1], partition.neighbours.shape[1]
        return self.table.reindex(
            [channels, cells, partition.groups],
            ["0", "i0", "0", "@e0(i2,i1)"],
            extras=[partition.neighbours_var],
        )

    def mean_of_pixels(self) -> jt.Var:
        """Mean over a picture's pixels (N, C); the groups must be of one picture each."""
        return jt.matmul(self.table.reshape((self.table.shape[1], -1)), self.partition.weights)

    def spread(self, value: jt.Var) -> jt.Var:
        """Repeat (C, N), a number a channel and picture, for the columns: (1, C, 1, U)."""
        groups = self.partition.groups
        return value.reindex(
            [1, value.shape[0], 1, groups], ["i1", "@e0(i3)"], extras=[self.partition.picture_var]
        )

    def __add__(self, other: LayoutFeature | jt.Var) -> LayoutFeature | jt.Var:
        """The sum with a feature map; of two partitions one must refine the other."""
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


class OneHotFeature(LayoutFeature):
    """The one-hot planes of a layout, with its instance edges, if it has any, as the last plane.

    Args:
        ids: int32 (U,), the class of each group, -1 for none.
        edges: float32 (U,), 1 on an edge, else 0; None without instances.
        classes: K, the number of planes without that of the edges.
        partition: which of the U groups each pixel is in.
    """

    def __init__(
        self, ids: NDArray, edges: NDArray | None, classes: int, partition: Partition
    ) -> None:
        planes = (ids[None] == np.arange(classes)[:, None]).astype(np.float32)
        if edges is not None:
            planes = np.concatenate([planes, edges[None].astype(np.float32)])
        super().__init__(jt.array(planes[None, :, None]).stop_grad(), partition)
        self._ids = jt.array(ids.astype(np.int32)).stop_grad()
        self._edges = None if edges is None else jt.array(edges.astype(np.float32)).stop_grad()

    def convolve(self, weight: jt.Var, stride: int, padding: int) -> LayoutFeature:
        """As of any feature, but as a sum of weights: a one-hot picks one of each cell."""
        out_channels, channels, kernel, _ = weight.shape
        partition = self.partition.neighbourhoods(kernel, stride, padding)
        shape = [out_channels, self.partition.groups, kernel, kernel]
        picked = weight.reindex(shape, ["i0", "@e0(i1)", "i2", "i3"], extras=[self._ids])
        if self._edges is not None:
            picked = picked + weight[:, channels - 1 :] * self._edges.reshape((1, -1, 1, 1))
        cells = picked.reindex(
            [out_channels, partition.groups, kernel * kernel],
            ["i0", "@e0(i1,i2)", f"i2/{kernel}", f"i2%{kernel}"],
            extras=[partition.neighbours_var],
        )
        table = cells.sum(dim=2).reshape((1, out_channels, 1, partition.groups))
        return LayoutFeature(table, partition)


def dense(x: LayoutFeature | jt.Var) -> jt.Var:
    """The feature map (N, C, h, w), however it is held."""
    return x.dense() if isinstance(x, LayoutFeature) else x


def look_up(table: jt.Var, partition: Partition) -> jt.Var:
    """Columns of a table (1, C, 1, U) for the pixels of a partition: (N, C, h, w)."""
    n, h, w = partition.index.shape
    return table.reindex(
        [n, table.shape[1], h, w], ["0", "i1", "0", "@e0(i0,i2,i3)"], extras=[partition.index_var]
    )
