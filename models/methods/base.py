"""What every method shares: its networks, its losses and the order of its passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import jittor as jt
from jittor import nn

from models import losses
from models.layout import Content
from models.networks.discriminator import MultiScaleDiscriminator
from models.networks.encoder import StyleEncoder, sample_latent
from models.networks.vgg import VGG19
from options.run import RunOptions

Losses = dict[str, jt.Var]


class Method(ABC):
    """A conditional GAN: generator (and encoder) against a multi-scale patch discriminator.

    Losses: lambda_gan * GAN + lambda_feature * feature matching + lambda_vgg * perceptual +
    lambda_l1 * L1 (+ lambda_kl * KL), those of weight 0 left out. The discriminator sees a picture
    generated anew, after the generator's update, as published for SPADE and TSIT. pix2pix and
    pix2pixHD halve its loss, which changes no step of Adam; here it is not halved.

    Where TSIT translates, `layout` is photographs as content, and `image` photographs of the style.

    Attributes:
        networks: by name, 'generator', 'discriminator' and, where there is one, 'encoder'.
    """

    def __init__(self, options: RunOptions, vgg: VGG19 | None):
        self.options = options
        self.vgg = vgg
        self.networks: dict[str, nn.Module] = {
            "generator": self.create_generator(),
            "discriminator": self.create_discriminator(),
        }
        generator = options.generator
        if generator.vae:
            self.networks["encoder"] = StyleEncoder(
                channels=generator.channels, latent_size=generator.latent_size
            )

    @property
    def latent_size(self) -> int | None:
        """Length of the style vector; None without a style encoder."""
        generator = self.options.generator
        return generator.latent_size if generator.vae else None

    @property
    def classes(self) -> int:
        """Classes of a layout, an unknown class included."""
        return self.options.data.layout_classes

    @property
    def layout_channels(self) -> int:
        """Depth of the layout's one-hot planes, instance edges included."""
        return self.classes + self.options.data.instances

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the pictures in pixels."""
        return self.options.data.height, self.options.data.width

    @property
    @abstractmethod
    def needs_style(self) -> bool:
        """Whether `generate` reads a style photograph when it is given no noise."""

    @abstractmethod
    def noise_shape(self, count: int) -> tuple[int, ...] | None:
        """Shape of the normal noise that `count` pictures take; None where there is none."""

    @abstractmethod
    def create_generator(self) -> nn.Module:
        """The generator that the options describe."""

    def create_discriminator(self) -> MultiScaleDiscriminator:
        """The discriminator that the options describe."""
        discriminator = self.options.discriminator
        variant = {"layout_channels": self.layout_channels, **self.discriminator_variant}
        return MultiScaleDiscriminator(
            channels=discriminator.discriminator_channels,
            layers=discriminator.discriminator_layers,
            scales=discriminator.discriminator_scales,
            **variant,
        )

    @property
    def discriminator_variant(self) -> dict[str, Any]:
        """What of the discriminator is this method's own: `spectral`, `norm`, `padding` ..."""
        return {}

    def perceptual_target(self, layout: Content, image: jt.Var) -> jt.Var:
        """The pictures (N, 3, H, W) that the generated ones are to look like to VGG."""
        return image

    def begin_stage(self, stage: str) -> None:
        """Train what a phase's stage names: 'all', or a part of it that the method knows.

        Raises ValueError for a stage that this method has not.
        """
        if stage != "all":
            raise ValueError(f"{self.options.generator.generator} has no stage {stage!r}")

    def stage_parameters(self) -> set[str]:
        """The names of those of `generator_parameters` that the present stage trains."""
        return {name for name, _ in self.generator_parameters()}

    @abstractmethod
    def draw(self, layout: Content, style: jt.Var | None, noise: jt.Var | None) -> jt.Var:
        """The generator's pictures; `noise` is the style vector where there is an encoder."""

    def generate(
        self, layout: Content, style: jt.Var | None = None, noise: jt.Var | None = None
    ) -> jt.Var:
        """Pictures (N, 3, H, W) in [-1, 1]; style (N, 3, H, W), noise of `noise_shape`.

        With an encoder and no noise the style vector is the mean that the encoder sees in `style`.
        """
        if noise is None and style is not None and "encoder" in self.networks:
            noise, _ = self.networks["encoder"](style)
        return self.draw(layout, style, noise)

    def encode_style(self, style: jt.Var) -> list[jt.Var]:
        """What pictures take of photographs (N, 3, H, W): numbers that may be mixed with others'.

        The mean of the style vector, or of each level of TSIT's style stream mean and deviation.
        """
        mean, _ = self.networks["encoder"](style)
        return [mean]

    def draw_in_style(
        self, layout: Content, style: Sequence[jt.Var], noise: jt.Var | None
    ) -> jt.Var:
        """Pictures in a style of `encode_style`; `noise` where a style is no vector."""
        return self.draw(layout, None, style[0])

    def reconstruct(self, layout: Content, image: jt.Var) -> tuple[jt.Var, Losses]:
        """Pictures in the style of photographs (N, 3, H, W), and the losses of encoding it."""
        if "encoder" in self.networks:
            mean, log_variance = self.networks["encoder"](image)
            fake = self.draw(layout, image, sample_latent(mean, log_variance))
            return fake, {"kl": self.options.loss.lambda_kl * losses.kl_loss(mean, log_variance)}
        shape = self.noise_shape(image.shape[0])
        return self.draw(layout, image, None if shape is None else jt.randn(shape)), {}

    def generator_losses(self, layout: Content, image: jt.Var) -> tuple[Losses, jt.Var]:
        """Weighted losses of generator and encoder, and the generated pictures (N, 3, H, W)."""
        weights = self.options.loss
        fake, result = self.reconstruct(layout, image)
        fake_features, real_features = self._discriminate(layout, fake, image)
        if weights.lambda_gan:
            loss = losses.generator_gan_loss(_scores(fake_features), weights.gan_loss)
            result["gan"] = weights.lambda_gan * loss
        if weights.lambda_feature:
            loss = losses.feature_matching_loss(fake_features, real_features)
            result["feature"] = weights.lambda_feature * loss
        if weights.lambda_vgg and self.vgg is not None:
            with jt.no_grad():
                target = self.vgg(self.perceptual_target(layout, image))
            loss = losses.perceptual_loss(self.vgg(fake), target, weights.vgg_distance)
            result["vgg"] = weights.lambda_vgg * loss
        if weights.lambda_l1:
            result["l1"] = weights.lambda_l1 * losses.l1_loss(fake, image)
        return result, fake

    def discriminator_losses(self, layout: Content, image: jt.Var) -> Losses:
        """Losses of the discriminator on generated ('fake') and given ('real') pictures."""
        kind = self.options.loss.gan_loss
        with jt.no_grad():
            fake, _ = self.reconstruct(layout, image)
        fake_features, real_features = self._discriminate(layout, fake.detach(), image)
        return {
            "fake": losses.discriminator_gan_loss(_scores(fake_features), kind, real=False),
            "real": losses.discriminator_gan_loss(_scores(real_features), kind, real=True),
        }

    def _discriminate(self, layout: Content, fake: jt.Var, real: jt.Var) -> tuple[list, list]:
        fake_features, real_features = self.networks["discriminator"](layout, fake, real)
        return fake_features, real_features

    def generator_parameters(self) -> list[tuple[str, jt.Var]]:
        """The trainable parameters of generator and encoder, by name."""
        return [
            (f"{name}.{key}", parameter)
            for name, network in self.networks.items()
            if name != "discriminator"
            for key, parameter in network.named_parameters()
            if not parameter.is_stop_grad()
        ]

    def discriminator_parameters(self) -> list[tuple[str, jt.Var]]:
        """The trainable parameters of the discriminator, by name."""
        return [
            (f"discriminator.{key}", parameter)
            for key, parameter in self.networks["discriminator"].named_parameters()
            if not parameter.is_stop_grad()
        ]

    def train(self) -> None:
        """Put every network into training mode."""
        for network in self.networks.values():
            network.train()

    def eval(self) -> None:
        """Put every network into evaluation mode."""
        for network in self.networks.values():
            network.eval()


def _scores(features: list[list[jt.Var]]) -> list[jt.Var]:
    return [outputs[-1] for outputs in features]
