"""The layout as the networks see it: class ids, their count, and instance edges if any."""

from __future__ import annotations

import jittor as jt

from models.layers.resampling import resize_nearest


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
