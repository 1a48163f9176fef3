"""FADE: scale and shift after a norm, convolved from a content feature (Jiang et al. 2020)."""

from __future__ import annotations

import jittor as jt

from models.layers.convolution import Feature
from models.layers.normalization import Moments, NormName
from models.layers.spade import ModulatedNorm


class FADE(ModulatedNorm):
    """Feature-adaptive denormalisation: norm(x) * (1 + gamma(feature)) + beta(feature).

    Jiang et al. 2020, "TSIT: A Simple and Versatile Framework for Image-to-Image Translation",
    section 3.3. x and feature: (N, C, h, w) both; gamma and beta are one 3 x 3 convolution each,
    with nothing between the content feature and them. The '+1' is the published code's.
    """

    def __init__(self, channels: int, norm: NormName = "batch"):
        super().__init__(channels, channels, norm)

    def execute(
        self, x: jt.Var, feature: Feature, moments: Moments | None = None, slope: float = 1.0
    ) -> jt.Var:
        """(N, C, h, w) -> (N, C, h, w); arguments as of `SPADE`."""
        return self.modulate(x, feature, moments, slope)
