"""Normalization: synchronized batch norm, instance norm, and both with scale and shift."""

from __future__ import annotations

from typing import Literal

import jittor as jt
from jittor import init, nn

from models.kernels import fused
from models.kernels.reduction import broadcast_to_rows, mean_of_pixels, variance_of_pixels
from models.kernels.scale_shift import Activation, scale_and_shift
from models.layers.convolution import Feature
from models.layouts.tabulated_feature import TabulatedFeature, gather

EPSILON = 1e-5

NormName = Literal["batch", "instance"]
# Mean and variance, each (N or 1, C, 1, 1).
Moments = tuple[jt.Var, jt.Var]


def normalize(
    x: jt.Var,
    moments: Moments,
    modulation: Feature | None = None,
    bias: jt.Var = None,
    slope: float = 1.0,
) -> jt.Var:
    """leaky_relu(y * (1 + scale) + shift), y = (x - mean) / sqrt(variance + 1e-5): (N, C, h, w).

    Args:
        x: (N, C, h, w).
        moments: mean and variance, each (N or 1, C, 1, 1).
        modulation: (N, 2C, h, w), scale then shift; None for neither.
        bias: (2C,), added to the modulation; required if there is one.
        slope: negative slope of the activation; 1 for none.
    """
    mean, variance = moments
    factor = _reciprocal_deviation(variance)
    values: jt.Var = modulation
    partition = None
    if isinstance(modulation, TabulatedFeature):
        values, partition = modulation.table, modulation.partition
    given = () if values is None else (values, bias)
    if fused.available():
        index = None if partition is None else partition.index_var
        return fused.Normalize(slope, index)(x, mean, factor, *given)
    y = (x - broadcast_to_rows(mean, x)) * factor
    if values is not None:
        values = values + broadcast_to_rows(bias.reshape((1, -1, 1, 1)), values)
        scale, shift = values[:, : x.shape[1]], values[:, x.shape[1] :]
        if partition is not None:
            scale, shift = gather(scale, partition), gather(shift, partition)
        y = y * (1.0 + scale) + shift
    return y if slope == 1.0 else nn.leaky_relu(y, slope)


def instance_norm(x: Feature, slope: float = 1.0) -> Feature:
    """(x - mean) / sqrt(variance + 1e-5) over the pixels of each channel of (N, C, h, w).

    Ulyanov et al. 2016, "Instance Normalization". With `slope` below 1 a leaky ReLU follows in the
    same pass. Keeps the shape.
    """
    if isinstance(x, TabulatedFeature):
        return _instance_norm_of_table(x, slope)
    mean = mean_of_pixels(x)
    return normalize(x, (mean, variance_of_pixels(x, mean)), slope=slope)


def _instance_norm_of_table(x: TabulatedFeature, slope: float) -> TabulatedFeature:
    mean = x.broadcast_to_groups(x.mean_of_pixels())  # (1, C, 1, U)
    centered = x.map(lambda table: table - mean)
    variance = centered.map(lambda table: table * table).mean_of_pixels()  # (C, N)
    factor = centered.broadcast_to_groups(_reciprocal_deviation(variance))
    return centered.map(lambda table: nn.leaky_relu(table * factor, slope))


def _reciprocal_deviation(variance: jt.Var) -> jt.Var:
    return 1.0 / jt.sqrt(variance + EPSILON)


class InstanceNorm(nn.Module):
    """`instance_norm` as a layer, without state: the same in training and evaluation."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def moments(self, x: jt.Var) -> Moments:
        """Mean and variance over the pixels, each (N, C, 1, 1)."""
        return _take_moments(x)

    def statistics(self, x: jt.Var, moments: Moments | None = None) -> Moments:
        """`moments` if a sibling layer has computed them already, else the moments of x."""
        return moments or self.moments(x)

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, C, H, W) -> (N, C, H, W)."""
        return normalize(x, self.statistics(x))


class BatchNorm(nn.Module):
    """Batch norm without scale and shift, synchronized across processes.

    Ioffe and Szegedy 2015; synchronized as in SPADE. Training: (x - mean) / sqrt(variance + 1e-5)
    over the images and pixels of all processes; the running mean and the running unbiased variance
    move by a tenth. Evaluation: the running values.
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
        """Mean and variance that normalize x, each (1, C, 1, 1); training moves the running values.

        `moments` are those of x if a sibling layer has computed them already.
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
        """(N, C, H, W) -> (N, C, H, W)."""
        return normalize(x, self.statistics(x))

    def _move(self, running: jt.Var, value: jt.Var) -> None:
        running.update(running + (value - running) * self.MOMENTUM)


class AffineBatchNorm(BatchNorm):
    """`BatchNorm` with scale and shift per channel, and an activation.

    Ioffe and Szegedy 2015, algorithms 1 and 2. Scales start at 1, shifts at 0.
    """

    def __init__(self, channels: int, epsilon: float = EPSILON):
        super().__init__(channels)
        self.epsilon = epsilon
        self.scale = jt.ones(channels)
        self.shift = jt.zeros(channels)

    def factor(self, variance: jt.Var) -> jt.Var:
        """scale / sqrt(variance + epsilon), (C,)."""
        return self.scale / jt.sqrt(variance.reshape(-1) + self.epsilon)

    def execute(self, x: jt.Var, activation: Activation = "none") -> jt.Var:
        """(N, C, H, W) -> (N, C, H, W)."""
        mean, variance = self.statistics(x)
        factor = self.factor(variance)
        return scale_and_shift(x, mean.reshape(-1), factor, self.shift, activation)


class ScaledNorm(nn.Module):
    """Batch or instance norm with a scale and a shift per channel, as in pix2pix.

    Isola et al. 2017, section 3.3: evaluation, too, uses the statistics of the batch, not running
    ones; for a batch of one image that is instance norm. Scales start as N(1, 0.02^2), shifts at 0.
    """

    def __init__(self, channels: int, norm: NormName):
        super().__init__()
        self.batch = norm == "batch"
        self.scale = init.gauss((channels,), "float32", 1.0, 0.02)
        self.shift = jt.zeros(channels)

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, C, H, W) -> (N, C, H, W)."""
        # In evaluation a single process generates: it must not wait for the others.
        mean, variance = _take_moments(x, batch=self.batch, everywhere=self.is_training())
        scale = self.scale.reshape((1, -1, 1, 1)) * _reciprocal_deviation(variance)
        shift = self.shift.reshape((1, -1, 1, 1))
        centered = x - broadcast_to_rows(mean, x)
        return centered * broadcast_to_rows(scale, x) + broadcast_to_rows(shift, x)


def _take_moments(x: jt.Var, *, batch: bool = False, everywhere: bool = False) -> Moments:
    """Mean and variance over pixels; with `batch` over images, `everywhere` over processes."""
    mean = mean_of_pixels(x, batch=batch)
    shared = batch and everywhere and jt.in_mpi
    if shared:
        mean = mean.mpi_all_reduce("mean")
    variance = variance_of_pixels(x, mean, batch=batch)
    if shared:
        variance = variance.mpi_all_reduce("mean")
    return mean, variance


def create_norm(name: NormName, channels: int) -> BatchNorm | InstanceNorm:
    """Creates the parameter-free norm of that name."""
    return BatchNorm(channels) if name == "batch" else InstanceNorm(channels)
