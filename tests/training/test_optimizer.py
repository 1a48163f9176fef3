"""Adam against its formula, as PyTorch writes it, in float64."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest

from training.loss_scale import START, LossScale
from training.optimizer import EPSILON, Adam, AdamW


def reference(
    values: np.ndarray, gradients: list[np.ndarray], rate: float, beta1: float, beta2: float
) -> np.ndarray:
    p = values.astype(np.float64)
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        p = p - rate / (1 - beta1**t) * m / (np.sqrt(v) / np.sqrt(1 - beta2**t) + 1e-8)
    return p


@pytest.mark.parametrize("beta1", [0.0, 0.5])
@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_follows_the_formula(beta1: float, scale: float) -> None:
    # At a scale of 1e-9 epsilon is as large as the root, so its place in the formula matters.
    random = np.random.default_rng(0)
    start = random.normal(size=(3, 4)).astype(np.float32)
    gradients = [scale * random.normal(size=(3, 4)).astype(np.float32) for _ in range(6)]
    variable = jt.array(start)
    adam = Adam({"a": variable}, beta1=beta1, beta2=0.9)
    for gradient in gradients:
        adam.step((variable * jt.array(gradient)).sum(), 1e-2)
    expected = reference(start, gradients, 1e-2, beta1, 0.9)
    np.testing.assert_allclose(variable.numpy(), expected, rtol=0, atol=3e-7)


def test_late_steps_follow_the_formula_too() -> None:
    variable = jt.array(np.ones(2, np.float32))
    adam = Adam({"a": variable}, beta1=0.0, beta2=0.9)
    adam.n_step = 10_000
    adam.second["a"].update(jt.array([4.0, 9.0]))
    adam.step((variable * jt.array([2.0, 3.0])).sum(), 0.1)
    np.testing.assert_allclose(variable.numpy(), [0.9, 0.9], rtol=1e-6)
    assert EPSILON == 1e-8


def test_other_variables_keep_their_values_and_gradients_still_flow() -> None:
    trained, other = jt.array([1.0, 2.0]), jt.array([3.0, 4.0])
    adam = Adam({"trained": trained}, beta1=0.0, beta2=0.9)
    for _ in range(2):
        adam.step((trained * other).sum(), 0.1)
    np.testing.assert_array_equal(other.numpy(), [3, 4])
    assert not trained.is_stop_grad()
    np.testing.assert_allclose(trained.numpy(), [0.8, 1.8], rtol=1e-5)


def test_without_momentum_the_first_moment_is_not_stored() -> None:
    variable = jt.zeros((2, 3))
    assert sorted(Adam({"a": variable}, beta1=0.0, beta2=0.9).state()) == ["second.a"]
    state = Adam({"a": variable}, beta1=0.5, beta2=0.9).state()
    assert sorted(state) == ["first.a", "second.a"]


def test_only_the_named_parameters_change() -> None:
    a, b = jt.array([1.0]), jt.array([1.0])
    adam = Adam({"a": a, "b": b}, beta1=0.5, beta2=0.9)
    adam.step((a * b).sum(), 0.1, {"b"})
    np.testing.assert_allclose([a.item(), b.item()], [1.0, 0.9], rtol=1e-6)
    assert adam.second["a"].item() == 0 and adam.second["b"].item() > 0


def test_a_restart_resets_moments_and_step_count() -> None:
    restarted, fresh = jt.array([1.0, 2.0]), jt.array([1.0, 2.0])
    adam = Adam({"a": restarted}, beta1=0.5, beta2=0.9)
    adam.step((restarted * jt.array([5.0, -7.0])).sum(), 0.1)
    restarted.update(fresh.copy())
    adam.restart()
    other = Adam({"a": fresh}, beta1=0.5, beta2=0.9)
    for optimizer, variable in ((adam, restarted), (other, fresh)):
        optimizer.step((variable * jt.array([0.1, 0.2])).sum(), 0.1)
    np.testing.assert_array_equal(restarted.numpy(), fresh.numpy())
    assert adam.n_step == 1


def test_shape_and_operator_order_are_restored() -> None:
    variable = jt.zeros((2, 3, 4))
    adam = Adam({"a": variable}, beta1=0.0, beta2=0.9)
    adam.step((variable + 1).sqr().sum(), 0.1)
    assert variable.shape == [2, 3, 4]
    assert jt.flags.node_order == 0


def test_a_scaled_loss_gives_the_same_step() -> None:
    plain, scaled = jt.array([1.0, 2.0]), jt.array([1.0, 2.0])
    scale = LossScale()
    for variable, factor in ((plain, None), (scaled, scale)):
        adam = Adam({"a": variable}, beta1=0.5, beta2=0.9)
        for gradient in ([0.1, -3.0], [1e-3, 7.0]):
            adam.step((variable * jt.array(gradient)).sum(), 0.1, scale=factor)
    # Scaling by a power of two is exact.
    np.testing.assert_array_equal(scaled.numpy(), plain.numpy())
    assert scale.good_steps == 2


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_gradient_that_is_not_finite_changes_no_parameter(value: float) -> None:
    a, b = jt.array([1.0, 2.0]), jt.array([3.0])
    adam, scale = Adam({"a": a, "b": b}, beta1=0.5, beta2=0.9), LossScale()
    loss = (a * jt.array(np.float32([1, value]))).sum() + b.sum()
    adam.step(loss, 0.1, scale=scale)
    np.testing.assert_array_equal([*a.numpy(), *b.numpy()], [1, 2, 3])
    assert adam.n_step == 0 and scale.value == START // 2
    assert all((moment.numpy() == 0).all() for moment in adam.state().values())
    adam.step(a.sum() + b.sum(), 0.1, scale=scale)
    assert adam.n_step == 1 and (a.numpy() < [1, 2]).all()


def test_adamw_shrinks_before_the_step_and_has_a_factor_per_parameter() -> None:
    random = np.random.default_rng(1)
    start = {name: random.normal(size=(2, 3)).astype(np.float32) for name in ("a", "b", "c")}
    gradients = [random.normal(size=(2, 3)).astype(np.float32) for _ in range(4)]
    variables = {name: jt.array(value) for name, value in start.items()}
    decays, factors = {"a": 0.1, "b": 0.0, "c": 0.1}, {"a": 1.0, "b": 10.0, "c": 10.0}
    adamw = AdamW(variables, beta1=0.9, beta2=0.999, decays=decays, factors=factors)
    for gradient in gradients:
        total = sum((var * jt.array(gradient)).sum() for var in variables.values())
        adamw.step(total, 1e-2)
    for name, values in start.items():
        # Loshchilov and Hutter 2019, algorithm 2, with the learning rate in the decay
        rate = 1e-2 * factors[name]
        p, m, v = values.astype(np.float64), np.zeros((2, 3)), np.zeros((2, 3))
        for t, g in enumerate(gradients, start=1):
            p *= 1 - rate * decays[name]
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            p -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(variables[name].numpy(), p, rtol=0, atol=1e-6)
