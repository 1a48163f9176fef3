"""Nearest-neighbor sampling."""

from __future__ import annotations

import jittor as jt


def resize_nearest(x: jt.Var, size: tuple[int, int]) -> jt.Var:
    """Samples (N, C, H, W) to (N, C, h, w): pixel (i, j) is (floor(i * H / h), floor(j * W / w)).

    The rule of PyTorch's `interpolate(mode='nearest')`, in integers: the rounding of H / h affects
    no size.
    """
    n, c, height, width = x.shape
    h, w = size
    if (height, width) == (h, w):
        return x
    return x.reindex([n, c, h, w], ["i0", "i1", _source("i2", height, h), _source("i3", width, w)])


def _source(index: str, length: int, new_length: int) -> str:
    """Index into the source, as an expression of Jittor's `reindex`."""
    if length % new_length == 0:
        return f"{index}*{length // new_length}"
    if new_length % length == 0:
        return f"{index}/{new_length // length}"
    return f"{index}*{length}/{new_length}"
