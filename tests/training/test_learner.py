"""The precision that a learner computes in; its steps are in test_loop.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jittor as jt
import numpy as np
import pytest

from models.layers.precision import Precision, lower
from models.layout import Layout
from options.run import RunOptions
from tests.training.conftest import CLASSES, SIZE
from training.learner import Learner
from training.loss_scale import START


def make(options: RunOptions, create: Callable[..., Any], precision: Precision) -> Learner:
    options = replace(options, training=replace(options.training, precision=precision))
    return Learner(create(options, None), options)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_losses_and_pictures_are_computed_in_it_and_nothing_else(
    options: RunOptions, create: Callable[..., Any], precision: Precision
) -> None:
    learner = make(options, create, precision)
    third = jt.array(np.float32([1 / 3]))
    seen: list[bool] = []
    method = learner.method

    def spied(real: Callable[..., Any]) -> Callable[..., Any]:
        def spy(*arguments: Any) -> Any:
            seen.append(lower(third).item() != third.item())
            return real(*arguments)

        return spy

    for name in ("generator_losses", "discriminator_losses"):
        setattr(method, name, spied(getattr(method, name)))
    ids = np.zeros((2, *SIZE), np.int32)
    image = jt.array(np.zeros((2, 3, *SIZE), np.float32))
    learner.step(Layout(jt.array(ids), CLASSES), image, learning_rate=1e-3, seed=0)
    with learner.drawing():
        seen.append(lower(third).item() != third.item())
    assert seen == [precision != "float32"] * 3
    assert lower(third) is third
    assert bool(learner.scales) == (precision == "float16")


def test_a_run_that_turns_to_float16_begins_with_a_new_scale(
    options: RunOptions, create: Callable[..., Any]
) -> None:
    before, after = make(options, create, "float32"), make(options, create, "float16")
    arrays = {name: var.numpy() for name, var in before.variables().items()}
    after.load(arrays, before.counts(), "the state")
    assert after.scales["generator"].value == START
    after.scales["generator"].value = 8
    other = make(options, create, "float16")
    other.load(arrays, after.counts(), "the state")
    assert other.scales["generator"].value == 8
    # and back
    before.load(arrays, after.counts(), "the state")
    assert before.counts().keys() == {"generator", "discriminator", "average"}
