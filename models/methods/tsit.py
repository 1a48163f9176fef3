"""TSIT: layout or photograph as content, photograph as style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import jittor as jt
from jittor import nn

from models.layout import Content, Photographs
from models.methods.base import Method
from models.networks.tsit import TSITGenerator


@final
class TsitMethod(Method):
    """Jiang et al. 2020: in training the photograph of the pair is its own style.

    Translation (section 4.1, arbitrary style transfer): content and style are photographs that do
    not belong together. The discriminator sees pictures alone, the style photograph is the real
    one, and VGG compares the picture with the content.
    """

    @property
    def translates(self) -> bool:
        """Whether content is a photograph."""
        return self.options.data.task == "translation"

    @property
    def layout_channels(self) -> int:
        return Photographs.CHANNELS if self.translates else super().layout_channels

    @property
    def discriminator_variant(self) -> dict[str, Any]:
        return {"layout_channels": 0, "last_stride": 2} if self.translates else {}

    def perceptual_target(self, layout: Content, image: jt.Var) -> jt.Var:
        return layout.pictures if isinstance(layout, Photographs) else image

    @property
    def needs_style(self) -> bool:
        return self.options.generator.style_stream or self.options.generator.vae

    def noise_shape(self, count: int) -> tuple[int, ...] | None:
        if self.latent_size is not None:
            return (count, self.latent_size)
        if self.options.generator.start == "layout":
            return None
        return (count, TSITGenerator.NOISE_CHANNELS, *self.networks["generator"].lowest(self.size))

    def create_generator(self) -> nn.Module:
        generator = self.options.generator
        return TSITGenerator(
            layout_channels=self.layout_channels,
            channels=generator.channels,
            halvings=generator.halvings,
            size=self.size,
            latent_size=self.latent_size,
            style_stream=generator.style_stream,
            start=generator.start,
            fadain_alpha=generator.fadain_alpha,
            norm=generator.norm,
            content_channels=generator.content_channels,
        )

    def encode_style(self, style: jt.Var) -> list[jt.Var]:
        if self.latent_size is not None:
            return super().encode_style(style)
        levels = self.networks["generator"].style_statistics(style)
        return [value for level in levels for value in level]

    def draw_in_style(
        self, layout: Content, style: Sequence[jt.Var], noise: jt.Var | None
    ) -> jt.Var:
        if self.latent_size is not None:
            return super().draw_in_style(layout, style, noise)
        levels = list(zip(style[::2], style[1::2], strict=True))
        return self.networks["generator"](layout, None, noise, levels)

    def draw(self, layout: Content, style: jt.Var | None, noise: jt.Var | None) -> jt.Var:
        return self.networks["generator"](layout, style, noise)
