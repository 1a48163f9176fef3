"""pix2pix: a U-Net with dropout as noise, and one patch discriminator (Isola et al. 2017)."""

from __future__ import annotations

from typing import Any, final

import jittor as jt
from jittor import nn

from models.gans.base import Method
from models.layouts.layout import Content
from models.networks.pix2pix import UNetGenerator


@final
class Pix2PixMethod(Method):
    """Isola et al. 2017; the published losses are cross entropy and 100 * L1."""

    @property
    def discriminator_variant(self) -> dict[str, Any]:
        return {"spectral": False, "norm": self.options.generator.norm, "padding": 1}

    def noise_shape(self, count: int) -> tuple[int, ...] | None:
        return (count, self.networks["generator"].noise_length(self.size))

    def create_generator(self) -> nn.Module:
        generator = self.options.generator
        return UNetGenerator(
            layout_channels=self.layout_channels,
            channels=generator.channels,
            num_downsamples=generator.num_downsamples,
            norm=generator.norm,
        )

    def run_generator(self, content: Content, style: jt.Var | None, noise: jt.Var | None) -> jt.Var:
        return self.networks["generator"](content, noise)
