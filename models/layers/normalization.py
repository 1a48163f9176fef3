"""Normalisations: batch norm over all processes, instance norm, and both with a scale and shift."""

from __future__ import annotations

from typing import Literal

import jittor as jt
from jittor import init, nn

from models.layers import kernels
from models.layers.convolution import Feature
from models.layers.layout_feature import LayoutFeature, look_up
from models.layers.reduction import for_rows, mean_of_pixels, variance_of_pixels

EPSILON = 1e-5

NormName = Literal["batch", "instance"]
Moments = tuple[jt.Var, jt.Var]


def normalise(
    x: jt.Var,
    moments: Moments,
    modulation: Feature | None = None,
    bias: jt.Var = None,
    slope: float = 1.0,
) -> jt.Var:
    """leaky_relu(y * (1 + scale) + shift), y = (x - mean) / sqrt(variance + 1e-5).

    Args:
        x: (N, C, h, w).
        moments: mean and variance, each (N or 1, C, 1, 1).
        modulation: (N, 2C, h, w), scale and shift one after the other; None for neither.
        bias: (2C,), added to the modulation, where there is one.
        slope: of the activation where its input is negative; 1 for none.
    """
    mean, variance = moments
    factor = _reciprocal_deviation(variance)
    values: jt.Var = modulation
    partition = None
    if isinstance(modulation, LayoutFeature):
        values, partition = modulation.table, modulation.partition
    given = () if values is None else (values, bias)
    if kernels.serve():
        return kernels.Normalise(slope, partition)(x, mean, factor, *given)
    y = (x - for_rows(mean, x)) * factor
    if values is not None:
        values = values + for_rows(bias.reshape((1, -1, 1, 1)), values)
        scale, shift = values[:, : x.shape[1]], values[:, x.shape[1] :]
        if partition is not None:
            scale, shift = look_up(scale, partition), look_up(shift, partition)
        y = y * (1.0 + scale) + shift
    return y if slope == 1.0 else nn.leaky_relu(y, slope)


def instance_norm(x: Feature, slope: float = 1.0) -> Feature:
    """(x - mean) / sqrt(variance + 1e-5) over a channel's pixels (Ulyanov et al. 2016).

    With a slope below 1 the leaky ReLU after it is taken in the same pass.
    """
    if isinstance(x, LayoutFeature):
        return _instance_norm_of_table(x, slope)
    mean = mean_of_pixels(x)
    return normalise(x, (mean, variance_of_pixels(x, mean)), slope=slope)


def _instance_norm_of_table(x: LayoutFeature, slope: float) -> LayoutFeature:
    mean = x.spread(x.mean_of_pixels())
    centred = x.map(lambda table: table - mean)
    variance = centred.map(lambda table: table * table).mean_of_pixels()
    factor = centred.spread(_reciprocal_deviation(variance))
    return centred.map(lambda table: nn.leaky_relu(table * factor, slope))


def _reciprocal_deviation(variance: jt.Var) -> jt.Var:
    return 1.0 / jt.sqrt(variance + EPSILON)


class InstanceNorm(nn.Module):
    """`instance_norm` as a layer: the same in training and evaluation, without state."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def moments(self, x: jt.Var) -> Moments:
        """Mean and variance over the pixels, each (N, C, 1, 1)."""
        return _take_moments(x)

    def statistics(self, x: jt.Var, moments: Moments | None = None) -> Moments:
        """What x is normalised by: `moments`, where a sibling has computed them already."""
        return moments or self.moments(x)

    def execute(self, x: jt.Var) -> jt.Var:
        return normalise(x, self.statistics(x))


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
        return _take_moments(x, batch=True, everywhere=True)

    def statistics(self, x: jt.Var, moments: Moments | None = None) -> Moments:
        """What x is normalised by; in training the running values move.

        `moments`: those of this x where a sibling layer has computed them already.
        """
        if not self.is_training():
            shape = (1, -1, 1, 1)
            return self.running_mean.reshape(shape), self.running_variance.reshape(shape)
        mean, variance = moments or self.moments(x)  # type: ignore[misc]
        count = x.shape[0] * x.shape[2] * x.shape[3] * (jt.world_size if jt.in_mpi else 1)
        unbiased = variance.detach().reshape(-1) * (count / max(count - 1, 1))
        self._move(self.running_mean, mean.detach().reshape(-1))
        self._move(self.running_variance, unbiased)
        return mean, variance

    def execute(self, x: jt.Var) -> jt.Var:
        return normalise(x, self.statistics(x))

    def _move(self, running: jt.Var, value: jt.Var) -> None:
        running.update(running + (value - running) * self.MOMENTUM)


class ScaledNorm(nn.Module):
    """Batch or instance norm with a scale and a shift for each channel, as pix2pix has it.

    Isola et al. 2017, section 3.3: drawing, too, takes the statistics of the batch, not running
    ones; for a batch of one picture they are those of instance norm. Scales start at N(1, 0.02^2),
    shifts at 0. (N, C, H, W) -> (N, C, H, W).
    """

    def __init__(self, channels: int, norm: NormName):
        super().__init__()
        self.batch = norm == "batch"
        self.scale = init.gauss((channels,), "float32", 1.0, 0.02)
        self.shift = jt.zeros(channels)

    def execute(self, x: jt.Var) -> jt.Var:
        # One process alone draws: it must not wait for the others.
        mean, variance = _take_moments(x, batch=self.batch, everywhere=self.is_training())
        scale = self.scale.reshape((1, -1, 1, 1)) * _reciprocal_deviation(variance)
        return (x - for_rows(mean, x)) * for_rows(scale, x) + for_rows(
            self.shift.reshape((1, -1, 1, 1)), x
        )


def _take_moments(x: jt.Var, *, batch: bool = False, everywhere: bool = False) -> Moments:
    """Mean and variance over pixels, with `batch` over pictures, `everywhere`: of all processes."""
    mean = mean_of_pixels(x, batch=batch)
    shared = batch and everywhere and jt.in_mpi
    if shared:
        mean = mean.mpi_all_reduce("mean")
    variance = variance_of_pixels(x, mean, batch=batch)
    if shared:
        variance = variance.mpi_all_reduce("mean")
    return mean, variance


def create_norm(name: NormName, channels: int) -> BatchNorm | InstanceNorm:
    """The parameter-free norm of that name for feature maps of `channels` channels."""
    return BatchNorm(channels) if name == "batch" else InstanceNorm(channels)
