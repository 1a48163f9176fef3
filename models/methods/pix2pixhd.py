"""pix2pixHD: global generator and local enhancer, trained one after the other, then together."""

from __future__ import annotations

from typing import Any, final

import jittor as jt
from jittor import nn

from models.layers.resampling import pool_average
from models.layout import Content, Layout
from models.methods.base import Losses, Method
from models.networks.pix2pixhd import Pix2PixHDGenerator
from options.run import RunOptions

# Stage -> the parameters that it trains, by how their names begin.
STAGES = {
    "global": ("generator.global_generator.",),
    "enhancer": ("generator.enhancer.",),
    "all": ("generator.",),
}
# The global generator's own colours, which the enhancer does not see.
GLOBAL_LAST = "generator.global_generator.last."


@final
class Pix2PixHDMethod(Method):
    """Wang et al. 2018; with its published options the losses are least squares over three scales,
    feature matching and VGG.

    Section 3.1: stage 'global' trains the global generator at half the size, stage 'enhancer' the
    enhancer at full size with the global generator as it is, stage 'all' both together. The
    discriminator learns in every stage.
    """

    def __init__(self, options: RunOptions, vgg: Any):
        super().__init__(options, vgg)
        self.stage = "all"

    @property
    def needs_style(self) -> bool:
        return False

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
            halvings=generator.halvings,
        )

    def begin_stage(self, stage: str) -> None:
        if stage not in STAGES:
            raise ValueError(f"the stages of pix2pixHD are {', '.join(STAGES)}: got {stage!r}")
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
        self, layout: Content, style: jt.Var | None = None, noise: jt.Var | None = None
    ) -> jt.Var:
        return self.networks["generator"](layout)

    def draw(self, layout: Content, style: jt.Var | None, noise: jt.Var | None) -> jt.Var:
        generator = self.networks["generator"]
        if self.stage == "global":
            return generator.draw_globally(layout)
        return generator.draw_whole(layout)

    def generator_losses(self, layout: Content, image: jt.Var) -> tuple[Losses, jt.Var]:
        return super().generator_losses(*self._for_stage(layout, image))

    def discriminator_losses(self, layout: Content, image: jt.Var) -> Losses:
        return super().discriminator_losses(*self._for_stage(layout, image))

    def _for_stage(self, layout: Content, image: jt.Var) -> tuple[Content, jt.Var]:
        if self.stage == "global":
            assert isinstance(layout, Layout)  # the other content is TSIT's
            return layout.halve(), pool_average(image)
        return layout, image
