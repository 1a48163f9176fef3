"""Depthwise convolution and its gradients against sums in float64."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest

from models.kernels import fused
from models.kernels.depthwise import Padding, convolve_depthwise
from tests.models.inputs import values

# Rows, columns, stride, padding (top, left, bottom, right), height, width.
SHAPES = [
    (3, 3, 1, Padding(1, 1, 1, 1), 7, 10),
    (3, 3, 2, Padding(0, 0, 1, 1), 8, 12),
    (5, 5, 2, Padding(1, 2, 2, 2), 8, 9),
    (5, 5, 1, Padding(2, 2, 2, 2), 2, 1),
    (3, 5, 2, Padding(1, 2, 1, 2), 1, 6),
]


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize(("rows", "columns", "stride", "padding", "height", "width"), SHAPES)
def test_equals_the_sum(
    rows: int,
    columns: int,
    stride: int,
    padding: Padding,
    height: int,
    width: int,
    on_cpu: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fused, "available", lambda: on_cpu)
    x, weight = values(2, 3, height, width), values(3, 1, rows, columns, seed=1)
    y = convolve_depthwise(x, weight, stride, padding)
    top, left, bottom, right = padding
    padded = np.pad(x.numpy().astype(float), ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (rows, columns), axis=(2, 3))  # type: ignore[call-overload]
    windows = windows[:, :, ::stride, ::stride]
    filters = weight.numpy()[:, 0].astype(float)
    np.testing.assert_allclose(
        y.numpy(), np.einsum("nchwij,cij->nchw", windows, filters), atol=1e-5
    )

    cotangent = values(*y.shape, seed=2)
    x_gradient, weight_gradient = jt.grad((y * cotangent).sum(), [x, weight])
    g = cotangent.numpy().astype(float)
    expected = np.einsum("nchwij,nchw->cij", windows, g)
    np.testing.assert_allclose(weight_gradient.numpy()[:, 0], expected, atol=1e-5)
    spread = np.zeros_like(padded)
    for r in range(y.shape[2]):
        for q in range(y.shape[3]):
            area = np.s_[:, :, r * stride : r * stride + rows, q * stride : q * stride + columns]
            spread[area] += g[:, :, r, q, None, None] * filters
    inside = spread[:, :, top : top + height, left : left + width]
    np.testing.assert_allclose(x_gradient.numpy(), inside, atol=1e-5)
