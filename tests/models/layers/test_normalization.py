"""Batch and instance norm beside PyTorch's, over several training passes."""

from __future__ import annotations

import numpy as np
import pytest

from models.layers.normalization import (
    BatchNorm,
    ScaledNorm,
    create_norm,
    instance_norm,
    normalise,
)
from tests.models.conftest import Record
from tests.models.golden import Part, check, fetch, gradients, inputs_of
from tests.models.inputs import full, values
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
def test_given_moments_change_nothing(kind: str) -> None:
    norm, x = create_norm(kind, 6), values(2, 6, 5, 7)
    alone = norm(x).numpy()
    np.testing.assert_array_equal(normalise(x, norm.statistics(x, norm.moments(x))).numpy(), alone)


def test_batch_norm_has_no_trainable_parameter() -> None:
    assert all(parameter.is_stop_grad() for parameter in BatchNorm(3).parameters())


def test_a_scaled_batch_norm_draws_as_it_trains() -> None:
    norm, pictures = ScaledNorm(6, "batch"), values(2, 6, 5, 7)
    trained = norm(pictures).numpy()
    norm.eval()
    np.testing.assert_array_equal(norm(pictures).numpy(), trained)
    # ... and of one picture alone it is instance norm.
    alone = norm.scale.reshape((1, -1, 1, 1)) * instance_norm(pictures[:1])
    np.testing.assert_allclose(norm(pictures[:1]).numpy(), alone.numpy(), atol=1e-5)


def test_a_constant_picture_is_zero() -> None:
    np.testing.assert_allclose(instance_norm(full(7, 2, 6, 5, 7)).numpy(), 0, atol=1e-4)
