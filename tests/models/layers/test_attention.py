"""Attention with reduced keys: both forms, formulas in NumPy, and the borders of windows."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from models.kernels import packed
from models.layers.attention import ReducedAttention, WindowConv2d, attend
from tests.models.golden import fetch, gradients
from tests.models.inputs import shape, values


# More queries than a block, and a rest; one key.
@pytest.mark.parametrize(("length", "keys"), [(300, 7), (5, 1), (128, 64)])
@pytest.mark.parametrize("heads", [1, 3])
def test_attend(length: int, keys: int, heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert packed.available()
    query, key_value = values(2, length, 12) * 3, values(2, keys, 24, seed=1) * 3
    cotangent = values(2, length, 12, seed=2) + 0.5
    expected = _formula(query.numpy(), key_value.numpy(), heads)
    found = []
    for available in (True, False):
        monkeypatch.setattr(packed, "available", lambda available=available: available)
        y = attend(query, key_value, heads)
        of = {"query": query, "key_value": key_value}
        found.append(fetch({"y": y, **gradients((y * cotangent).sum(), of)}))
    for results in found:
        np.testing.assert_allclose(results["y"], expected, atol=1e-5)
    for name, array in found[1].items():
        gap = np.abs(found[0][name] - array).max()
        assert gap <= 1e-5 * max(1.0, np.abs(array).max()), f"{name}: {gap}"


def _formula(query: np.ndarray, key_value: np.ndarray, heads: int) -> np.ndarray:
    channels = query.shape[2]
    width = channels // heads
    result = np.zeros(query.shape)
    for n in range(len(query)):
        for start in range(0, channels, width):
            q = query[n, :, start : start + width].astype(np.float64)
            k = key_value[n, :, start : start + width]
            v = key_value[n, :, channels + start : channels + start + width]
            scores = np.exp(q @ k.T / np.sqrt(width))
            result[n, :, start : start + width] = scores / scores.sum(1, keepdims=True) @ v
    return result


def test_large_scores_do_not_overflow() -> None:
    y = attend(values(1, 4, 8) * 300, values(1, 3, 16, seed=1) * 300, 2)
    assert np.isfinite(y.numpy()).all()


def test_a_window_convolution_is_a_convolution_of_that_stride() -> None:
    layer = WindowConv2d(6, 3)
    layer.bias.update(values(6, seed=1))
    x = values(2, 8, 10, 6)  # neither side is a multiple of 3
    y = layer(x)
    planes = x.transpose((0, 3, 1, 2))
    expected = nn.conv2d(planes, layer.weight, layer.bias, stride=3).transpose((0, 2, 3, 1))
    assert shape(y) == (2, 2, 3, 6)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), atol=1e-5)


def test_pixels_beyond_the_last_window_have_no_key() -> None:
    layer = ReducedAttention(4, heads=2, reduction=2, epsilon=1e-5)
    x = values(1, 5, 4, 4)
    changed = x.numpy().copy()
    changed[:, 4] += 1
    with jt.no_grad():
        before, after = layer(x).numpy(), layer(jt.array(changed)).numpy()
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (before[:, 4] != after[:, 4]).any()


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="expected a multiple of 5 heads, got 12"):
        ReducedAttention(12, heads=5, reduction=1, epsilon=1e-5)
