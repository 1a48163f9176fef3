"""Normalisations without parameters: batch norm over all processes, and instance norm."""

from __future__ import annotations

from typing import Literal

import jittor as jt
from jittor import nn

from models.layers.convolution import Feature
from models.layers.layout_feature import LayoutFeature
from models.layers.reduction import for_rows, mean_of_pixels

EPSILON = 1e-5

NormName = Literal["batch", "instance"]
Moments = tuple[jt.Var, jt.Var]


def instance_norm(x: Feature) -> Feature:
    """(x - mean) / sqrt(variance + 1e-5) over a channel's pixels (Ulyanov et al. 2016)."""
    if isinstance(x, LayoutFeature):
        mean = x.spread(x.mean_of_pixels())
        centred = x.map(lambda table: table - mean)
        variance = centred.map(lambda table: table * table).mean_of_pixels()
        factor = centred.spread(_reciprocal_deviation(variance))
        return centred.map(lambda table: table * factor)
    centred = x - for_rows(mean_of_pixels(x), x)
    variance = mean_of_pixels(centred * centred)
    return centred * _reciprocal_deviation(variance)


def _reciprocal_deviation(variance: jt.Var) -> jt.Var:
    return 1.0 / jt.sqrt(variance + EPSILON)


class InstanceNorm(nn.Module):
    """`instance_norm` as a layer: the same in training and evaluation, without state."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def moments(self, x: jt.Var) -> Moments:
        """Mean and variance over the pixels, each (N, C, 1, 1)."""
        mean = mean_of_pixels(x)
        centred = x - for_rows(mean, x)
        return mean, mean_of_pixels(centred * centred)

    def execute(self, x: jt.Var, moments: Moments | None = None) -> jt.Var:
        mean, variance = moments or self.moments(x)
        return (x - for_rows(mean, x)) * _reciprocal_deviation(variance)


class BatchNorm(nn.Module):
    """Batch norm without scale and shift, its statistics taken over all processes.

    Ioffe and Szegedy 2015; synchronised as in SPADE. Training: (x - mean) / sqrt(variance + 1e-5)
    over pictures and pixels of every process, and the running mean and (unbiased) variance move by
    a tenth. Evaluation: the running values. (N, C, H, W) -> (N, C, H, W).
    """

    MOMENTUM = 0.1

    def __init__(self, channels: int):
        super().__init__()
        self.running_mean = jt.zeros(channels).stop_grad()
        self.running_variance = jt.ones(channels).stop_grad()

    def moments(self, x: jt.Var) -> Moments | None:
        """Mean and variance of the batch, each (1, C, 1, 1); None in evaluation."""
        if not self.is_training():
            return None
        mean = mean_of_pixels(x, batch=True)
        if jt.in_mpi:
            mean = mean.mpi_all_reduce("mean")
        centred = x - for_rows(mean, x)
        variance = mean_of_pixels(centred * centred, batch=True)
        if jt.in_mpi:
            variance = variance.mpi_all_reduce("mean")
        return mean, variance

    def execute(self, x: jt.Var, moments: Moments | None = None) -> jt.Var:
        """`moments`: those of this x where a sibling layer has computed them already."""
        if not self.is_training():
            mean = self.running_mean.reshape((1, -1, 1, 1))
            variance = self.running_variance.reshape((1, -1, 1, 1))
            return (x - for_rows(mean, x)) * _reciprocal_deviation(variance)
        mean, variance = moments or self.moments(x)  # type: ignore[misc]
        count = x.shape[0] * x.shape[2] * x.shape[3] * (jt.world_size if jt.in_mpi else 1)
        unbiased = variance.detach().reshape(-1) * (count / max(count - 1, 1))
        self._move(self.running_mean, mean.detach().reshape(-1))
        self._move(self.running_variance, unbiased)
        return (x - for_rows(mean, x)) * _reciprocal_deviation(variance)

    def _move(self, running: jt.Var, value: jt.Var) -> None:
        running.update(running + (value - running) * self.MOMENTUM)


def create_norm(name: NormName, channels: int) -> BatchNorm | InstanceNorm:
    """The parameter-free norm of that name for feature maps of `channels` channels."""
    return BatchNorm(channels) if name == "batch" else InstanceNorm(channels)
