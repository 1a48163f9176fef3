"""The training state of a segmenter: network, optimizer and EMA.

trainer = SegmentationTrainer(create_segmenter("mit_b0", classes=29), options)
losses = trainer.step(layout, image, learning_rate=6e-5, seed=1234)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import jittor as jt
from jittor import nn

from models.kernels.precision import autocast
from models.layouts.layout import Content, Layout
from models.losses import segmentation_loss
from options.train import RunOptions
from training.ema import EMA
from training.loss_scale import LossScale
from training.optimizer import AdamW
from training.training_state import TrainingState

if TYPE_CHECKING:
    from weights.segmenters import SegmenterNetwork

# Learning rate of the first step, over that of the end of the warm-up.
WARMUP_START = 1e-6


class SegmentationTrainer(TrainingState):
    """Makes training steps with a segmenter, and holds the state that a step depends on.

    The recipe of SegFormer (Xie et al. 2021, section 4.1, and its published configuration): cross
    entropy at the size of the layout; AdamW, without decay for norms, and with a higher learning
    rate for the head.
    """

    def __init__(self, network: SegmenterNetwork, options: RunOptions) -> None:
        self.network = network
        self.options = options
        parameters = {
            name: var for name, var in network.named_parameters() if not var.is_stop_grad()
        }
        segmenter, betas = options.segmenter, options.optimizer
        optimizer = AdamW(
            parameters,
            beta1=betas.beta1,
            beta2=betas.beta2,
            decays={n: 0.0 if _is_of_norm(n) else segmenter.weight_decay for n in parameters},
            factors={
                n: segmenter.head_factor if n.startswith("head.") else 1.0 for n in parameters
            },
        )
        self.optimizers = {"segmenter": optimizer}
        self.ema = EMA(parameters, betas.ema_decay)
        self.precision = options.training.precision
        self.scales = {"segmenter": LossScale()} if self.precision == "float16" else {}
        network.train()
        # Random weights are sampled when the graph executes: now, before the seed of a step.
        jt.sync(list(self.variables().values()))

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"segmenter": self.network}

    def begin_stage(self, stage: str, *, fresh: bool) -> None:
        """Nothing: a segmenter is trained as a whole (options.rules refuses other stages)."""

    def rate_factor(self, step: int, done: int, steps: int) -> float:
        """Factor of the phase's learning rate, 0 to 1: poly decay of power 1, linear warm-up.

        step: steps of the run so far. done, steps: steps of the phase so far, and in all.
        """
        warmup = self.options.segmenter.warmup_steps
        factor = 1 - done / steps
        if step < warmup:
            factor *= 1 - (1 - step / warmup) * (1 - WARMUP_START)
        return factor

    def step(
        self, content: Content, image: jt.Var, *, learning_rate: float, seed: int
    ) -> dict[str, float]:
        """Update the segmenter; returns the loss.

        content: layouts, whose id `classes` is ignored. image: photos (N, 3, H, W) in [-1, 1]. All
        random numbers of the step derive from `seed`.

        Raises GradientOverflow if gradients overflow float16 at every loss scale.
        """
        assert isinstance(content, Layout)
        jt.set_global_seed(seed)
        with autocast(self.precision):
            logits = self.network(image)
        loss = segmentation_loss(logits, content.ids, ignored=self.network.classes)
        self.optimizers["segmenter"].step(loss, learning_rate, scale=self.scales.get("segmenter"))
        jt.sync_all()
        self.ema.update()
        # Random numbers are sampled when the graph executes: the next step sets another seed.
        jt.sync_all()
        return {"segmentation": loss.item()}

    @contextmanager
    def evaluating(self) -> Iterator[SegmenterNetwork]:
        """The network in evaluation mode with EMA weights, inside a `with` block."""
        self.network.eval()
        try:
            with self.ema.swapped_in(), jt.no_grad(), autocast(self.precision):
                yield self.network
        finally:
            self.network.train()

    def snapshot(self) -> dict[str, jt.Var]:
        """The network's variables for inference, by name; the EMA's values if there is one."""
        return {**self.network.state_dict(), **self.ema.state()}


def _is_of_norm(name: str) -> bool:
    """Whether a parameter belongs to a norm of the encoder.

    As published, which decays that of the head: there its name is another one.
    """
    return "norm" in name and not name.startswith("head.")


def _factor(name: str, of_head: float) -> float:
    """Factor of a parameter's learning rate."""
    return of_head if name.startswith("head.") else 1.0
