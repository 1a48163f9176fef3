"""Sums over pixels are accurate at training sizes."""

from __future__ import annotations

import jittor as jt
import numpy as np

from models.kernels.reduction import broadcast_to_rows, mean_of_pixels
from tests.models.inputs import full, values


def test_the_mean_of_a_large_map_is_accurate() -> None:
    x = values(2, 3, 384, 512).numpy() + 1
    exact = x.astype(np.float64)
    pixels = mean_of_pixels(jt.array(x)).numpy()
    np.testing.assert_allclose(pixels, exact.mean((2, 3), keepdims=True), rtol=2e-6)
    both = mean_of_pixels(jt.array(x), batch=True).numpy()
    np.testing.assert_allclose(both, exact.mean((0, 2, 3), keepdims=True), rtol=2e-6)


def test_the_gradient_of_a_broadcast_is_accurate() -> None:
    weights = values(2, 3, 384, 512).numpy() + 1
    for batch in (1, 2):
        value, x = full(0, batch, 3, 1, 1), jt.array(weights)
        repeated = broadcast_to_rows(value, x)
        assert tuple(repeated.shape) == (batch, 3, 384, 1)
        gradient = jt.grad((x * (x + repeated)).sum(), value).numpy()
        axes = (2, 3) if batch == 2 else (0, 2, 3)
        exact = weights.astype(np.float64).sum(axes, keepdims=True)
        np.testing.assert_allclose(gradient, exact, rtol=2e-6)
