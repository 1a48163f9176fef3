"""pix2pixHD: global generator and local enhancer, trained in stages (Wang et al. 2018)."""

from __future__ import annotations

from typing import Any, final

import jittor as jt
from jittor import nn

from models.gans.base import Losses, Method
from models.layers.resampling import pool_average
from models.layouts.layout import Content, Layout
from models.networks.pix2pixhd import Pix2PixHDGenerator
from models.networks.vgg import VGG19
from options.train import RunOptions

# Stage -> prefixes of the names of the parameters that it trains.
STAGES = {
    "global": ("generator.global_generator.",),
    "enhancer": ("generator.enhancer.",),
    "all": ("generator.",),
}
# The color layer of the global generator; the enhancer does not use it.
GLOBAL_LAST = "generator.global_generator.last."


@final
class Pix2PixHDMethod(Method):
    """Wang et al. 2018; published losses: least squares over three scales, feature matching, VGG.

    Section 3.1: stage 'global' trains the global generator at half the size; stage 'enhancer'
    trains the enhancer at full size with the global generator fixed; stage 'all' trains both. The
    discriminator is trained in every stage.
    """

    def __init__(self, options: RunOptions, vgg: VGG19 | None):
        super().__init__(options, vgg)
        self.stage = "all"

    @property
    def discriminator_variant(self) -> dict[str, Any]:
        return {"spectral": False}

    def noise_shape(self, count: int) -> tuple[int, ...] | None:
        return None

    def create_generator(self) -> nn.Module:
        generator = self.options.generator
        return Pix2PixHDGenerator(
            layout_channels=self.layout_channels,
            channels=generator.channels,
            num_downsamples=generator.num_downsamples,
        )

    def begin_stage(self, stage: str) -> None:
        if stage not in STAGES:
            raise ValueError(f"stage: expected one of {', '.join(STAGES)}, got {stage!r}")
        self.stage = stage
        alone = self.networks["generator"].global_alone
        alone.update(jt.array([float(stage == "global")]))

    def stage_parameters(self) -> set[str]:
        return {
            name
            for name, _ in self.generator_parameters()
            if name.startswith(STAGES[self.stage])
            and (self.stage == "global" or not name.startswith(GLOBAL_LAST))
        }

    def generate(
        self, content: Content, style: jt.Var | None = None, noise: jt.Var | None = None
    ) -> jt.Var:
        return self.networks["generator"](content)

    def run_generator(self, content: Content, style: jt.Var | None, noise: jt.Var | None) -> jt.Var:
        generator = self.networks["generator"]
        if self.stage == "global":
            return generator.run_global(content)
        return generator.run_full(content)

    def generator_losses(self, content: Content, image: jt.Var) -> tuple[Losses, jt.Var]:
        return super().generator_losses(*self._for_stage(content, image))

    def discriminator_losses(self, content: Content, image: jt.Var) -> Losses:
        return super().discriminator_losses(*self._for_stage(content, image))

    def _for_stage(self, content: Content, image: jt.Var) -> tuple[Content, jt.Var]:
        """Content and images at the size of the stage: half the size in stage 'global'."""
        if self.stage == "global":
            assert isinstance(content, Layout)  # translation is not a task of pix2pixHD
            return content.downsample(), pool_average(image)
        return content, image
