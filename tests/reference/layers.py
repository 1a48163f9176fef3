"""Layers that the reference networks share: normalisations, spectral norm, initialisation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn.utils import spectral_norm

Norm = Literal["batch", "instance"]

LEAKY_SLOPE = 0.2


def parameter_free_norm(norm: Norm, channels: int) -> nn.Module:
    """The normalisation inside SPADE and FADE, without scale and shift of its own.

    In one process the published synchronised batch norm is plain batch norm (momentum 0.1,
    eps 1e-5, running variance unbiased).
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels, affine=False)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=False)
    raise ValueError(f"norm is batch or instance: {norm!r}")


def spectral(layer: nn.Module, enabled: bool = True) -> nn.Module:
    """Miyato et al. 2018, algorithm 1 with one power iteration a training forward pass."""
    return spectral_norm(layer) if enabled else layer


def spectral_instance_conv(
    in_channels: int, out_channels: int, *, kernel_size: int, stride: int, padding: int
) -> nn.Sequential:
    """The published 'spectralinstance' layer: a convolution without bias, then instance norm."""
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False
    )
    return nn.Sequential(spectral(convolution), nn.InstanceNorm2d(out_channels, affine=False))


def initialise(
    network: nn.Module,
    *,
    gain: float = 0.02,
    spectral_weights: Literal["xavier", "default"] = "xavier",
) -> nn.Module:
    """Initialise as SPADE does: Xavier normal with a gain of 0.02, biases zero.

    The published code moves a network to the GPU before this runs. PyTorch's spectral norm keeps
    the module's `weight` as a plain tensor, which does not move, so there the call fills a stale
    copy and every spectrally normalised convolution keeps PyTorch's default start (uniform within
    1 / sqrt(fan_in)). `spectral_weights="default"` repeats that; "xavier" is what the call says,
    and what the published code does on a CPU.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.affine:
                nn.init.normal_(module.weight, 1.0, gain)
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            original = getattr(module, "weight_orig", None)
            if original is None:
                nn.init.xavier_normal_(module.weight, gain=gain)
            elif spectral_weights == "xavier":
                nn.init.xavier_normal_(original, gain=gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def leaky(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU with the slope 0.2 that both papers' code uses everywhere."""
    return nn.functional.leaky_relu(x, LEAKY_SLOPE)
