"""A method that compiles in seconds, and trainers that need no network at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import jittor as jt
import numpy as np
from jittor import nn

from models.layouts.layout import Layout
from options.train import RunOptions
from tests.tiny import CLASSES


class Generator(nn.Module):
    """Two convolutions with batch norm; its style is an image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv(CLASSES + 3, 4, 3, padding=1)
        self.norm = nn.BatchNorm(4)
        self.last = nn.Conv(4, 3, 1)

    def execute(self, layout: Layout, style: jt.Var) -> jt.Var:
        x = jt.concat([layout.one_hot(), style], 1)
        return jt.tanh(self.last(nn.relu(self.norm(self.first(x)))))


class Discriminator(nn.Module):
    """A convolution, and a buffer that every training step changes."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Conv(3, 1, 3, padding=1)
        self.moving = jt.zeros(1).stop_grad()

    def execute(self, image: jt.Var) -> jt.Var:
        if self.is_training():
            self.moving.update(0.9 * self.moving + 0.1 * image.mean().detach())
        return self.score(image) + self.moving


class FakeMethod:
    """A method with batch norm, a buffer, noise, and losses of both networks.

    Attributes:
        nan_at: the generator step of this process whose loss is NaN.
        before_step: called with the number of each generator step of this process.
    """

    needs_style = True
    nan_at: int | None = None
    before_step: Callable[[int], None] | None = None

    def __init__(self) -> None:
        self.networks: dict[str, Any] = {
            "generator": Generator(),
            "discriminator": Discriminator(),
        }
        self.steps = 0

    def generate(self, layout: Layout, style: jt.Var, noise: jt.Var | None) -> jt.Var:
        return self.networks["generator"](layout, style)

    def generator_losses(self, layout: Layout, image: jt.Var) -> tuple[dict[str, Any], Any]:
        self.steps += 1
        if self.before_step is not None:
            self.before_step(self.steps)
        fake = self.generate(layout, image + 0.1 * jt.randn(image.shape), None)
        losses = {
            "gan": -self.networks["discriminator"](fake).mean(),
            "l1": (fake - image).abs().mean(),
        }
        if self.steps == self.nan_at:
            losses["l1"] = losses["l1"] * float("nan")
        return losses, fake

    def discriminator_losses(self, layout: Layout, image: jt.Var) -> dict[str, Any]:
        with jt.no_grad():
            fake = self.generate(layout, image + 0.1 * jt.randn(image.shape), None)
        discriminator = self.networks["discriminator"]
        return {
            "fake": nn.relu(1 + discriminator(fake.detach())).mean(),
            "real": nn.relu(1 - discriminator(image)).mean(),
        }

    def generator_parameters(self) -> list[tuple[str, Any]]:
        return self._parameters("generator")

    def discriminator_parameters(self) -> list[tuple[str, Any]]:
        return self._parameters("discriminator")

    def begin_stage(self, stage: str) -> None:
        assert stage == "all"

    def stage_parameters(self) -> set[str]:
        return {name for name, _ in self.generator_parameters()}

    def noise_shape(self, count: int) -> None:
        return None

    def train(self) -> None:
        for network in self.networks.values():
            network.train()

    def eval(self) -> None:
        for network in self.networks.values():
            network.eval()

    def _parameters(self, name: str) -> list[tuple[str, Any]]:
        return [
            (f"{name}.{key}", var)
            for key, var in self.networks[name].named_parameters()
            if not var.is_stop_grad()
        ]


def create_fake_method(options: RunOptions, vgg: Any, **settings: Any) -> FakeMethod:
    """A `FakeMethod` with `settings` as attributes, in the place of models.gans.create_method."""
    method = FakeMethod()
    for name, value in settings.items():
        setattr(method, name, value)
    return method


class ConstantTrainer:
    """The part of a trainer that checkpoints need, in NumPy: all its numbers are `value`."""

    def __init__(self, value: float) -> None:
        self.arrays = {
            name: np.full(300, value, np.float32)
            for name in ("network.generator.a", "optimizer.generator.second.a", "ema.a")
        }

    def variables(self) -> dict[str, np.ndarray]:
        return self.arrays

    def snapshot(self) -> dict[str, np.ndarray]:
        return {"raw.generator.a": self.arrays["network.generator.a"]}

    def counts(self) -> dict[str, int]:
        return {"generator": 1}

    def load(self, arrays: Any, counts: Any, source: str) -> None:
        self.arrays = {name: np.array(array) for name, array in arrays.items()}


class CountingTrainer(ConstantTrainer):
    """A trainer that takes no time: each step adds 1 to every number."""

    def __init__(self, method: Any, options: RunOptions) -> None:
        super().__init__(0)
        self.scales: dict[str, Any] = {}

    def step(self, *arguments: Any, **settings: Any) -> dict[str, float]:
        self.arrays = {name: array + 1 for name, array in self.arrays.items()}
        return {"gan": 0.5}

    def begin_stage(self, stage: str, *, fresh: bool) -> None: ...

    def broadcast(self) -> None: ...

    def evaluating(self) -> Any:
        return contextlib.nullcontext()
