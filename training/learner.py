"""What learns: the method's networks, their optimizers, and the average of the generator.

learner = Learner(method, options)
losses = learner.step(layout, image, learning_rate=2e-4, seed=1234)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import jittor as jt
import numpy as np

from models.layers.precision import computing_in
from models.layout import Content
from options.run import RunOptions
from training import processes
from training.ema import Average
from training.loss_scale import LossScale
from training.optimizer import Adam
from training.variables import assign_arrays, name_variables

Losses = dict[str, jt.Var]


class Trainable(Protocol):
    """What a method must offer to be trained; see models.methods."""

    networks: dict[str, jt.nn.Module]

    @property
    def needs_style(self) -> bool: ...

    def generator_losses(self, layout: Content, image: jt.Var) -> tuple[Losses, jt.Var]: ...

    def discriminator_losses(self, layout: Content, image: jt.Var) -> Losses: ...

    def generator_parameters(self) -> list[tuple[str, jt.Var]]: ...

    def discriminator_parameters(self) -> list[tuple[str, jt.Var]]: ...

    def begin_stage(self, stage: str) -> None: ...

    def stage_parameters(self) -> set[str]: ...

    def noise_shape(self, count: int) -> tuple[int, ...] | None: ...

    def generate(self, layout: Content, style: jt.Var | None, noise: jt.Var | None) -> jt.Var: ...

    def encode_style(self, style: jt.Var) -> list[jt.Var]: ...

    def draw_in_style(
        self, layout: Content, style: Sequence[jt.Var], noise: jt.Var | None
    ) -> jt.Var: ...

    def train(self) -> None: ...

    def eval(self) -> None: ...


class Learner:
    """One method in training: steps, and the state that a step depends on."""

    def __init__(self, method: Trainable, options: RunOptions) -> None:
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
        self.average = Average(generator, optimizer.ema_decay)
        self.precision = options.training.precision
        # float16 alone has too short a range for gradients
        scaled = self.optimizers if self.precision == "float16" else ()
        self.scales = {side: LossScale() for side in scaled}
        method.train()

    def begin_stage(self, stage: str, *, fresh: bool) -> None:
        """Train what `stage` names from now on; `fresh` where another stage went before.

        Optimizers then begin anew, as published for pix2pixHD: moments of parameters that stood
        still, or of pictures of another size, say nothing of the steps to come.
        """
        self.method.begin_stage(stage)
        if fresh:
            for optimizer in self.optimizers.values():
                optimizer.restart()
            self.average.restart()

    def step(
        self, layout: Content, image: jt.Var, *, learning_rate: float, seed: int
    ) -> dict[str, float]:
        """One step of the generator, then one of the discriminator; returns the weighted losses.

        With TTUR (Heusel et al. 2017) the generator moves at half of `learning_rate`, the
        discriminator at twice. All random numbers of the step come from `seed`.

        Raises GradientOverflow where float16 holds no gradient, however the loss is scaled.
        """
        jt.set_global_seed(seed)
        slow, fast = (0.5, 2.0) if self.ttur else (1.0, 1.0)
        losses = self._step_generator(layout, image, slow * learning_rate)
        # Run it now: memory for one side's activations at a time.
        jt.sync_all()
        self.average.update()
        losses |= self._step_discriminator(layout, image, fast * learning_rate)
        # Random numbers are drawn when the graph runs: nothing of this step may be left over for
        # the next one's seed.
        jt.sync_all()
        values = jt.fetch_sync(list(losses.values()))
        return {name: value.item() for name, value in zip(losses, values, strict=True)}

    def _step_generator(self, layout: Content, image: jt.Var, learning_rate: float) -> Losses:
        with computing_in(self.precision):
            losses, _ = self.method.generator_losses(layout, image)
        moved, scale = self.method.stage_parameters(), self.scales.get("generator")
        self.optimizers["generator"].step(_total(losses), learning_rate, moved, scale)
        # The values alone: a loss, or the picture, would keep its whole graph in memory.
        return {name: loss.detach() for name, loss in losses.items()}

    def _step_discriminator(self, layout: Content, image: jt.Var, learning_rate: float) -> Losses:
        with computing_in(self.precision):
            losses = self.method.discriminator_losses(layout, image)
        scale = self.scales.get("discriminator")
        self.optimizers["discriminator"].step(_total(losses), learning_rate, scale=scale)
        return {name: loss.detach() for name, loss in losses.items()}

    @contextmanager
    def drawing(self) -> Iterator[Trainable]:
        """The method in evaluation mode with averaged weights, for the length of a `with` block.

        In the precision of the steps: Jittor remembers for a shape which algorithm of cuDNN is the
        quickest, whatever the type, and one of 16 bits may not know float32.
        """
        self.method.eval()
        try:
            with self.average.applied(), jt.no_grad(), computing_in(self.precision):
                yield self.method
        finally:
            self.method.train()

    def share(self) -> None:
        """Give every process the first one's state."""
        processes.share(self.variables().values())

    def variables(self) -> dict[str, jt.Var]:
        """Everything that a step reads and writes, by name: the content of a checkpoint."""
        networks = name_variables(self.method.networks)
        named = {f"network.{name}": var for name, var in networks.items()}
        for side, optimizer in self.optimizers.items():
            named |= {f"optimizer.{side}.{name}": v for name, v in optimizer.state().items()}
        return named | {f"average.{name}": var for name, var in self.average.state().items()}

    def counts(self) -> dict[str, int]:
        """How many steps the optimizers and the average have made: part of their formulas.

        In float16 also `scale.<side>`, by how much the loss is scaled, and `good_steps.<side>`.
        """
        counts = {side: optimizer.n_step for side, optimizer in self.optimizers.items()}
        counts["average"] = self.average.n_update
        for side, scale in self.scales.items():
            counts |= {f"scale.{side}": scale.value, f"good_steps.{side}": scale.good_steps}
        return counts

    def load(
        self, arrays: Mapping[str, np.ndarray], counts: Mapping[str, int], source: str
    ) -> None:
        """Take back `variables()` and `counts()`; UserError lists every name that does not fit."""
        assign_arrays(self.variables(), arrays, source)
        for side, optimizer in self.optimizers.items():
            optimizer.n_step = counts[side]
        self.average.n_update = counts["average"]
        for side, scale in self.scales.items():
            # not there where the run went on in another precision until now
            if f"scale.{side}" in counts:
                scale.value = counts[f"scale.{side}"]
                scale.good_steps = counts[f"good_steps.{side}"]

    def snapshot(self) -> dict[str, jt.Var]:
        """The generator's side for drawing: `raw.<name>`, and `ema.<name>` where it is averaged.

        Buffers stand under `raw` alone; they belong to both.
        """
        drawing = {k: net for k, net in self.method.networks.items() if k != "discriminator"}
        raw = {f"raw.{name}": var for name, var in name_variables(drawing).items()}
        return raw | {f"ema.{name}": var for name, var in self.average.state().items()}


def _total(losses: Losses) -> jt.Var:
    total = None
    for loss in losses.values():
        total = loss if total is None else total + loss
    if total is None:
        raise ValueError("every loss has weight 0: nothing to learn from")
    return total
