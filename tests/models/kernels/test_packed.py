"""Convolutions with packed weights against a sum in float64."""

from __future__ import annotations

from collections.abc import Iterator

import jittor as jt
import numpy as np
import pytest
from jittor import nn
from numpy.typing import NDArray

from models.kernels import packed
from models.kernels.packed import PackedConvolution
from models.layers.convolution import PRODUCT_PIXELS, Conv2d, prepare_for_inference
from models.layers.spade import SPADE
from models.layouts.layout import Layout

pytestmark = pytest.mark.skipif(not packed.available(), reason="Jittor has no oneDNN")


def convolve(x: NDArray, weight: NDArray, bias: NDArray, padding: int) -> NDArray:
    kernel = weight.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding))).astype(float)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))  # type: ignore[call-overload]
    return np.einsum("nchwij,ocij->nohw", windows, weight.astype(float)) + bias[:, None, None]


def sample(*shape: int, seed: int) -> NDArray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# 3 x 3 with 16 output channels or more uses Winograd's algorithm, the others oneDNN's choice.
@pytest.mark.parametrize(
    ("batch", "channels", "out_channels", "kernel", "padding"),
    [(1, 32, 48, 3, 1), (2, 20, 24, 3, 1), (1, 16, 3, 3, 1), (1, 3, 16, 7, 0), (2, 16, 16, 4, 2)],
)
def test_equals_the_convolution(
    batch: int, channels: int, out_channels: int, kernel: int, padding: int
) -> None:
    weight = sample(out_channels, channels, kernel, kernel, seed=1) / np.sqrt(channels) / kernel
    bias = sample(out_channels, seed=2)
    layer = PackedConvolution(jt.array(weight), jt.array(bias), padding)
    # The second call reuses the packed weights; the third, of another size, must not.
    for height, width in ((29, 38), (29, 38), (36, 24)):
        x = sample(batch, channels, height, width, seed=3)
        expected = convolve(x, weight, bias, padding)
        np.testing.assert_allclose(layer(jt.array(x)).numpy(), expected, rtol=0, atol=2e-5)


def test_without_bias() -> None:
    weight, x = sample(16, 16, 3, 3, seed=1) / 12, sample(1, 16, 29, 38, seed=2)
    y = PackedConvolution(jt.array(weight), None, 1)(jt.array(x)).numpy()
    np.testing.assert_allclose(y, convolve(x, weight, np.zeros(16), 1), rtol=0, atol=2e-5)


@pytest.fixture
def networks() -> Iterator[nn.Module]:
    jt.set_global_seed(5)
    yield nn.Sequential(
        Conv2d(6, 16, 3, padding=1, spectral=True),
        Conv2d(16, 16, 3, stride=2, padding=1),
        Conv2d(16, 8, 1, bias=False),
    )


@pytest.mark.parametrize("size", [(40, 44), (10, 12)])
def test_a_prepared_network_generates_the_same(networks: nn.Module, size: tuple[int, int]) -> None:
    assert 40 * 44 > PRODUCT_PIXELS > 10 * 12
    networks.eval()
    x = jt.array(sample(1, 6, *size, seed=6))
    before = networks(x).numpy()
    prepare_for_inference(networks)
    assert [layer.packed is not None for layer in networks] == [True, False, False]
    with jt.no_grad():
        np.testing.assert_allclose(networks(x).numpy(), before, rtol=0, atol=2e-6)


@pytest.mark.parametrize("stripes", [4, 40 * 44])
def test_a_prepared_spade_layer_gives_the_same(stripes: int) -> None:
    # Few different neighborhoods, and so many that the hidden feature becomes dense.
    ids = sample(1, 40, 44, seed=7).argsort(axis=None).reshape(1, 40, 44) * stripes // (40 * 44) % 9
    layer = SPADE(8, 9)
    layer.eval()
    x, layout = jt.array(sample(1, 8, 40, 44, seed=8)), Layout(jt.array(ids.astype(np.int32)), 9)
    before = layer(x, layout).numpy()
    prepare_for_inference(layer)
    with jt.no_grad():
        np.testing.assert_allclose(layer(x, layout).numpy(), before, rtol=0, atol=2e-6)
