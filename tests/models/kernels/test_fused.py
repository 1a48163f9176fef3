"""CPU kernels against Jittor's own operators, which a GPU runs."""

from __future__ import annotations

from collections.abc import Callable

import jittor as jt
import numpy as np
import pytest

from models.kernels import fused
from models.kernels.fused import MODES
from models.kernels.reduction import mean_of_pixels, variance_of_pixels
from models.layers.normalization import instance_norm, normalize
from models.layers.resampling import upsample
from models.layouts.layout import Layout
from models.layouts.tabulated_feature import TabulatedFeature
from tests.models.golden import fetch, gradients
from tests.models.inputs import values

# More pixels than a block of the sums, and not a multiple of the vector length.
SIZE = (67, 71)


def _both_ways(monkeypatch: pytest.MonkeyPatch, compute: Callable) -> list[dict[str, np.ndarray]]:
    found = []
    for available in (True, False):
        monkeypatch.setattr(fused, "available", lambda available=available: available)
        found.append(compute())
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("by_image", [False, True])
@pytest.mark.parametrize("slope", [1.0, 0.2])
def test_normalize(
    mode: str, by_image: bool, slope: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, c = 3, 4
    inputs = {"x": values(n, c, *SIZE) * 2 + 0.5}
    inputs["mean"] = values(n if by_image else 1, c, 1, 1, seed=1)
    inputs["variance"] = values(n if by_image else 1, c, 1, 1, seed=2) + 1.5
    ids = np.random.RandomState(0).randint(0, 4, (n, *SIZE)).astype(np.int32)
    partition = Layout(jt.array(ids), 4).feature().partition
    if mode == "dense":
        inputs["modulation"] = values(n, 2 * c, *SIZE, seed=3)
    elif mode == "table":
        inputs["modulation"] = values(1, 2 * c, 1, partition.groups, seed=3)
    if mode != "plain":
        inputs["bias"] = values(2 * c, seed=4)
    cotangent = values(n, c, *SIZE, seed=5)

    def compute() -> dict[str, np.ndarray]:
        modulation = inputs.get("modulation")
        if mode == "table":
            modulation = TabulatedFeature(modulation, partition)
        moments = inputs["mean"], inputs["variance"]
        y = normalize(inputs["x"], moments, modulation, inputs.get("bias"), slope)
        return fetch({"y": y, **gradients((y * cotangent).sum(), inputs)})

    kernel, operators = _both_ways(monkeypatch, compute)
    for name, expected in operators.items():
        # The error of Jittor's sums over 14,271 pixels.
        scale = max(np.abs(expected).max(), 1.0)
        np.testing.assert_allclose(kernel[name], expected, rtol=0, atol=2e-4 * scale, err_msg=name)
    np.testing.assert_allclose(kernel["y"], operators["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [False, True])
def test_moments(batch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = values(3, 4, *SIZE) + 3

    def compute() -> dict[str, np.ndarray]:
        mean = mean_of_pixels(x, batch=batch)
        variance = variance_of_pixels(x, mean, batch=batch)
        loss = (mean * values(*mean.shape)).sum() + (variance * values(*mean.shape, seed=1)).sum()
        return fetch({"mean": mean, "variance": variance, **gradients(loss, {"x": x})})

    kernel, operators = _both_ways(monkeypatch, compute)
    axes = (0, 2, 3) if batch else (2, 3)
    exact = x.numpy().astype(np.float64)
    np.testing.assert_allclose(kernel["mean"].squeeze(), exact.mean(axes).squeeze(), rtol=1e-6)
    np.testing.assert_allclose(kernel["variance"].squeeze(), exact.var(axes).squeeze(), rtol=1e-6)
    for name, expected in operators.items():
        np.testing.assert_allclose(kernel[name], expected, rtol=1e-4, atol=1e-7, err_msg=name)


def test_instance_norm_has_the_gradient_of_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    x, cotangent = values(2, 3, *SIZE), values(2, 3, *SIZE, seed=1)

    def compute() -> dict[str, np.ndarray]:
        y = instance_norm(x, 0.2)
        return fetch({"y": y, **gradients((y * cotangent).sum(), {"x": x})})

    kernel, operators = _both_ways(monkeypatch, compute)
    for name, expected in operators.items():
        np.testing.assert_allclose(kernel[name], expected, rtol=1e-3, atol=1e-4, err_msg=name)


def test_upsample(monkeypatch: pytest.MonkeyPatch) -> None:
    x, cotangent = values(2, 3, 5, 7), values(2, 3, 10, 14, seed=1)

    def compute() -> dict[str, np.ndarray]:
        y = upsample(x)
        return fetch({"y": y, **gradients((y * cotangent).sum(), {"x": x})})

    kernel, operators = _both_ways(monkeypatch, compute)
    np.testing.assert_array_equal(kernel["y"], operators["y"])
    np.testing.assert_allclose(kernel["grad/x"], operators["grad/x"], rtol=1e-5, atol=1e-6)
