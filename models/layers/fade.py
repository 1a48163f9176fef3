"""FADE: feature adaptive denormalization (Jiang et al. 2020)."""

from __future__ import annotations

import jittor as jt

from models.layers.convolution import Feature
from models.layers.normalization import Moments, NormName
from models.layers.spade import ModulatedNorm


class FADE(ModulatedNorm):
    """Feature adaptive denormalization: norm(x) * (1 + gamma(feature)) + beta(feature).

    Jiang et al. 2020, "TSIT: A Simple and Versatile Framework for Image-to-Image Translation",
    section 3.3. gamma and beta are one 3 x 3 convolution each, applied directly to the content
    feature. The '+1' is from the published code.
    """

    def __init__(self, channels: int, norm: NormName = "batch"):
        super().__init__(channels, channels, norm)

    def execute(
        self, x: jt.Var, feature: Feature, moments: Moments | None = None, slope: float = 1.0
    ) -> jt.Var:
        """x (N, C, h, w) and feature (N, C, h, w) -> (N, C, h, w).

        `moments` and `slope` are those of `SPADE.execute`.
        """
        return self.modulate(x, feature, moments, slope)
