"""Losses against the reference, and at extreme values."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import jittor as jt
import numpy as np
import pytest

from models import losses
from models.kernels import fused
from models.losses import GanLoss
from tests.models.conftest import Record
from tests.models.golden import check, fetch, gradients, inputs_of
from tests.models.inputs import CLASSES, full, shape, values
from tests.reference.goldens import load

ROLES: dict[str, tuple[str, Callable[[list[jt.Var], GanLoss], jt.Var]]] = {
    "discriminator_fake": (
        "fake",
        lambda scores, kind: losses.discriminator_gan_loss(scores, kind, real=False),
    ),
    "discriminator_real": (
        "real",
        lambda scores, kind: losses.discriminator_gan_loss(scores, kind, real=True),
    ),
    "generator": ("fake", losses.generator_gan_loss),
}


def test_every_loss_as_published(record: Record) -> None:
    golden = load("losses")
    inputs = inputs_of(golden)
    results = {}

    def keep(label: str, loss: jt.Var, *names: str) -> None:
        results[f"out/{label}"] = loss
        results.update(gradients(loss, {f"in.{name}.{label}": inputs[name] for name in names}))

    scales = ("scale0", "scale1")
    for kind in get_args(GanLoss):
        for role, (side, function) in ROLES.items():
            names = [f"{side}.{scale}.scores" for scale in scales]
            keep(f"{kind}.{role}", function([inputs[name] for name in names], kind), *names)
    features = {
        side: [[inputs[f"{side}.{scale}.{k}"] for k in ("layer0", "scores")] for scale in scales]
        for side in ("fake", "real")
    }
    matching = losses.feature_matching_loss(features["fake"], features["real"])
    keep("feature_matching", matching, *(f"fake.{scale}.layer0" for scale in scales))
    kl = losses.kl_loss(inputs["mean"], inputs["log_variance"])
    keep("kl", kl, "mean", "log_variance")
    assert {shape(value) for key, value in results.items() if key.startswith("out/")} == {(1,)}
    arrays = fetch(results)
    record(check(golden, arrays))


def test_feature_matching_has_no_gradient_for_scores_and_real_features() -> None:
    fake, real = (
        [values(2, 4, 5, 7, seed=seed), values(2, 1, 4, 5, seed=seed)] for seed in range(2)
    )
    loss = losses.feature_matching_loss([fake], [real])
    for var in (fake[1], *real):
        assert not jt.grad(loss, var).numpy().any()


@pytest.mark.parametrize("kind", get_args(GanLoss))
@pytest.mark.parametrize("role", ROLES)
def test_extreme_scores_give_finite_losses_and_gradients(role: str, kind: GanLoss) -> None:
    for size in (1e4, -1e4, 0.0):
        scores = full(size, 2, 1, 4, 5)
        loss = ROLES[role][1]([scores], kind)
        assert np.isfinite(loss.item())
        assert np.isfinite(jt.grad(loss, scores).numpy()).all()


def test_cross_entropy_is_correct_if_the_plain_formula_overflows() -> None:
    scores = jt.array(np.array([200.0, -200.0], np.float32))
    loss = losses.discriminator_gan_loss([scores], "cross_entropy", real=True)
    assert loss.item() == pytest.approx(100.0)


def test_the_hinge_loss_has_no_gradient_beyond_its_margin() -> None:
    scores = full(1.5, 2, 1, 4, 5)
    loss = losses.discriminator_gan_loss([scores], "hinge", real=True)
    assert loss.item() == 0
    assert not jt.grad(loss, scores).numpy().any()


def test_the_cosine_of_black_features_is_finite() -> None:
    fake = [full(0, 2, 4, 5, 7) for _ in losses.VGG_WEIGHTS]
    loss = losses.perceptual_loss(fake, [full(1, 2, 4, 5, 7) for _ in fake], "cosine")
    assert np.isfinite(loss.item())
    assert all(np.isfinite(gradient.numpy()).all() for gradient in jt.grad(loss, fake))


@pytest.mark.parametrize("distance", get_args(losses.VggDistance))
def test_the_perceptual_loss_of_equal_features_is_zero(distance: losses.VggDistance) -> None:
    features = [values(2, 4, 5, 7) for _ in losses.VGG_WEIGHTS]
    assert losses.perceptual_loss(features, features, distance).item() == pytest.approx(0, abs=1e-6)


def test_the_kl_of_a_standard_normal_is_zero() -> None:
    assert losses.kl_loss(full(0, 2, 16), full(0, 2, 16)).item() == 0


SEGMENTATION_LOSSES: dict[str, Callable[[jt.Var, jt.Var], jt.Var]] = {
    "all": losses.segmentation_loss,
    "ignored": lambda logits, ids: losses.segmentation_loss(logits, ids, CLASSES),
    "ignored_class": lambda logits, ids: losses.segmentation_loss(logits, ids, 2),
    "mask_probability": losses.mask_probability_loss,
}


@pytest.mark.parametrize("on_cpu", [True, False])
def test_segmentation_losses_as_published(
    on_cpu: bool, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "available", lambda: on_cpu)
    golden = load("segmentation_losses")
    logits = inputs_of(golden)["logits"]
    results = {}
    for label, function in SEGMENTATION_LOSSES.items():
        name = "labels_with_ignored" if label == "ignored" else "labels"
        loss = function(logits, jt.array(golden.get(f"in/{name}")))
        results[f"out/{label}"] = loss
        results |= gradients(loss, {f"in.logits.{label}": logits})
    record(check(golden, fetch(results)))


@pytest.mark.parametrize("on_cpu", [True, False])
def test_extreme_logits_give_finite_segmentation_losses(
    on_cpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "available", lambda: on_cpu)
    array = np.zeros((2, CLASSES, 9, 13), np.float32)
    array[:, 0], array[:, 1] = 1e4, -1e4
    logits = jt.array(array)
    for target, expected in ((0, [0.0, 0.0]), (1, [2e4, -np.log(1e-12)])):
        ids = jt.array(np.full((2, 35, 50), target, np.int32))
        both = [losses.segmentation_loss(logits, ids), losses.mask_probability_loss(logits, ids)]
        assert [loss.item() for loss in both] == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert all(np.isfinite(jt.grad(loss, logits).numpy()).all() for loss in both)


@pytest.mark.parametrize("on_cpu", [True, False])
def test_logits_that_are_not_finite_give_a_loss_that_is_not(
    on_cpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "available", lambda: on_cpu)
    logits = full(np.nan, 2, CLASSES, 9, 13)
    ids = jt.array(np.zeros((2, 35, 50), np.int32))
    assert not np.isfinite(losses.segmentation_loss(logits, ids).item())


def test_the_segmentation_loss_is_0_if_every_pixel_is_ignored() -> None:
    logits = values(2, CLASSES, 9, 13)
    ids = jt.array(np.full((2, 35, 50), CLASSES, np.int32))
    loss = losses.segmentation_loss(logits, ids, CLASSES)
    assert loss.item() == 0 and not jt.grad(loss, logits).numpy().any()


def one_hot(*ratings: int) -> jt.Var:
    """Distributions of ratings 1 to 10 with one rating each."""
    return jt.array(np.eye(10, dtype=np.float32)[np.array(ratings) - 1])


def test_the_emd_of_single_ratings_by_hand() -> None:
    # d steps apart: the cumulative distributions differ by 1 at d of 10 ratings
    assert losses.emd_loss(one_hot(1), one_hot(10)).item() == pytest.approx(0.9**0.5)
    assert losses.emd_loss(one_hot(7), one_hot(5)).item() == pytest.approx(0.2**0.5)
    # the mean over images of a root, not the root of a mean
    both = losses.emd_loss(one_hot(1, 7), one_hot(10, 5)).item()
    assert both == pytest.approx((0.9**0.5 + 0.2**0.5) / 2)


def test_the_emd_of_equal_distributions_is_zero_and_has_a_finite_gradient() -> None:
    predicted = full(0.1, 2, 10)
    loss = losses.emd_loss(predicted, full(0.1, 2, 10))
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert not jt.grad(loss, predicted).numpy().any()


def test_the_target_of_the_emd_has_no_gradient() -> None:
    predicted, target = one_hot(1), one_hot(3)
    assert not jt.grad(losses.emd_loss(predicted, target), target).numpy().any()
