"""Residual blocks: SPADE's, TSIT's with FADE, and the one that TSIT's streams are made of."""

from __future__ import annotations

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, Feature
from models.layers.fade import FADE
from models.layers.layout_feature import LayoutFeature
from models.layers.normalization import NormName, instance_norm
from models.layers.spade import SPADE
from models.layout import Layout

SLOPE = 0.2


def leaky_relu(x: Feature) -> Feature:
    """max(x, 0.2 x), the activation of all these networks."""
    if isinstance(x, LayoutFeature):
        return x.map(leaky_relu)
    return nn.leaky_relu(x, SLOPE)


def tanh(x: jt.Var) -> jt.Var:
    """The hyperbolic tangent that turns a generator's last feature into colours in [-1, 1].

    Jittor's gradient divides by cosh(x)^2, which overflows to NaN from |x| = 45 on. At 20 the
    tangent is 1 in float32, and its slope 2e-17. NaN stays NaN: Jittor clamps it to a bound, and a
    broken network would draw white, with finite losses.
    """
    return jt.ternary(jt.isnan(x), x, jt.tanh(jt.clamp(x, -20.0, 20.0)))


class _ModulatedBlock(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))); a 1 x 1 shortcut where channels change."""

    def __init__(self, in_channels: int, middle_channels: int, out_channels: int):
        super().__init__()
        self.learned_shortcut = in_channels != out_channels
        self.conv_0 = Conv2d(in_channels, middle_channels, 3, padding=1, spectral=True)
        self.conv_1 = Conv2d(middle_channels, out_channels, 3, padding=1, spectral=True)
        if self.learned_shortcut:
            self.conv_s = Conv2d(in_channels, out_channels, 1, bias=False, spectral=True)

    def execute(self, x: jt.Var, condition: Layout | Feature) -> jt.Var:
        """(N, in_channels, h, w) -> (N, out_channels, h, w)."""
        # norm_0 and norm_s see the same x: its statistics are taken once.
        moments = self.norm_0.norm.moments(x)
        shortcut = x
        if self.learned_shortcut:
            shortcut = self.conv_s(self.norm_s(x, condition, moments))
        dx = self.conv_0(self.norm_0(x, condition, moments, SLOPE))
        dx = self.conv_1(self.norm_1(dx, condition, slope=SLOPE))
        return shortcut + dx


class SPADEResidualBlock(_ModulatedBlock):
    """The SPADE ResBlk (Park et al. 2019, figure 4 and appendix A): condition is the layout.

    Between its convolutions it has min(in_channels, out_channels) channels. The shortcut has no
    activation.
    """

    def __init__(self, in_channels: int, out_channels: int, layout_channels: int, norm: NormName):
        middle = min(in_channels, out_channels)
        super().__init__(in_channels, middle, out_channels)
        self.norm_0 = SPADE(in_channels, layout_channels, norm)
        self.norm_1 = SPADE(middle, layout_channels, norm)
        if self.learned_shortcut:
            self.norm_s = SPADE(in_channels, layout_channels, norm)


class FADEResidualBlock(_ModulatedBlock):
    """The FADE ResBlk (Jiang et al. 2020, figure 3): condition is a feature of x's own shape.

    Between its convolutions it keeps in_channels channels, so that one feature serves every norm.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: NormName):
        super().__init__(in_channels, in_channels, out_channels)
        self.norm_0 = FADE(in_channels, norm)
        self.norm_1 = FADE(in_channels, norm)
        if self.learned_shortcut:
            self.norm_s = FADE(in_channels, norm)


class StreamResidualBlock(nn.Module):
    """The residual block of TSIT's content and style streams (Jiang et al. 2020, figure 2).

    Convolution, instance norm, activation, twice; the shortcut, where channels change, likewise
    with a 1 x 1 convolution. (N, in_channels, h, w) -> (N, out_channels, h, w). Between its
    convolutions it has `middle_channels`, as published in_channels.
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
        shortcut = instance_norm(self.conv_s(x), SLOPE) if self.learned_shortcut else x
        dx = instance_norm(self.conv_0(x), SLOPE)
        dx = instance_norm(self.conv_1(dx), SLOPE)
        return shortcut + dx
