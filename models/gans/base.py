"""Base class of the methods: networks, losses and the order of the passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jittor as jt
from jittor import nn

from models import losses
from models.layouts.layout import Content, Layout, Photos
from models.networks.discriminator import Features, MultiScaleDiscriminator
from models.networks.encoder import StyleEncoder, sample_latent
from models.networks.feature_discriminator import FeatureDiscriminator
from models.networks.vgg import VGG19
from options.train import RunOptions

Losses = dict[str, jt.Var]

SEGMENTATION_LOSSES: dict[str, Callable[[jt.Var, jt.Var], jt.Var]] = {
    "cross_entropy": losses.segmentation_loss,
    "mask_probability": losses.mask_probability_loss,
}
# Networks that the discriminator's optimizer trains.
DISCRIMINATORS = ("discriminator", "segmenter_discriminator")


class FrozenSegmenter(Protocol):
    """A segmenter in evaluation mode: its parameters are constants.

    A call maps images (N, 3, H, W) in [-1, 1] to logits (N, K, h, w), `encoder` maps them to a list
    of feature maps, the finest first.
    """

    encoder: Any

    def __call__(self, image: jt.Var) -> jt.Var: ...


class Method(ABC):
    """A conditional GAN: generator (and style encoder) against a multi-scale patch discriminator.

    Generator loss: lambda_gan * GAN + lambda_feature * feature matching + lambda_vgg * perceptual +
    lambda_l1 * L1 (+ lambda_kl * KL) (+ lambda_segmentation * segmentation loss); losses of weight
    0 are left out. The discriminator sees an
    image generated anew after the generator's update, as published for SPADE and TSIT. pix2pix and
    pix2pixHD halve the discriminator loss, which changes no step of Adam; here it is not halved.

    Shapes: content is a layout (N, H, W) or photos (N, 3, H, W); images are (N, 3, H, W) in
    [-1, 1]. For translation the content is photos, and `image` holds the unpaired style photos.

    Attributes:
        options: the options of the run.
        vgg: VGG-19 of the perceptual loss; None leaves that loss out.
        segmenter: the frozen segmenter, see `use_segmenter`; None leaves its losses out.
        networks: 'generator', 'discriminator', with `vae` 'encoder', and with the segmenter as a
            discriminator 'segmenter_discriminator'.
    """

    def __init__(self, options: RunOptions, vgg: VGG19 | None):
        self.options = options
        self.vgg = vgg
        self.segmenter: FrozenSegmenter | None = None
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
        """Number of classes of a layout, an unknown class included."""
        return self.options.data.layout_classes

    @property
    def layout_channels(self) -> int:
        """Channels of the content: one-hot planes and instance edges, or the colors of a photo."""
        if self.options.data.content_kind == "photo":
            return Photos.CHANNELS
        return self.classes + self.options.data.instances

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images in pixels."""
        return self.options.data.height, self.options.data.width

    @property
    def needs_style(self) -> bool:
        """Whether `generate` without noise needs a style photo."""
        return self.options.generator.style != "none"

    @abstractmethod
    def noise_shape(self, count: int) -> tuple[int, ...] | None:
        """Shape of the standard normal noise for `count` images; None if none is used."""

    @abstractmethod
    def create_generator(self) -> nn.Module:
        """Creates the generator of the options."""

    def create_discriminator(self) -> MultiScaleDiscriminator:
        """Creates the discriminator of the options."""
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
        """Arguments of `MultiScaleDiscriminator` that differ from SPADE's."""
        return {}

    def use_segmenter(self, segmenter: FrozenSegmenter) -> None:
        """Adds a frozen segmenter: its loss, and its discriminator if the options ask for it."""
        self.segmenter = segmenter
        if self.options.discriminator.segmenter_discriminator:
            maps = segmenter.encoder(jt.zeros((1, 3, *self.size)))
            self.networks["segmenter_discriminator"] = FeatureDiscriminator(
                feature_channels=[int(x.shape[1]) for x in maps],
                channels=self.options.discriminator.discriminator_channels,
            )

    def perceptual_target(self, content: Content, image: jt.Var) -> jt.Var:
        """Target images (N, 3, H, W) of the perceptual loss."""
        return image

    def begin_stage(self, stage: str) -> None:
        """Selects the parameters to train: 'all', or a part that the method names.

        Raises:
            ValueError: the method has no such stage.
        """
        if stage != "all":
            raise ValueError(f"{self.options.generator.generator} has no stage {stage!r}")

    def stage_parameters(self) -> set[str]:
        """Names of the `generator_parameters` that the current stage trains."""
        return {name for name, _ in self.generator_parameters()}

    @abstractmethod
    def run_generator(self, content: Content, style: jt.Var | None, noise: jt.Var | None) -> jt.Var:
        """Generates images (N, 3, H, W); with an encoder `noise` is the style vector."""

    def generate(
        self, content: Content, style: jt.Var | None = None, noise: jt.Var | None = None
    ) -> jt.Var:
        """Generates images (N, 3, H, W) in [-1, 1].

        Args:
            content: layouts, or photos for translation.
            style: photos (N, 3, H, W) in [-1, 1]; required by a style stream, and by an encoder if
                `noise` is None.
            noise: standard normal, of `noise_shape`. If it is None, an encoder's mean style vector
                of `style` replaces it.
        """
        if noise is None and style is not None and "encoder" in self.networks:
            noise, _ = self.networks["encoder"](style)  # (N, latent_size)
        return self.run_generator(content, style, noise)

    def encode_style(self, style: jt.Var) -> list[jt.Var]:
        """Encodes photos (N, 3, H, W) as arrays that may be interpolated.

        The mean style vector, (N, latent_size); with TSIT's style stream, mean and deviation of
        each level, (N, C, 1, 1) each.
        """
        mean, _ = self.networks["encoder"](style)
        return [mean]

    def generate_in_style(
        self, content: Content, style: Sequence[jt.Var], noise: jt.Var | None
    ) -> jt.Var:
        """Generates images (N, 3, H, W) in a style of `encode_style`.

        A style vector replaces `noise`.
        """
        return self.run_generator(content, None, style[0])

    def reconstruct(self, content: Content, image: jt.Var) -> tuple[jt.Var, Losses]:
        """Generates images (N, 3, H, W) in the style of `image`, and the losses of the encoder."""
        if "encoder" in self.networks:
            mean, log_variance = self.networks["encoder"](image)  # (N, latent_size) each
            fake = self.run_generator(content, image, sample_latent(mean, log_variance))
            return fake, {"kl": self.options.loss.lambda_kl * losses.kl_loss(mean, log_variance)}
        shape = self.noise_shape(image.shape[0])
        return self.run_generator(content, image, None if shape is None else jt.randn(shape)), {}

    def generator_losses(self, content: Content, image: jt.Var) -> tuple[Losses, jt.Var]:
        """Weighted losses of generator and encoder, (1,) each, and the images (N, 3, H, W)."""
        weights = self.options.loss
        fake, result = self.reconstruct(content, image)
        fake_features, real_features = self._discriminate(content, fake, image)
        if weights.lambda_gan:
            loss = losses.generator_gan_loss(_scores(fake_features), weights.gan_loss)
            result["gan"] = weights.lambda_gan * loss
        if weights.lambda_feature:
            loss = losses.feature_matching_loss(fake_features, real_features)
            result["feature"] = weights.lambda_feature * loss
        if weights.lambda_vgg and self.vgg is not None:
            with jt.no_grad():
                target = self.vgg(self.perceptual_target(content, image))
            loss = losses.perceptual_loss(self.vgg(fake), target, weights.vgg_distance)
            result["vgg"] = weights.lambda_vgg * loss
        if weights.lambda_l1:
            result["l1"] = weights.lambda_l1 * losses.l1_loss(fake, image)
        return result | self._segmenter_losses(content, fake), fake

    def _segmenter_losses(self, content: Content, fake: jt.Var) -> Losses:
        """The losses of the generator that come from the frozen segmenter."""
        weights, segmenter = self.options.loss, self.segmenter
        result: Losses = {}
        if segmenter is None:
            return result
        if weights.lambda_segmentation:
            assert isinstance(content, Layout)  # the options allow no photos
            function = SEGMENTATION_LOSSES[weights.segmentation_loss]
            loss = function(segmenter(fake), content.ids)
            result["segmentation"] = weights.lambda_segmentation * loss
        discriminator = self.networks.get("segmenter_discriminator")
        if discriminator is not None and weights.lambda_gan:
            (scores,) = discriminator([segmenter.encoder(fake)])
            loss = losses.generator_gan_loss(scores, weights.gan_loss)
            result["gan_segmenter"] = weights.lambda_gan * loss
        return result

    def discriminator_losses(self, content: Content, image: jt.Var) -> Losses:
        """Losses of the discriminators, (1,) each: 'fake' on generated, 'real' on given images."""
        kind = self.options.loss.gan_loss
        with jt.no_grad():
            fake, _ = self.reconstruct(content, image)
        fake_features, real_features = self._discriminate(content, fake.detach(), image)
        result = {
            "fake": losses.discriminator_gan_loss(_scores(fake_features), kind, real=False),
            "real": losses.discriminator_gan_loss(_scores(real_features), kind, real=True),
        }
        discriminator = self.networks.get("segmenter_discriminator")
        if discriminator is not None:
            assert self.segmenter is not None
            with jt.no_grad():
                maps = [self.segmenter.encoder(x) for x in (fake, image)]
            of_fake, of_real = discriminator(maps)
            for name, scores in (("fake", of_fake), ("real", of_real)):
                loss = losses.discriminator_gan_loss(scores, kind, real=name == "real")
                result[f"{name}_segmenter"] = loss
        return result

    def _discriminate(
        self, content: Content, fake: jt.Var, real: jt.Var
    ) -> tuple[list[Features], list[Features]]:
        """Per scale the features of generated and of real images."""
        fake_features, real_features = self.networks["discriminator"](content, fake, real)
        return fake_features, real_features

    def generator_parameters(self) -> list[tuple[str, jt.Var]]:
        """Names and values of the trainable parameters of generator and encoder."""
        return [
            (f"{name}.{key}", parameter)
            for name, network in self.networks.items()
            if name not in DISCRIMINATORS
            for key, parameter in network.named_parameters()
            if not parameter.is_stop_grad()
        ]

    def discriminator_parameters(self) -> list[tuple[str, jt.Var]]:
        """Names and values of the trainable parameters of the discriminators."""
        return [
            (f"{name}.{key}", parameter)
            for name, network in self.networks.items()
            if name in DISCRIMINATORS
            for key, parameter in network.named_parameters()
            if not parameter.is_stop_grad()
        ]

    def train(self) -> None:
        """Sets every network to training mode."""
        for network in self.networks.values():
            network.train()

    def eval(self) -> None:
        """Sets every network to evaluation mode."""
        for network in self.networks.values():
            network.eval()


def _scores(features: list[Features]) -> list[jt.Var]:
    """The scores of each scale, (N, 1, h, w)."""
    return [outputs[-1] for outputs in features]
