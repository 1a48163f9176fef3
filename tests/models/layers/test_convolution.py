"""The algorithms of the convolution, shapes, and spectral norm against PyTorch's."""

from __future__ import annotations

from typing import Any

import jittor as jt
import numpy as np
import pytest
from jittor import nn
from scipy.signal import correlate

from models.layers import convolution
from models.layers.convolution import (
    Conv2d,
    Linear,
    SpectralNorm,
    TransposedConv2d,
    convolve,
    prepare_for_inference,
)
from models.layouts.tabulated_feature import TabulatedFeature
from tests.models.conftest import Record
from tests.models.golden import Part, check, fetch, gradients, inputs_of
from tests.models.inputs import CLASSES, full, layout, shape, values
from tests.reference.goldens import load

# kernel size, stride, padding
FORMS = [(1, 1, 0), (3, 1, 1), (3, 2, 1), (4, 1, 2), (4, 2, 2)]


def _correlate(x: np.ndarray, weight: np.ndarray, stride: int, padding: int) -> np.ndarray:
    padded = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    rows = [[correlate(image, kernel, "valid")[0] for kernel in weight] for image in padded]
    return np.array(rows)[:, :, ::stride, ::stride]


@pytest.fixture
def convolutions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls of Jittor's convolution."""
    calls: list[Any] = []
    original = jt.nn.conv2d

    def call(*arguments: Any, **options: Any) -> jt.Var:
        calls.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(jt.nn, "conv2d", call)
    return calls


# A batch of one image is reshaped differently.
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "batch"),
    [*((*form, 3) for form in FORMS), (1, 1, 0, 1), (3, 1, 1, 1)],
)
def test_the_product_and_the_convolution_agree(
    kernel: int,
    stride: int,
    padding: int,
    batch: int,
    convolutions: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = values(batch, 6, 7, 9)
    weight = values(8, 6, kernel, kernel)
    cotangent = None
    found = {}
    # Limits that select the product for every size, and for no size.
    for algorithm, (pixels, weights) in {
        "product": (1 << 30, 0),
        "convolution": (0, 1 << 30),
    }.items():
        monkeypatch.setattr(convolution, "PRODUCT_PIXELS", pixels)
        monkeypatch.setattr(convolution, "PRODUCT_WEIGHTS", weights)
        before = len(convolutions)
        y = convolve(x, weight, stride=stride, padding=padding)
        # A 1 x 1 convolution is always a product.
        convolved = algorithm == "convolution" and kernel > 1
        assert len(convolutions) - before == convolved
        cotangent = values(*y.shape) if cotangent is None else cotangent
        loss = (y * cotangent).sum()
        found[algorithm] = fetch({"y": y, **gradients(loss, {"x": x, "weight": weight})})
    exact = _correlate(x.numpy(), weight.numpy(), stride, padding)
    np.testing.assert_allclose(found["convolution"]["y"], exact, atol=1e-4)
    for key, product in found["product"].items():
        np.testing.assert_allclose(product, found["convolution"][key], atol=1e-4, err_msg=key)


def test_the_limits_choose_the_algorithm(convolutions: list[Any]) -> None:
    wide = jt.zeros((512, 128, 2, 2))
    assert wide.numel() == convolution.PRODUCT_WEIGHTS
    convolve(jt.zeros((2, 128, 17, 25)), wide)
    assert not convolutions
    convolve(jt.zeros((2, 128, 17, 26)), wide)
    assert len(convolutions) == 1
    convolve(jt.zeros((2, 127, 17, 25)), wide[:, 1:])
    assert len(convolutions) == 2


def test_other_channels_raise() -> None:
    with pytest.raises(ValueError, match="expected 6 channels, got 5"):
        convolve(jt.zeros((1, 5, 7, 9)), jt.zeros((8, 6, 3, 3)))


def test_shapes() -> None:
    x = values(3, 6, 7, 9)
    assert shape(Conv2d(6, 8, 3, stride=2, padding=1, spectral=True)(x)) == (3, 8, 4, 5)
    assert shape(Conv2d(6, 8, 4, padding=2)(x)) == (3, 8, 8, 10)
    assert shape(Conv2d(6, 8, 1, bias=False)(x)) == (3, 8, 7, 9)
    tabulated = Conv2d(CLASSES, 8, 1)(layout(3, 7, 9).feature())
    assert isinstance(tabulated, TabulatedFeature) and shape(tabulated) == (3, 8, 7, 9)
    for kernel in (3, 4):
        assert shape(TransposedConv2d(6, 4, kernel)(x)) == (3, 4, 14, 18)
    assert shape(Linear(7, 5)(values(3, 7))) == (3, 5)
    assert shape(SpectralNorm(8, 54)(values(8, 6, 3, 3))) == (1,)


def test_spectral_norm_over_three_updates_as_published(record: Record) -> None:
    golden = load("spectral_norm")
    part = Part("spade", "blocks.0.conv_0.", "head_0.conv_0.")
    layer = Conv2d(6, 8, 3, padding=1, spectral=True)
    part.load(layer, golden.section("state"))
    inputs = inputs_of(golden)
    arrays = {}
    layer.train()
    for step in range(3):
        x, parameters = inputs[f"x.{step}"], part.trainable(layer)
        y = layer(x)
        of = {f"state.{name}.{step}": parameter for name, parameter in parameters.items()}
        loss = (y * inputs[f"cotangent.{step}"]).sum()
        moves = gradients(loss, {**of, f"in.x.{step}": x})
        arrays |= fetch({f"out/train.{step}": y, **moves})
        arrays |= {f"after/{name}.{step}": value for name, value in part.state(layer).items()}
        for name, parameter in parameters.items():
            parameter.update(parameter - 0.5 * moves[f"grad/state.{name}.{step}"])
    layer.eval()
    arrays |= fetch({"out/eval.after": layer(inputs["x.0"])})
    record(check(golden, arrays))


def test_spectral_norm_finds_the_largest_singular_value() -> None:
    matrix = values(8, 54).numpy()
    matrix[0] *= 4  # the iteration is slow if two singular values are close
    norm, weight = SpectralNorm(8, 54), jt.array(matrix.reshape(8, 6, 3, 3))
    for _ in range(20):
        sigma = norm(weight).item()
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    assert sigma == pytest.approx(largest, rel=1e-4)


def test_evaluation_runs_no_power_iteration() -> None:
    layer = Conv2d(6, 8, 3, padding=1, spectral=True)
    layer.eval()
    norm = layer.spectral_norm
    before = norm.u.numpy().copy(), norm.v.numpy().copy()
    first, second = (layer(full(1, 2, 6, 7, 9)).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(norm.u.numpy(), before[0])
    np.testing.assert_array_equal(norm.v.numpy(), before[1])


def test_a_prepared_network_gives_the_same_without_spectral_norm() -> None:
    network = nn.Sequential(Conv2d(6, 8, 3, padding=1, spectral=True), Conv2d(8, 4, 3, padding=1))
    network.eval()
    x = values(2, 6, 7, 9)
    before = network(x).numpy()
    plain = network[1].weight.numpy()
    prepare_for_inference(network)
    np.testing.assert_allclose(network(x).numpy(), before, rtol=0, atol=1e-6)
    assert network[0].spectral_norm is None
    np.testing.assert_array_equal(network[1].weight.numpy(), plain)
