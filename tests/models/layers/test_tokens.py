"""Layers of tokens: both forms of each, and formulas in NumPy."""

from __future__ import annotations

import math

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from models.kernels import fused
from models.kernels.precision import autocast
from models.layers.tokens import DepthwiseGelu, LayerNorm, TokenLinear, drop_path
from tests.models.golden import fetch, gradients
from tests.models.inputs import full, shape, values


def _compare(
    layer: nn.Module, x: jt.Var, monkeypatch: pytest.MonkeyPatch, bound: float = 1e-5
) -> None:
    """Compare results and gradients of the CPU's kernels with those of Jittor's operators."""
    cotangent = values(*shape(x), seed=9) + 0.5
    found = []
    for available in (True, False):
        monkeypatch.setattr(fused, "available", lambda available=available: available)
        y = layer(x)
        of = {"x": x, **dict(layer.named_parameters())}
        found.append(fetch({"y": y, **gradients((y * cotangent).sum(), of)}))
    kernel, plain = found
    for name, array in plain.items():
        gap = np.abs(kernel[name] - array).max()
        assert gap <= bound * max(1.0, np.abs(array).max()), f"{name}: {gap}"


def test_layer_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    norm = LayerNorm(37, epsilon=0.25)
    norm.scale.update(values(37, seed=1) + 1.5)
    norm.shift.update(values(37, seed=2))
    x = values(3, 5, 29, 37) * 2 + 1
    array = x.numpy().astype(np.float64)
    centered = array - array.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 0.25)
    expected = centered / deviation * norm.scale.numpy() + norm.shift.numpy()
    np.testing.assert_allclose(norm(x).numpy(), expected, atol=2e-6)
    _compare(norm, x, monkeypatch)


def test_layer_norm_of_fewer_rows_than_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    _compare(LayerNorm(6, epsilon=1e-5), values(2, 3, 6), monkeypatch)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (7, 9)])
def test_depthwise_gelu(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    layer = DepthwiseGelu(5)
    layer.weight.update(values(5, 1, 3, 3, seed=1) * 2)
    layer.bias.update(values(5, seed=2))
    x = values(2, *size, 5) * 2
    padded = np.pad(x.numpy().astype(np.float64), [(0, 0), (1, 1), (1, 1), (0, 0)])
    h, w = size
    z = np.zeros(shape(x)) + layer.bias.numpy()
    for dy in range(3):
        for dx in range(3):
            z += padded[:, dy : dy + h, dx : dx + w] * layer.weight.numpy()[:, 0, dy, dx]
    expected = z * (0.5 + 0.5 * np.vectorize(math.erf)(z / math.sqrt(2)))
    np.testing.assert_allclose(layer(x).numpy(), expected, atol=2e-6)
    _compare(layer, x, monkeypatch)


def test_gelu_of_large_numbers_and_nan() -> None:
    layer = DepthwiseGelu(6)
    taps = np.zeros((6, 1, 3, 3), np.float32)
    taps[:, :, 1, 1] = 1
    layer.weight.update(jt.array(taps))
    numbers = np.array([-1e30, -40, 40, 1e30, 0, np.nan], np.float32)
    y = layer(jt.array(numbers.reshape(1, 1, 1, 6))).numpy().ravel()
    np.testing.assert_array_equal(y, np.array([0, 0, 40, 1e30, 0, np.nan], np.float32))


def test_token_linear() -> None:
    layer = TokenLinear(6, 4, deviation=0.02)
    layer.bias.update(values(4, seed=1))
    x = values(2, 3, 5, 6)
    expected = x.numpy() @ layer.weight.numpy().T + layer.bias.numpy()
    np.testing.assert_allclose(layer(x).numpy(), expected, atol=1e-6)
    with autocast("bfloat16"):
        rounded = layer(x).numpy()
    assert 0 < np.abs(rounded - expected).max() < 1e-2


def test_drop_path() -> None:
    x = full(1.0, 2000, 3, 2)
    y = drop_path(x, 0.25).numpy()
    samples = y.reshape(2000, -1)
    assert (samples == samples[:, :1]).all()
    np.testing.assert_allclose(np.unique(samples), [0, 1 / 0.75], rtol=1e-6)
    assert abs((samples[:, 0] == 0).mean() - 0.25) < 0.04
    assert drop_path(x, 0.0) is x
