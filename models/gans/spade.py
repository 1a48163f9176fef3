"""SPADE (GauGAN), with or without a style encoder (Park et al. 2019)."""

from __future__ import annotations

from typing import final

import jittor as jt
from jittor import nn

from models.gans.base import Method
from models.layouts.layout import Content
from models.networks.spade import SPADEGenerator


@final
class SpadeMethod(Method):
    """Park et al. 2019; with `vae` a style encoder is trained with the generator."""

    def noise_shape(self, count: int) -> tuple[int, ...] | None:
        return None if self.latent_size is None else (count, self.latent_size)

    def create_generator(self) -> nn.Module:
        generator = self.options.generator
        return SPADEGenerator(
            layout_channels=self.layout_channels,
            channels=generator.channels,
            num_downsamples=generator.num_downsamples,
            size=self.size,
            latent_size=self.latent_size,
            norm=generator.norm,
        )

    def run_generator(self, content: Content, style: jt.Var | None, noise: jt.Var | None) -> jt.Var:
        return self.networks["generator"](content, noise)
