"""The precision of a trainer; test_loop.py tests its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jittor as jt
import numpy as np
import pytest

from models.kernels.precision import Precision, to_compute_dtype
from models.layouts.layout import Layout
from options.train import RunOptions
from tests.runs import SIZE, MethodFactory
from tests.tiny import CLASSES
from training.loss_scale import START
from training.trainer import Trainer


def make(options: RunOptions, create: MethodFactory, precision: Precision) -> Trainer:
    options = replace(options, training=replace(options.training, precision=precision))
    return Trainer(create(options, None), options)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_only_losses_and_images_have_the_precision_of_the_run(
    options: RunOptions, create: MethodFactory, precision: Precision
) -> None:
    trainer = make(options, create, precision)
    third = jt.array(np.float32([1 / 3]))
    seen: list[bool] = []
    method = trainer.method

    def spied(real: Callable[..., Any]) -> Callable[..., Any]:
        def spy(*arguments: Any) -> Any:
            seen.append(to_compute_dtype(third).item() != third.item())
            return real(*arguments)

        return spy

    for name in ("generator_losses", "discriminator_losses"):
        setattr(method, name, spied(getattr(method, name)))
    ids = np.zeros((2, *SIZE), np.int32)
    image = jt.array(np.zeros((2, 3, *SIZE), np.float32))
    trainer.step(Layout(jt.array(ids), CLASSES), image, learning_rate=1e-3, seed=0)
    with trainer.evaluating():
        seen.append(to_compute_dtype(third).item() != third.item())
    assert seen == [precision != "float32"] * 3
    assert to_compute_dtype(third) is third
    assert bool(trainer.scales) == (precision == "float16")


def test_a_run_that_changes_to_float16_starts_a_new_loss_scale(
    options: RunOptions, create: MethodFactory
) -> None:
    before, after = make(options, create, "float32"), make(options, create, "float16")
    arrays = {name: var.numpy() for name, var in before.variables().items()}
    after.load(arrays, before.counts(), "the state")
    assert after.scales["generator"].value == START
    after.scales["generator"].value = 8
    other = make(options, create, "float16")
    other.load(arrays, after.counts(), "the state")
    assert other.scales["generator"].value == 8
    # Back to float32, without a scale.
    before.load(arrays, after.counts(), "the state")
    assert before.counts().keys() == {"generator", "discriminator", "ema"}
