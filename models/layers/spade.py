"""SPADE: spatially-adaptive normalization (Park et al. 2019)."""

from __future__ import annotations

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, Feature, convolve
from models.layers.normalization import Moments, NormName, create_norm, normalize
from models.layouts.layout import Layout
from models.layouts.tabulated_feature import TabulatedFeature

HIDDEN_CHANNELS = 128


class ModulatedNorm(nn.Module):
    """Base of SPADE and FADE: norm(x) * (1 + gamma(feature)) + beta(feature).

    gamma and beta are one 3 x 3 convolution each.

    Args:
        channels: of x.
        in_channels: of the feature.
        norm: the parameter-free norm.
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
        """x (N, channels, h, w) and feature (N, in_channels, h, w) -> (N, channels, h, w).

        Computes both convolutions as one, and a leaky ReLU of negative `slope` in the pass of the
        norm.
        """
        weight, bias = self._joined or self._join()
        modulation = convolve(feature, weight, padding=1)  # (N, 2 * channels, h, w)
        return normalize(x, self.norm.statistics(x, moments), modulation, bias, slope)

    def _join(self) -> tuple[jt.Var, jt.Var]:
        """Weights (2 * channels, in_channels, 3, 3) and biases (2 * channels,) of both."""
        gamma, beta = self.gamma, self.beta
        return jt.concat([gamma.weight, beta.weight]), jt.concat([gamma.bias, beta.bias])

    def prepare_for_inference(self) -> None:
        """Joins the weights of both convolutions."""
        self._joined = self._join()


class SPADE(ModulatedNorm):
    """Spatially-adaptive normalization: norm(x) * (1 + gamma(layout)) + beta(layout).

    Park et al. 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization", equation 1
    and figure 2; the '+1' is from the published code. The layout is sampled to the size of x by
    nearest neighbor. Its one-hot planes pass a 3 x 3 convolution to 128 channels and ReLU, then one
    3 x 3 convolution each for gamma and beta.
    """

    def __init__(self, channels: int, layout_channels: int, norm: NormName = "batch"):
        super().__init__(channels, HIDDEN_CHANNELS, norm)
        self.shared = Conv2d(layout_channels, HIDDEN_CHANNELS, 3, padding=1)

    def execute(
        self, x: jt.Var, layout: Layout, moments: Moments | None = None, slope: float = 1.0
    ) -> jt.Var:
        """x (N, C, h, w) and a layout (N, H, W) of any size -> (N, C, h, w).

        Args:
            moments: mean and variance of x if a sibling layer has computed them already.
            slope: negative slope of the leaky ReLU after the norm; 1 for none.
        """
        hidden = self.shared(layout.feature((x.shape[2], x.shape[3])))  # (N, 128, h, w)
        hidden = hidden.map(nn.relu) if isinstance(hidden, TabulatedFeature) else nn.relu(hidden)
        return self.modulate(x, hidden, moments, slope)
