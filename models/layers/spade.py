"""SPADE: normalisation whose scale and shift are convolved from the layout (Park et al. 2019)."""

from __future__ import annotations

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, Feature, add_bias, convolve
from models.layers.layout_feature import LayoutFeature, look_up
from models.layers.normalization import Moments, NormName, create_norm
from models.layout import Layout

HIDDEN_CHANNELS = 128


class SPADE(nn.Module):
    """Spatially-adaptive normalisation: norm(x) * (1 + gamma(layout)) + beta(layout).

    Park et al. 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization", equation 1
    and figure 2; the '+1' is the published code's. x: (N, C, h, w); the layout, of any size, is
    sampled to (h, w) by nearest neighbour and its one-hot planes go through a 3 x 3 convolution to
    128 channels and ReLU, then one 3 x 3 convolution each for gamma and beta.
    """

    def __init__(self, channels: int, layout_channels: int, norm: NormName = "batch"):
        super().__init__()
        self.norm = create_norm(norm, channels)
        self.shared = Conv2d(layout_channels, HIDDEN_CHANNELS, 3, padding=1)
        self.gamma = Conv2d(HIDDEN_CHANNELS, channels, 3, padding=1)
        self.beta = Conv2d(HIDDEN_CHANNELS, channels, 3, padding=1)

    def execute(self, x: jt.Var, layout: Layout, moments: Moments | None = None) -> jt.Var:
        """(N, C, h, w) -> (N, C, h, w); `moments` of x where a sibling has computed them."""
        hidden = self.shared(layout.feature((x.shape[2], x.shape[3])))
        hidden = hidden.map(nn.relu) if isinstance(hidden, LayoutFeature) else nn.relu(hidden)
        return modulate(self.norm(x, moments), hidden, self.gamma, self.beta)


def modulate(normalised: jt.Var, feature: Feature, gamma: Conv2d, beta: Conv2d) -> jt.Var:
    """normalised * (1 + gamma(feature)) + beta(feature), with gamma and beta as one convolution."""
    channels = normalised.shape[1]
    weight = jt.concat([gamma.weight, beta.weight], dim=0)
    both = convolve(feature, weight, padding=1)
    values = both.table if isinstance(both, LayoutFeature) else both
    scale: jt.Var = add_bias(values[:, :channels], gamma.bias)
    shift: jt.Var = add_bias(values[:, channels:], beta.bias)
    if isinstance(both, LayoutFeature):
        scale, shift = look_up(scale, both.partition), look_up(shift, both.partition)
    return normalised * (1.0 + scale) + shift
