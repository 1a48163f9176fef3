"""What networks draw from: a layout (ids, their count, instance edges), or photographs."""

from __future__ import annotations

from functools import cached_property
from typing import TypeAlias

import jittor as jt
import numpy as np
from numpy.typing import NDArray

from models.layers.layout_feature import OneHotFeature
from models.layers.resampling import resize_nearest
from models.partition import find_neighbourhoods


class Layout:
    """A batch of semantic layouts that hands each layer what it needs, once a resolution.

    Args:
        ids: int32 (N, H, W), values 0..classes-1.
        classes: K, the number of classes, an unknown class included.
        edges: float32 (N, 1, H, W), 1 on the border of an object, else 0; None without instances.
    """

    def __init__(self, ids: jt.Var, classes: int, edges: jt.Var | None = None):
        self.ids = ids
        self.classes = classes
        self.edges = edges
        self._one_hot: dict[tuple[int, int], jt.Var] = {}
        self._features: dict[tuple[tuple[int, int], bool], OneHotFeature] = {}

    @property
    def batch_size(self) -> int:
        """N."""
        return int(self.ids.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return int(self.ids.shape[1]), int(self.ids.shape[2])

    @property
    def channels(self) -> int:
        """The depth of `one_hot`: K, and one more with instance edges."""
        return self.classes + (self.edges is not None)

    def halve(self) -> Layout:
        """The layout at half the size, sampled by nearest neighbour."""
        size = (self.size[0] // 2, self.size[1] // 2)
        ids = resize_nearest(self.ids.unsqueeze(1), size).squeeze(1)
        edges = None if self.edges is None else resize_nearest(self.edges, size)
        return Layout(ids, self.classes, edges)

    def one_hot(self, size: tuple[int, int] | None = None) -> jt.Var:
        """The layout as float32 (N, channels, h, w), sampled to `size` by nearest neighbour.

        Pixel (i, j) of the result is pixel (floor(i * H / h), floor(j * W / w)) of the layout, as
        SPADE samples it (Park et al. 2019, code of section 3). The result is kept for the next
        layer.
        """
        size = size or self.size
        if size not in self._one_hot:
            ids = resize_nearest(self.ids.unsqueeze(1), size)
            planes = (ids == jt.arange(self.classes).reshape((1, -1, 1, 1))).float32()
            if self.edges is not None:
                planes = jt.concat([planes, resize_nearest(self.edges, size)], dim=1)
            self._one_hot[size] = planes.stop_grad()
        return self._one_hot[size]

    def feature(
        self, size: tuple[int, int] | None = None, *, by_picture: bool = False
    ) -> OneHotFeature:
        """`one_hot` as a table: exact, and most of the arithmetic on it is saved.

        `by_picture` keeps the pictures of the batch apart, which a norm over the pixels of a
        picture needs. The result, and what the layers find out about its neighbourhoods, is kept.
        """
        size = size or self.size
        if (size, by_picture) not in self._features:
            values = _sample(self._values, size)
            partition = find_neighbourhoods(values, 1, by_picture=by_picture)
            found = partition.neighbours[:, 0]
            ids = np.where(found < 0, -1, found % self.classes)
            edges = None if self.edges is None else (found >= self.classes).astype(np.float32)
            self._features[size, by_picture] = OneHotFeature(ids, edges, self.classes, partition)
        return self._features[size, by_picture]

    @cached_property
    def _values(self) -> NDArray[np.int32]:
        """The class of each pixel, `classes` more on an edge; -1 for an id that is no class."""
        ids = self.ids.numpy()
        values = ids if self.edges is None else ids + self.classes * (self.edges.numpy()[:, 0] > 0)
        return np.where((ids >= 0) & (ids < self.classes), values, -1).astype(np.int32)


class Photographs:
    """A batch of photographs as content, where a layout stands otherwise (Jiang et al. 2020).

    Args:
        pictures: float32 (N, 3, H, W) in [-1, 1].
    """

    CHANNELS = 3

    def __init__(self, pictures: jt.Var):
        self.pictures = pictures

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return int(self.pictures.shape[2]), int(self.pictures.shape[3])

    def feature(self, *, by_picture: bool = False) -> jt.Var:
        """The photographs as they are, whether or not they are kept apart."""
        return self.pictures


Content: TypeAlias = Layout | Photographs


def _sample(values: NDArray, size: tuple[int, int]) -> NDArray:
    """As `resize_nearest`."""
    rows = np.arange(size[0]) * values.shape[1] // size[0]
    columns = np.arange(size[1]) * values.shape[2] // size[1]
    return values[:, rows[:, None], columns[None]]
