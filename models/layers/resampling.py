"""Changes of resolution: nearest neighbour, bilinear and the discriminator's average pooling."""

from __future__ import annotations

import jittor as jt
from jittor import nn

from models.layers import kernels
from models.layers.layout_feature import LayoutFeature


def resize_nearest(x: jt.Var, size: tuple[int, int]) -> jt.Var:
    """Sample (N, C, H, W) to (N, C, h, w): pixel (i, j) is (floor(i * H / h), floor(j * W / w)).

    The rule of PyTorch's `interpolate(mode='nearest')`, in whole numbers, so that no size suffers
    from the rounding of H / h.
    """
    n, c, height, width = x.shape
    h, w = size
    if (height, width) == (h, w):
        return x
    return x.reindex([n, c, h, w], ["i0", "i1", _source("i2", height, h), _source("i3", width, w)])


def _source(index: str, length: int, new_length: int) -> str:
    if length % new_length == 0:
        return f"{index}*{length // new_length}"
    if new_length % length == 0:
        return f"{index}/{new_length // length}"
    return f"{index}*{length}/{new_length}"


def double(x: jt.Var) -> jt.Var:
    """Repeat each pixel 2 x 2 times: (N, C, H, W) -> (N, C, 2H, 2W)."""
    if kernels.serve():
        return kernels.Double()(x)
    return resize_nearest(x, (2 * x.shape[2], 2 * x.shape[3]))


def halve(x: jt.Var | LayoutFeature) -> jt.Var | LayoutFeature:
    """Keep every second pixel of every second row: (N, C, H, W) -> (N, C, H // 2, W // 2)."""
    if isinstance(x, LayoutFeature):
        return x.halve()
    return resize_nearest(x, (x.shape[2] // 2, x.shape[3] // 2))


def resize_bilinear(x: jt.Var, size: tuple[int, int]) -> jt.Var:
    """Sample (N, C, H, W) to (N, C, h, w) bilinearly, without antialiasing."""
    return nn.interpolate(x, size=size, mode="bilinear", align_corners=False)


def pad_reflected(x: jt.Var, width: int) -> jt.Var:
    """Mirror `width` pixels outwards at each border, without the border itself.

    (N, C, H, W) -> (N, C, H + 2 width, W + 2 width); row -1 is row 1. H and W are above `width`.
    """
    n, c, height, width_in = x.shape
    rows, columns = (_mirrored(i, width, size) for i, size in (("i2", height), ("i3", width_in)))
    shape = [n, c, height + 2 * width, width_in + 2 * width]
    return x.reindex(shape, ["i0", "i1", rows, columns])


def _mirrored(index: str, width: int, length: int) -> str:
    last = 2 * (length - 1) + width
    # Jittor finds the index between spaces only.
    i = f" {index} "
    return f"({i}<{width} ? {width}-{i}: {i}<{length + width} ? {i}-{width} : {last}-{i})"


def pool_average(x: jt.Var | LayoutFeature) -> jt.Var | LayoutFeature:
    """Average 3 x 3 windows at stride 2, pixels inside alone: (N, C, H, W) -> halved, rounded up.

    How pix2pixHD and SPADE bring the input to the next scale of the discriminator (padding 1,
    `count_include_pad=False`).
    """
    if isinstance(x, LayoutFeature):
        return x.pool_average()
    n, c, height, width = x.shape
    h, w = (height + 1) // 2, (width + 1) // 2
    windows = x.reindex([n, c, h, w, 3, 3], ["i0", "i1", "i2*2+i4-1", "i3*2+i5-1"])
    inside = jt.ones((1, 1, height, width)).reindex(
        [1, 1, h, w, 3, 3], ["i0", "i1", "i2*2+i4-1", "i3*2+i5-1"]
    )
    return windows.sum(dims=(4, 5)) / inside.sum(dims=(4, 5))
