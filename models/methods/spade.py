"""SPADE (GauGAN), with or without a style encoder."""

from __future__ import annotations

from typing import final

import jittor as jt
from jittor import nn

from models.layout import Content
from models.methods.base import Method
from models.networks.spade import SPADEGenerator


@final
class SpadeMethod(Method):
    """Park et al. 2019: the SPADE generator; with `vae` a style encoder is trained with it."""

    @property
    def needs_style(self) -> bool:
        return self.options.generator.vae

    def noise_shape(self, count: int) -> tuple[int, ...] | None:
        return None if self.latent_size is None else (count, self.latent_size)

    def create_generator(self) -> nn.Module:
        generator = self.options.generator
        return SPADEGenerator(
            layout_channels=self.layout_channels,
            channels=generator.channels,
            halvings=generator.halvings,
            size=self.size,
            latent_size=self.latent_size,
            norm=generator.norm,
        )

    def draw(self, layout: Content, style: jt.Var | None, noise: jt.Var | None) -> jt.Var:
        return self.networks["generator"](layout, noise)
