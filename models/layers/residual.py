"""Residual blocks of SPADE (SPADE ResBlk) and TSIT (FADE ResBlk, stream block)."""

from __future__ import annotations

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, Feature
from models.layers.fade import FADE
from models.layers.normalization import NormName, instance_norm
from models.layers.spade import SPADE
from models.layouts.layout import Layout
from models.layouts.tabulated_feature import TabulatedFeature

SLOPE = 0.2


def leaky_relu(x: Feature) -> Feature:
    """max(x, 0.2 x), the activation of all these networks; keeps the shape."""
    if isinstance(x, TabulatedFeature):
        return x.map(leaky_relu)
    return nn.leaky_relu(x, SLOPE)


def tanh(x: jt.Var) -> jt.Var:
    """Hyperbolic tangent of a generator's last feature: colors in [-1, 1] of the same shape.

    Jittor's gradient divides by cosh(x)^2, which overflows to NaN for |x| >= 45. At 20 the tangent
    is 1 in float32 and its slope 2e-17. NaN stays NaN: Jittor's clamp turns it into a bound, and a
    diverged network would generate white images with finite losses.
    """
    return jt.ternary(jt.isnan(x), x, jt.tanh(jt.clamp(x, -20.0, 20.0)))


class _ModulatedBlock(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))); a normalized 1 x 1 shortcut if channels change."""

    def __init__(self, in_channels: int, middle_channels: int, out_channels: int):
        super().__init__()
        self.learned_shortcut = in_channels != out_channels
        self.conv_0 = Conv2d(in_channels, middle_channels, 3, padding=1, spectral=True)
        self.conv_1 = Conv2d(middle_channels, out_channels, 3, padding=1, spectral=True)
        if self.learned_shortcut:
            self.conv_s = Conv2d(in_channels, out_channels, 1, bias=False, spectral=True)

    def execute(self, x: jt.Var, condition: Layout | Feature) -> jt.Var:
        """x (N, in_channels, h, w) and its condition -> (N, out_channels, h, w)."""
        # norm_0 and norm_s see the same x: its statistics are computed once.
        moments = self.norm_0.norm.moments(x)
        shortcut = x
        if self.learned_shortcut:
            shortcut = self.conv_s(self.norm_s(x, condition, moments))  # (N, out_channels, h, w)
        dx = self.conv_0(self.norm_0(x, condition, moments, SLOPE))  # (N, middle_channels, h, w)
        dx = self.conv_1(self.norm_1(dx, condition, slope=SLOPE))  # (N, out_channels, h, w)
        return shortcut + dx


class SPADEResidualBlock(_ModulatedBlock):
    """SPADE ResBlk (Park et al. 2019, figure 4 and appendix A); the condition is the layout.

    min(in_channels, out_channels) channels between its convolutions; no activation in the shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, layout_channels: int, norm: NormName):
        middle = min(in_channels, out_channels)
        super().__init__(in_channels, middle, out_channels)
        self.norm_0 = SPADE(in_channels, layout_channels, norm)
        self.norm_1 = SPADE(middle, layout_channels, norm)
        if self.learned_shortcut:
            self.norm_s = SPADE(in_channels, layout_channels, norm)


class FADEResidualBlock(_ModulatedBlock):
    """FADE ResBlk (Jiang et al. 2020, figure 3); the condition is a feature of the shape of x.

    in_channels channels between its convolutions, so that one feature fits every norm.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: NormName):
        super().__init__(in_channels, in_channels, out_channels)
        self.norm_0 = FADE(in_channels, norm)
        self.norm_1 = FADE(in_channels, norm)
        if self.learned_shortcut:
            self.norm_s = FADE(in_channels, norm)


class StreamResidualBlock(nn.Module):
    """Residual block of TSIT's content and style streams (Jiang et al. 2020, figure 2).

    Convolution, instance norm and activation, twice; if channels change, the shortcut is the same
    with a 1 x 1 convolution.

    Args:
        middle_channels: between the convolutions; None for in_channels, as published.
    """

    def __init__(self, in_channels: int, out_channels: int, middle_channels: int | None = None):
        super().__init__()
        middle = in_channels if middle_channels is None else middle_channels
        self.learned_shortcut = in_channels != out_channels
        self.conv_0 = Conv2d(in_channels, middle, 3, padding=1, spectral=True)
        self.conv_1 = Conv2d(middle, out_channels, 3, padding=1, spectral=True)
        if self.learned_shortcut:
            self.conv_s = Conv2d(in_channels, out_channels, 1, bias=False, spectral=True)

    def execute(self, x: Feature) -> Feature:
        """(N, in_channels, h, w) -> (N, out_channels, h, w)."""
        shortcut = instance_norm(self.conv_s(x), SLOPE) if self.learned_shortcut else x
        dx = instance_norm(self.conv_0(x), SLOPE)  # (N, middle_channels, h, w)
        dx = instance_norm(self.conv_1(dx), SLOPE)  # (N, out_channels, h, w)
        return shortcut + dx
