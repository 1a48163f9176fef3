"""Content of the generators: semantic layouts or photos."""

from __future__ import annotations

from functools import cached_property
from typing import TypeAlias

import jittor as jt
import numpy as np
from numpy.typing import NDArray

from models.kernels.sampling import resize_nearest
from models.layouts.partition import find_neighborhoods
from models.layouts.tabulated_feature import OneHotFeature


class Layout:
    """A batch of semantic layouts; caches the inputs of the layers per resolution.

    Args:
        ids: int32 (N, H, W), values 0..classes-1.
        classes: K, the number of classes, an unknown class included.
        edges: float32 (N, 1, H, W), 1 on instance boundaries, else 0; None without instances.
    """

    def __init__(self, ids: jt.Var, classes: int, edges: jt.Var | None = None):
        self.ids = ids
        self.classes = classes
        self.edges = edges
        self._one_hot: dict[tuple[int, int], jt.Var] = {}
        self._features: dict[tuple[tuple[int, int], bool], OneHotFeature] = {}

    @property
    def batch_size(self) -> int:
        """N, the number of layouts."""
        return int(self.ids.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return int(self.ids.shape[1]), int(self.ids.shape[2])

    @property
    def channels(self) -> int:
        """Channels of `one_hot`: K, plus 1 with instance edges."""
        return self.classes + (self.edges is not None)

    def downsample(self) -> Layout:
        """The layout at half the size, (N, H // 2, W // 2), sampled by nearest neighbor."""
        size = (self.size[0] // 2, self.size[1] // 2)
        ids = resize_nearest(self.ids.unsqueeze(1), size).squeeze(1)
        edges = None if self.edges is None else resize_nearest(self.edges, size)
        return Layout(ids, self.classes, edges)

    def one_hot(self, size: tuple[int, int] | None = None) -> jt.Var:
        """One-hot planes, float32 (N, channels, h, w), sampled to `size` by nearest neighbor.

        Pixel (i, j) is pixel (floor(i * H / h), floor(j * W / w)) of the layout, as in the code of
        SPADE (Park et al. 2019, section 3). The result is cached; it has no gradient.
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
        self, size: tuple[int, int] | None = None, *, by_image: bool = False
    ) -> OneHotFeature:
        """The planes of `one_hot`, tabulated: exact, and layers compute fewer products.

        With `by_image` no group spans two images, which a norm over the pixels of an image needs.
        The result and its neighborhoods are cached.
        """
        size = size or self.size
        if (size, by_image) not in self._features:
            values = _sample(self._values, size)
            partition = find_neighborhoods(values, 1, by_image=by_image)
            found = partition.neighbors[:, 0]
            ids = np.where(found < 0, -1, found % self.classes)
            edges = None if self.edges is None else (found >= self.classes).astype(np.float32)
            self._features[size, by_image] = OneHotFeature(ids, edges, self.classes, partition)
        return self._features[size, by_image]

    @cached_property
    def _values(self) -> NDArray[np.int32]:
        """int32 (N, H, W): the class, plus K on an edge; -1 for an id that is no class."""
        ids = self.ids.numpy()
        values = ids if self.edges is None else ids + self.classes * (self.edges.numpy()[:, 0] > 0)
        return np.where((ids >= 0) & (ids < self.classes), values, -1).astype(np.int32)


class Photos:
    """A batch of content photos for translation (Jiang et al. 2020, section 4.1).

    Args:
        images: float32 (N, 3, H, W) in [-1, 1].
    """

    CHANNELS = 3

    def __init__(self, images: jt.Var):
        self.images = images

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return int(self.images.shape[2]), int(self.images.shape[3])

    def feature(self, *, by_image: bool = False) -> jt.Var:
        """The photos themselves, (N, 3, H, W); `by_image` has no effect."""
        return self.images


Content: TypeAlias = Layout | Photos


def _sample(values: NDArray, size: tuple[int, int]) -> NDArray:
    """`resize_nearest` for an array (N, H, W)."""
    rows = np.arange(size[0]) * values.shape[1] // size[0]
    columns = np.arange(size[1]) * values.shape[2] // size[1]
    return values[:, rows[:, None], columns[None]]
