"""Layers that the reference networks share: norms and spectral norm."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn.utils import spectral_norm

Norm = Literal["batch", "instance"]

LEAKY_SLOPE = 0.2


def parameter_free_norm(norm: Norm, channels: int) -> nn.Module:
    """The norm inside SPADE and FADE, without scale and shift.

    In one process the published synchronized batch norm equals batch norm (momentum 0.1, eps 1e-5,
    unbiased running variance).
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels, affine=False)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=False)
    raise ValueError(f"norm: expected batch or instance, got {norm!r}")


def spectral(layer: nn.Module, enabled: bool = True) -> nn.Module:
    """Miyato et al. 2018, algorithm 1 with one power iteration per training forward pass."""
    return spectral_norm(layer) if enabled else layer


def spectral_instance_conv(
    in_channels: int, out_channels: int, *, kernel_size: int, stride: int, padding: int
) -> nn.Sequential:
    """The published 'spectralinstance' layer: a convolution without bias, then instance norm."""
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False
    )
    return nn.Sequential(spectral(convolution), nn.InstanceNorm2d(out_channels, affine=False))


def leaky(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU with slope 0.2, as everywhere in the code of both papers."""
    return nn.functional.leaky_relu(x, LEAKY_SLOPE)
