"""The state that training steps depend on, and that checkpoints hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import jittor as jt
import numpy as np
from jittor import nn

from models.layouts.layout import Content
from training import distributed
from training.ema import EMA
from training.loss_scale import LossScale
from training.optimizer import Adam
from weights.variables import assign_arrays, name_variables


class TrainingState(ABC):
    """Networks, optimizers and EMA of a run, and the step that changes them.

    Attributes:
        optimizers: by the side that they train, e.g. "generator".
        ema: average of the parameters for inference.
        scales: with float16, the loss scale of each side.
    """

    optimizers: Mapping[str, Adam]
    ema: EMA
    scales: dict[str, LossScale]

    @property
    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """All networks of the run, by name."""

    @abstractmethod
    def begin_stage(self, stage: str, *, fresh: bool) -> None:
        """Train the part of the networks that `stage` names; `fresh` after another stage."""

    @abstractmethod
    def step(
        self, content: Content, image: jt.Var, *, learning_rate: float, seed: int
    ) -> dict[str, float]:
        """Make a step on a batch; returns the losses. All random numbers derive from `seed`."""

    @abstractmethod
    def snapshot(self) -> dict[str, jt.Var]:
        """The variables that inference needs, by name."""

    def broadcast(self) -> None:
        """Copy the state of the first process to all."""
        distributed.broadcast(self.variables().values())

    def variables(self) -> dict[str, jt.Var]:
        """All variables that a step reads and writes, by name: the content of a checkpoint."""
        networks = name_variables(self.networks)
        named = {f"network.{name}": var for name, var in networks.items()}
        for side, optimizer in self.optimizers.items():
            named |= {f"optimizer.{side}.{name}": v for name, v in optimizer.state().items()}
        return named | {f"ema.{name}": var for name, var in self.ema.state().items()}

    def counts(self) -> dict[str, int]:
        """The step counts of optimizers and EMA, which their formulas use.

        With float16 also `scale.<side>`, the loss scale, and `good_steps.<side>`.
        """
        counts = {side: optimizer.n_step for side, optimizer in self.optimizers.items()}
        counts["ema"] = self.ema.n_update
        for side, scale in self.scales.items():
            counts |= {f"scale.{side}": scale.value, f"good_steps.{side}": scale.good_steps}
        return counts

    def load(
        self, arrays: Mapping[str, np.ndarray], counts: Mapping[str, int], source: str
    ) -> None:
        """Restore `variables()` and `counts()`; UserError lists every mismatch."""
        assign_arrays(self.variables(), arrays, source)
        for side, optimizer in self.optimizers.items():
            optimizer.n_step = counts[side]
        self.ema.n_update = counts["ema"]
        for side, scale in self.scales.items():
            # Missing if the run used another precision until now.
            if f"scale.{side}" in counts:
                scale.value = counts[f"scale.{side}"]
                scale.good_steps = counts[f"good_steps.{side}"]
