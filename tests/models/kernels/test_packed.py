"""Convolutions with packed weights against a sum in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import jittor as jt
import numpy as np
import pytest
from jittor import nn
from numpy.typing import NDArray

from models.kernels import packed
from models.kernels.depthwise import Padding
from models.kernels.packed import PackedConvolution, to_channels_first, to_channels_last
from models.kernels.scale_shift import Activation
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


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize(
    ("channels", "out_channels", "kernel", "stride", "groups", "padding"),
    [
        (3, 32, (3, 3), 2, 1, Padding(0, 0, 1, 1)),
        (24, 40, (1, 1), 1, 1, Padding(0, 0, 0, 0)),
        (24, 24, (3, 3), 1, 24, Padding(1, 1, 1, 1)),
        (20, 20, (5, 5), 2, 20, Padding(1, 2, 2, 2)),
        (16, 24, (1, 7), 1, 1, Padding(0, 3, 0, 3)),
        (16, 24, (7, 1), 1, 1, Padding(3, 0, 3, 0)),
    ],
)
def test_every_form_of_a_classifier(
    channels: int,
    out_channels: int,
    kernel: tuple[int, int],
    stride: int,
    groups: int,
    padding: Padding,
    activation: Activation,
    channels_last: bool,
) -> None:
    weight = sample(out_channels, channels // groups, *kernel, seed=1)
    bias, x = 3 * sample(out_channels, seed=2), sample(2, channels, 12, 19, seed=3)
    layer = PackedConvolution(
        jt.array(weight),
        jt.array(bias),
        stride=stride,
        groups=groups,
        activation=activation,
        channels_last=channels_last,
    )
    given = to_channels_last(jt.array(x)) if channels_last else jt.array(x)
    result = layer(given, padding)
    y = (to_channels_first(result) if channels_last else result).numpy()

    top, left, bottom, right = padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right))).astype(float)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))  # type: ignore[call-overload]
    windows = windows[:, :, ::stride, ::stride]
    if groups > 1:
        expected = np.einsum("nchwij,cij->nchw", windows, weight[:, 0])
    else:
        expected = np.einsum("nchwij,ocij->nohw", windows, weight)
    expected = expected + bias[:, None, None]
    if activation != "none":
        expected = np.clip(expected, 0, 6 if activation == "relu6" else None)
    np.testing.assert_allclose(y, expected, rtol=0, atol=5e-5)


def test_channels_last_and_back() -> None:
    x = sample(2, 3, 4, 5, seed=1)
    last = to_channels_last(jt.array(x))
    np.testing.assert_array_equal(last.numpy(), x.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(to_channels_first(last).numpy(), x)


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
