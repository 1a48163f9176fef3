"""Means over the pixels of a picture: exact ones on the CPU, row by row elsewhere.

Jittor adds up in one running float32 sum. Over 384 x 512 pixels in one go its mean is off by 2e-5,
row by row by 7e-7, in less time; and a norm over a flat region amplifies that a hundredfold.
"""

from __future__ import annotations

import jittor as jt

from models.layers import kernels


def mean_of_pixels(x: jt.Var, *, batch: bool = False) -> jt.Var:
    """Mean of (N, C, H, W) over pixels, with `batch` over pictures too: (N or 1, C, 1, 1)."""
    if not kernels.serve():
        rows = x.mean(dims=(3,), keepdims=True)
        return rows.mean(dims=(0, 2) if batch else (2,), keepdims=True)
    mean = kernels.Mean()(x)
    return mean.mean(dims=(0,), keepdims=True) if batch else mean


def variance_of_pixels(x: jt.Var, mean: jt.Var, *, batch: bool = False) -> jt.Var:
    """Mean of (x - mean)^2, where `mean` is that of these pixels: (N or 1, C, 1, 1)."""
    if not kernels.serve():
        centred = x - for_rows(mean, x)
        return mean_of_pixels(centred * centred, batch=batch)
    variance = kernels.Variance()(x, mean.detach())
    return variance.mean(dims=(0,), keepdims=True) if batch else variance


def for_rows(value: jt.Var, x: jt.Var) -> jt.Var:
    """Repeat (N or 1, C, 1, 1) for the rows of x (N, C, H, W): (N or 1, C, H, 1).

    The gradient of what broadcasts to x is a sum over the pixels of x: this makes it one by rows.
    """
    return value.broadcast((value.shape[0], value.shape[1], x.shape[2], 1))
