"""Resampling: nearest neighbor, bilinear, reflection padding and average pooling."""

from __future__ import annotations

from collections.abc import Sequence

import jittor as jt
from jittor import nn

from models.kernels import bilinear, fused
from models.kernels.sampling import resize_nearest
from models.layouts.tabulated_feature import TabulatedFeature


def upsample(x: jt.Var) -> jt.Var:
    """Repeats each pixel 2 x 2 times: (N, C, H, W) -> (N, C, 2H, 2W)."""
    if fused.available():
        return fused.Upsample()(x)
    return resize_nearest(x, (2 * x.shape[2], 2 * x.shape[3]))


def downsample(x: jt.Var | TabulatedFeature) -> jt.Var | TabulatedFeature:
    """Keeps every second pixel of every second row: (N, C, H, W) -> (N, C, H // 2, W // 2)."""
    if isinstance(x, TabulatedFeature):
        return x.downsample()
    return resize_nearest(x, (x.shape[2] // 2, x.shape[3] // 2))


def resize_bilinear(x: jt.Var, size: tuple[int, int]) -> jt.Var:
    """Resizes (N, C, H, W) to (N, C, h, w) bilinearly, without antialiasing."""
    return nn.interpolate(x, size=size, mode="bilinear", align_corners=False)


def sum_resized(maps: Sequence[jt.Var], size: tuple[int, int]) -> jt.Var:
    """Resizes maps (N, C, h, w) of any sizes as `resize_bilinear`; their sum, (N, C, H, W)."""
    if fused.available():
        return bilinear.ResizedSum(size)(*maps)
    resized = [x if tuple(x.shape[2:]) == size else resize_bilinear(x, size) for x in maps]
    return sum(resized[1:], start=resized[0])


def resize_to_classes(scores: jt.Var, size: tuple[int, int]) -> jt.Var:
    """The class with the highest score after `resize_bilinear`: (N, K, h, w) -> int32 (N, H, W).

    The first of equal scores counts.
    """
    if fused.available():
        return bilinear.classes_of(scores, size)
    return jt.argmax(sum_resized([scores], size), dim=1)[0].int32()


def pad_reflected(x: jt.Var, width: int) -> jt.Var:
    """Pads by reflection: (N, C, H, W) -> (N, C, H + 2 * width, W + 2 * width).

    The border pixel itself is not repeated: row -1 is row 1. H and W must be above `width`.
    """
    n, c, height, width_in = x.shape
    rows, columns = (_mirrored(i, width, size) for i, size in (("i2", height), ("i3", width_in)))
    shape = [n, c, height + 2 * width, width_in + 2 * width]
    return x.reindex(shape, ["i0", "i1", rows, columns])


def _mirrored(index: str, width: int, length: int) -> str:
    """Index into the source of a padded axis, as an expression of Jittor's `reindex`."""
    last = 2 * (length - 1) + width
    # Jittor replaces an index only between spaces.
    i = f" {index} "
    return f"({i}<{width} ? {width}-{i}: {i}<{length + width} ? {i}-{width} : {last}-{i})"


def pool_average(x: jt.Var | TabulatedFeature) -> jt.Var | TabulatedFeature:
    """Averages 3 x 3 windows at stride 2: (N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2)).

    Padding 1; the average is over pixels inside the image (`count_include_pad=False`). pix2pixHD
    and SPADE compute the next scale of the discriminator's input so.
    """
    if isinstance(x, TabulatedFeature):
        return x.pool_average()
    n, c, height, width = x.shape
    h, w = (height + 1) // 2, (width + 1) // 2
    windows = x.reindex(  # (N, C, h, w, 3, 3)
        [n, c, h, w, 3, 3], ["i0", "i1", "i2*2+i4-1", "i3*2+i5-1"]
    )
    inside = jt.ones((1, 1, height, width)).reindex(
        [1, 1, h, w, 3, 3], ["i0", "i1", "i2*2+i4-1", "i3*2+i5-1"]
    )
    return windows.sum(dims=(4, 5)) / inside.sum(dims=(4, 5))
