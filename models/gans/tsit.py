"""TSIT: a layout or a photo as content, a photo as style (Jiang et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import jittor as jt
from jittor import nn

from models.gans.base import Method
from models.layouts.layout import Content, Photos
from models.networks.tsit import TSITGenerator
from options.generators import ContentKind

# Arguments of the discriminator that differ from SPADE's. For photos as content it scores images
# alone, and the stride is that of the published code.
DISCRIMINATORS: dict[ContentKind, dict[str, Any]] = {
    "layout": {},
    "photo": {"layout_channels": 0, "last_stride": 2},
}


@final
class TsitMethod(Method):
    """Jiang et al. 2020; in training the photo of a pair is its own style.

    Translation (section 4.1, arbitrary style transfer): content and style are unpaired photos. The
    style photo is the real image of the discriminator, the content photo the target of the
    perceptual loss.
    """

    @property
    def discriminator_variant(self) -> dict[str, Any]:
        return DISCRIMINATORS[self.options.data.content_kind]

    def perceptual_target(self, content: Content, image: jt.Var) -> jt.Var:
        return content.images if isinstance(content, Photos) else image

    def noise_shape(self, count: int) -> tuple[int, ...] | None:
        if self.latent_size is not None:
            return (count, self.latent_size)
        if self.options.generator.start == "layout":
            return None
        size = self.networks["generator"].coarsest_size(self.size)
        return (count, TSITGenerator.NOISE_CHANNELS, *size)

    def create_generator(self) -> nn.Module:
        generator = self.options.generator
        return TSITGenerator(
            layout_channels=self.layout_channels,
            channels=generator.channels,
            num_downsamples=generator.num_downsamples,
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

    def generate_in_style(
        self, content: Content, style: Sequence[jt.Var], noise: jt.Var | None
    ) -> jt.Var:
        if self.latent_size is not None:
            return super().generate_in_style(content, style, noise)
        levels = list(zip(style[::2], style[1::2], strict=True))
        return self.networks["generator"](content, None, noise, levels)

    def run_generator(self, content: Content, style: jt.Var | None, noise: jt.Var | None) -> jt.Var:
        return self.networks["generator"](content, style, noise)
