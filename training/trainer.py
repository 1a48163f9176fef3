"""The training state: networks, optimizers and generator EMA.

trainer = Trainer(method, options)
losses = trainer.step(content, image, learning_rate=2e-4, seed=1234)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jittor as jt
from jittor import nn

from models.gans.base import DISCRIMINATORS, Losses, Method
from models.kernels.precision import autocast
from models.layouts.layout import Content
from options.train import RunOptions
from training.ema import EMA
from training.loss_scale import LossScale
from training.optimizer import Adam
from training.training_state import TrainingState
from weights.variables import name_variables


class Trainer(TrainingState):
    """Makes training steps with a method, and holds the state that a step depends on."""

    def __init__(self, method: Method, options: RunOptions) -> None:
        optimizer = options.optimizer
        self.method = method
        self.ttur = optimizer.ttur
        generator = dict(method.generator_parameters())
        discriminator = dict(method.discriminator_parameters())
        betas = {"beta1": optimizer.beta1, "beta2": optimizer.beta2}
        self.optimizers = {
            "generator": Adam(generator, **betas),
            "discriminator": Adam(discriminator, **betas),
        }
        self.ema = EMA(generator, optimizer.ema_decay)
        self.precision = options.training.precision
        # Only float16 has too short a range for gradients.
        scaled = self.optimizers if self.precision == "float16" else ()
        self.scales = {side: LossScale() for side in scaled}
        method.train()

    @property
    def networks(self) -> dict[str, nn.Module]:
        return self.method.networks

    def begin_stage(self, stage: str, *, fresh: bool) -> None:
        """Train the part of the generator that `stage` names; `fresh` after another stage.

        A fresh stage resets the optimizers, as published for pix2pixHD: moments of parameters that
        were not trained, or of images of another size, are meaningless for the next steps.
        """
        self.method.begin_stage(stage)
        if fresh:
            for optimizer in self.optimizers.values():
                optimizer.restart()
            self.ema.restart()

    def step(
        self, content: Content, image: jt.Var, *, learning_rate: float, seed: int
    ) -> dict[str, float]:
        """Update the generator, then the discriminator; returns the weighted losses.

        image: photos (N, 3, H, W) in [-1, 1]. With TTUR (Heusel et al. 2017) the generator uses
        half of `learning_rate`, the discriminator twice. All random numbers of the step derive from
        `seed`.

        Raises GradientOverflow if gradients overflow float16 at every loss scale.
        """
        jt.set_global_seed(seed)
        slow, fast = (0.5, 2.0) if self.ttur else (1.0, 1.0)
        losses = self._step_generator(content, image, slow * learning_rate)
        # Execute now: the activations of only one side are in memory at a time.
        jt.sync_all()
        self.ema.update()
        losses |= self._step_discriminator(content, image, fast * learning_rate)
        # Random numbers are sampled when the graph executes: the next step sets another seed.
        jt.sync_all()
        values = jt.fetch_sync(list(losses.values()))
        return {name: value.item() for name, value in zip(losses, values, strict=True)}

    def _step_generator(self, content: Content, image: jt.Var, learning_rate: float) -> Losses:
        with autocast(self.precision):
            losses, _ = self.method.generator_losses(content, image)
        moved, scale = self.method.stage_parameters(), self.scales.get("generator")
        self.optimizers["generator"].step(_total(losses), learning_rate, moved, scale)
        # Only the values: a loss, or the image, would keep its whole graph in memory.
        return {name: loss.detach() for name, loss in losses.items()}

    def _step_discriminator(self, content: Content, image: jt.Var, learning_rate: float) -> Losses:
        with autocast(self.precision):
            losses = self.method.discriminator_losses(content, image)
        scale = self.scales.get("discriminator")
        self.optimizers["discriminator"].step(_total(losses), learning_rate, scale=scale)
        return {name: loss.detach() for name, loss in losses.items()}

    @contextmanager
    def evaluating(self) -> Iterator[Method]:
        """The method in evaluation mode with EMA weights, inside a `with` block.

        In the precision of the steps: Jittor caches the fastest cuDNN algorithm by shape and not by
        type, and an algorithm for 16 bits may not support float32.
        """
        self.method.eval()
        try:
            with self.ema.swapped_in(), jt.no_grad(), autocast(self.precision):
                yield self.method
        finally:
            self.method.train()

    def snapshot(self) -> dict[str, jt.Var]:
        """The generator's variables for inference: `raw.<name>`, and `ema.<name>` of the average.

        Buffers are under `raw` only; they belong to both.
        """
        networks = {k: n for k, n in self.method.networks.items() if k not in DISCRIMINATORS}
        raw = {f"raw.{name}": var for name, var in name_variables(networks).items()}
        return raw | {f"ema.{name}": var for name, var in self.ema.state().items()}


def _total(losses: Losses) -> jt.Var:
    total = None
    for loss in losses.values():
        total = loss if total is None else total + loss
    if total is None:
        raise ValueError("every loss has weight 0")
    return total
