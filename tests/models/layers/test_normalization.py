"""Norms against PyTorch's, over several training passes, and their shapes."""

from __future__ import annotations

import numpy as np
import pytest

from models.kernels import fused
from models.kernels.scale_shift import Activation
from models.layers.normalization import (
    AffineBatchNorm,
    BatchNorm,
    ScaledNorm,
    create_norm,
    instance_norm,
    normalize,
)
from tests.models.conftest import Record
from tests.models.golden import Part, check, fetch, gradients, inputs_of
from tests.models.inputs import CLASSES, full, layout, shape, values
from tests.reference.goldens import load

PART = Part("spade", "blocks.0.norm_0.norm.", "head_0.norm_0.param_free_norm.")


@pytest.mark.parametrize("kind", ["batch", "instance"])
def test_three_passes_and_an_evaluation_as_published(kind: str, record: Record) -> None:
    golden = load(f"{kind}_norm")
    norm = create_norm(kind, golden.options["channels"])
    PART.load(norm, golden.section("state"))
    inputs = inputs_of(golden)
    arrays = {}
    norm.train()
    for step in range(3):
        x = inputs[f"x.{step}"]
        y = norm(x)
        loss = (y * inputs[f"cotangent.{step}"]).sum()
        arrays |= fetch({f"out/train.{step}": y, **gradients(loss, {f"in.x.{step}": x})})
        after = PART.state(norm)
        arrays |= {f"after/{name}.{step}": array for name, array in after.items()}
    norm.eval()
    arrays |= fetch({"out/eval": norm(inputs["x.0"])})
    record(check(golden, arrays))


@pytest.mark.parametrize("kind", ["batch", "instance"])
def test_given_moments_give_the_same(kind: str) -> None:
    norm, x = create_norm(kind, 6), values(2, 6, 5, 7)
    alone = norm(x).numpy()
    np.testing.assert_array_equal(normalize(x, norm.statistics(x, norm.moments(x))).numpy(), alone)


def test_shapes() -> None:
    x = values(3, 6, 5, 7)
    for norm, moments in ((create_norm("batch", 6), 1), (create_norm("instance", 6), 3)):
        assert shape(norm(x)) == (3, 6, 5, 7)
        assert [shape(value) for value in norm.moments(x)] == [(moments, 6, 1, 1)] * 2
    for name in ("batch", "instance"):
        assert shape(ScaledNorm(6, name)(x)) == (3, 6, 5, 7)
    assert shape(instance_norm(layout(3, 5, 7).feature(by_image=True))) == (3, CLASSES, 5, 7)


def test_batch_norm_has_no_trainable_parameter() -> None:
    assert all(parameter.is_stop_grad() for parameter in BatchNorm(3).parameters())


def test_a_scaled_batch_norm_evaluates_as_it_trains() -> None:
    norm, images = ScaledNorm(6, "batch"), values(2, 6, 5, 7)
    trained = norm(images).numpy()
    norm.eval()
    np.testing.assert_array_equal(norm(images).numpy(), trained)
    # With one image it is instance norm.
    alone = norm.scale.reshape((1, -1, 1, 1)) * instance_norm(images[:1])
    np.testing.assert_allclose(norm(images[:1]).numpy(), alone.numpy(), atol=1e-5)


def test_a_constant_image_is_zero() -> None:
    np.testing.assert_allclose(instance_norm(full(7, 2, 6, 5, 7)).numpy(), 0, atol=1e-4)


@pytest.mark.parametrize(("activation", "slope"), [("none", 1.0), ("relu", 0.0)])
def test_affine_batch_norm(
    activation: Activation, slope: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = values(2, 6, 5, 7) * 2 + 1
    cotangent = values(2, 6, 5, 7, seed=1) + 0.5
    scale, shift = values(6, seed=2) + 1.5, values(6, seed=3)
    pixels = x.numpy().astype(np.float64)
    mean, variance = pixels.mean((0, 2, 3)), pixels.var((0, 2, 3))
    expected = (pixels - mean.reshape(-1, 1, 1)) / np.sqrt(variance.reshape(-1, 1, 1) + 1e-5)
    expected = expected * scale.numpy().reshape(-1, 1, 1) + shift.numpy().reshape(-1, 1, 1)
    expected = np.where(expected > 0, expected, slope * expected)
    found = []
    for available in (True, False):
        monkeypatch.setattr(fused, "available", lambda available=available: available)
        norm = AffineBatchNorm(6)
        norm.scale.update(values(6, seed=2) + 1.5)
        norm.shift.update(values(6, seed=3))
        y = norm(x, activation)
        of = {"x": x, "scale": norm.scale, "shift": norm.shift}
        results = {"y": y, **gradients((y * cotangent).sum(), of)}
        found.append(fetch(results | {"mean": norm.running_mean}))
        np.testing.assert_allclose(found[-1]["y"], expected, atol=1e-5)
        np.testing.assert_allclose(found[-1]["mean"], 0.1 * mean, atol=1e-6)
        norm.eval()
        assert np.abs(norm(x, activation).numpy() - expected).max() > 0.1
    for name, array in found[1].items():
        np.testing.assert_allclose(found[0][name], array, atol=2e-4, err_msg=name)
