"""SPADE: normalisation whose scale and shift are convolved from the layout (Park et al. 2019)."""

from __future__ import annotations

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, Feature, convolve
from models.layers.layout_feature import LayoutFeature
from models.layers.normalization import Moments, NormName, create_norm, normalise
from models.layout import Layout

HIDDEN_CHANNELS = 128


class ModulatedNorm(nn.Module):
    """normalise(x) * (1 + gamma(feature)) + beta(feature), each a 3 x 3 convolution.

    What SPADE and FADE have in common; x: (N, channels, h, w), feature: (N, in_channels, h, w).
    """

    def __init__(self, channels: int, in_channels: int, norm: NormName):
        super().__init__()
        self.norm = create_norm(norm, channels)
        self.gamma = Conv2d(in_channels, channels, 3, padding=1)
        self.beta = Conv2d(in_channels, channels, 3, padding=1)
        self._joined: tuple[jt.Var, jt.Var] | None = None

    def modulate(
        self, x: jt.Var, feature: Feature, moments: Moments | None, slope: float
    ) -> jt.Var:
        """Both convolutions as one, and the activation in the pass of the norm."""
        weight, bias = self._joined or self._join()
        modulation = convolve(feature, weight, padding=1)
        return normalise(x, self.norm.statistics(x, moments), modulation, bias, slope)

    def _join(self) -> tuple[jt.Var, jt.Var]:
        gamma, beta = self.gamma, self.beta
        return jt.concat([gamma.weight, beta.weight]), jt.concat([gamma.bias, beta.bias])

    def prepare_to_draw(self) -> None:
        """Join the weights of both once and for all."""
        self._joined = self._join()


class SPADE(ModulatedNorm):
    """Spatially-adaptive normalisation: norm(x) * (1 + gamma(layout)) + beta(layout).

    Park et al. 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization", equation 1
    and figure 2; the '+1' is the published code's. x: (N, C, h, w); the layout, of any size, is
    sampled to (h, w) by nearest neighbour and its one-hot planes go through a 3 x 3 convolution to
    128 channels and ReLU, then one 3 x 3 convolution each for gamma and beta.
    """

    def __init__(self, channels: int, layout_channels: int, norm: NormName = "batch"):
        super().__init__(channels, HIDDEN_CHANNELS, norm)
        self.shared = Conv2d(layout_channels, HIDDEN_CHANNELS, 3, padding=1)

    def execute(
        self, x: jt.Var, layout: Layout, moments: Moments | None = None, slope: float = 1.0
    ) -> jt.Var:
        """(N, C, h, w) -> (N, C, h, w); `moments` of x where a sibling has computed them.

        With a slope below 1 the leaky ReLU after it is taken in the same pass.
        """
        hidden = self.shared(layout.feature((x.shape[2], x.shape[3])))
        hidden = hidden.map(nn.relu) if isinstance(hidden, LayoutFeature) else nn.relu(hidden)
        return self.modulate(x, hidden, moments, slope)
