"""SPADE: normalisation whose scale and shift are convolved from the layout (Park et al. 2019)."""

from __future__ import annotations

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, Feature, convolve
from models.layers.layout_feature import LayoutFeature
from models.layers.normalization import Moments, NormName, create_norm, normalise
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

    def execute(
        self, x: jt.Var, layout: Layout, moments: Moments | None = None, slope: float = 1.0
    ) -> jt.Var:
        """(N, C, h, w) -> (N, C, h, w); `moments` of x where a sibling has computed them.

        With a slope below 1 the leaky ReLU after it is taken in the same pass.
        """
        hidden = self.shared(layout.feature((x.shape[2], x.shape[3])))
        hidden = hidden.map(nn.relu) if isinstance(hidden, LayoutFeature) else nn.relu(hidden)
        statistics = self.norm.statistics(x, moments)
        return modulate(x, statistics, hidden, self.gamma, self.beta, slope)


def modulate(
    x: jt.Var, statistics: Moments, feature: Feature, gamma: Conv2d, beta: Conv2d, slope: float
) -> jt.Var:
    """normalise(x) * (1 + gamma(feature)) + beta(feature), both as one convolution, activated."""
    modulation = convolve(feature, jt.concat([gamma.weight, beta.weight], dim=0), padding=1)
    bias = jt.concat([gamma.bias, beta.bias], dim=0)
    return normalise(x, statistics, modulation, bias, slope)
