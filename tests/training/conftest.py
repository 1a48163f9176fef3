"""A small dataset and a small method, quick to compile, with everything that a real one has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from options.run import (
    DataOptions,
    GeneratorOptions,
    LossOptions,
    OptimizerOptions,
    RunOptions,
    TrainingOptions,
)
from options.schedule import Phase, Schedule
from tools.start import start_jittor

# Jittor's own handlers would end the tests when a test kills a process.
start_jittor("cpu")

CLASSES = 4
SIZE = (16, 32)

MakeDataset = Callable[..., Path]


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Pairs of coarse layouts and photographs of their colours, and layouts to test on."""

    def make(count: int = 6, tests: int = 3) -> Path:
        root = tmp_path / "dataset"
        for name in ("train/imgs", "train/labels", "val/labels"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count + tests):
            random = np.random.default_rng(index)
            coarse = random.integers(0, CLASSES, (2, 4))
            layout = np.kron(coarse, np.ones((8, 8))).astype(np.uint16)
            if index >= count:
                Image.fromarray(layout).save(root / "val/labels" / f"test {index - count}.png")
                continue
            image = np.stack([layout * 60, 255 - layout * 60, layout * 0 + 9 * index], axis=-1)
            Image.fromarray(image.astype(np.uint8)).save(root / "train/imgs" / f"p{index}.png")
            Image.fromarray(layout).save(root / "train/labels" / f"p{index}.png")
        return root

    return make


@pytest.fixture
def options(tmp_path: Path, make_dataset: MakeDataset) -> RunOptions:
    return RunOptions(
        data=DataOptions(
            input_path=str(make_dataset()),
            height=SIZE[0],
            width=SIZE[1],
            classes=CLASSES,
            workers=1,
        ),
        generator=GeneratorOptions(generator="tsit", channels=2, halvings=4),
        loss=LossOptions(lambda_vgg=0.0),
        optimizer=OptimizerOptions(ema_decay=0.9),
        training=TrainingOptions(
            name="run", results_path=str(tmp_path / "results"), log_every=1, sample_every=1000
        ),
    )


@pytest.fixture
def schedule() -> Schedule:
    """Two epochs of three steps, then two of one."""
    return Schedule("test", (Phase("I", 2, 2, "total", 1e-3), Phase("II", 4, 4, "total", 2e-3)))


def with_training(options: RunOptions, **changes: Any) -> RunOptions:
    return replace(options, training=replace(options.training, **changes))


@pytest.fixture
def create() -> Callable[..., Any]:
    """A method with batch norm, a buffer that each step moves, noise, and both kinds of losses."""
    import jittor as jt
    from jittor import nn

    from models.layout import Layout

    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv(CLASSES + 3, 4, 3, padding=1)
            self.norm = nn.BatchNorm(4)
            self.last = nn.Conv(4, 3, 1)

        def execute(self, layout: Layout, style: jt.Var) -> jt.Var:
            x = jt.concat([layout.one_hot(), style], 1)
            return jt.tanh(self.last(nn.relu(self.norm(self.first(x)))))

    class Discriminator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score = nn.Conv(3, 1, 3, padding=1)
            self.moving = jt.zeros(1).stop_grad()

        def execute(self, image: jt.Var) -> jt.Var:
            if self.is_training():
                self.moving.update(0.9 * self.moving + 0.1 * image.mean().detach())
            return self.score(image) + self.moving

    class Method:
        needs_style = True
        # a loss from this step on, counted in generator steps of this process
        broken_at: int | None = None
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
            if self.steps == self.broken_at:
                losses["l1"] = losses["l1"] * float("nan")
            return losses, fake

        def discriminator_losses(self, layout: Layout, image: jt.Var) -> dict[str, Any]:
            with jt.no_grad():
                fake = self.generate(layout, image + 0.1 * jt.randn(image.shape), None)
            judge = self.networks["discriminator"]
            return {
                "fake": nn.relu(1 + judge(fake.detach())).mean(),
                "real": nn.relu(1 - judge(image)).mean(),
            }

        def _parameters(self, name: str) -> list[tuple[str, Any]]:
            return [
                (f"{name}.{key}", var)
                for key, var in self.networks[name].named_parameters()
                if not var.is_stop_grad()
            ]

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

    def make(options: RunOptions, vgg: Any, **settings: Any) -> Method:
        method = Method()
        for name, value in settings.items():
            setattr(method, name, value)
        return method

    return make
