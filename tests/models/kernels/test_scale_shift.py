"""Scale, shift and activation, with their gradients, against NumPy."""

from __future__ import annotations

from typing import get_args

import jittor as jt
import numpy as np
import pytest

from models.kernels import fused
from models.kernels.scale_shift import Activation, scale_and_shift
from tests.models.inputs import values

BOUNDS = {"none": (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("activation", get_args(Activation))
def test_equals_the_formula(
    activation: Activation, on_cpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "available", lambda: on_cpu)
    x, mean, scale, shift = (values(2, 3, 70, 90), *(values(3, seed=i) for i in (1, 2, 3)))
    scale = scale * 9.0
    inputs = [x, mean, scale, shift]
    y = scale_and_shift(x, mean, scale, shift, activation)
    a, m, s, b = (var.numpy().astype(float) for var in inputs)
    m, s, b = (value[:, None, None] for value in (m, s, b))
    before = (a - m) * s + b
    least, most = BOUNDS[activation]
    np.testing.assert_allclose(y.numpy(), np.clip(before, least, most), atol=1e-5)
    assert activation == "none" or (y.numpy() == least).any()
    assert activation != "relu6" or (y.numpy() == most).any()

    cotangent = values(*x.shape, seed=4)
    gradients = jt.grad((y * cotangent).sum(), inputs)
    g = cotangent.numpy() * ((before > least) & (before < most))
    expected = [
        g * s,
        -(g * s).sum(axis=(0, 2, 3)),
        (g * (a - m)).sum(axis=(0, 2, 3)),
        g.sum(axis=(0, 2, 3)),
    ]
    for found, value in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(found.numpy(), value, atol=1e-5 * max(1, np.abs(value).max()))
