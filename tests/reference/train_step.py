"""One update of the generator, then one of the discriminator, as in SPADE's trainer.

pix2pix and pix2pixHD use the same order.
"""

from __future__ import annotations

import torch
from torch import nn

from .discriminator import discriminate
from .encoder import sample_latent
from .losses import (
    GanLoss,
    feature_matching,
    gan_loss,
    kl_divergence,
    l1,
    mask_probability,
    perceptual,
    segmentation,
)
from .segformer import SegFormer, standardize
from .tsit import TSITGenerator


class Trainer:
    """Networks, losses and the two Adam optimizers of the published training.

    With `apart` the discriminator receives fakes and reals in separate batches (pix2pix). With
    `translation`, TSIT's style transfer, the condition is a content photo and the image an unpaired
    style photo: the discriminator scores images alone, and the perceptual loss compares the fake
    with the content.

    `segmenter` is frozen, in evaluation mode. Its loss compares the fake with the classes, the
    first planes of the condition; `heads` are a second discriminator, of its encoder's maps.

    With `ttur` the learning rates are learning_rate / 2 for the generator (and encoder) and
    learning_rate * 2 for the discriminator.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        encoder: nn.Module | None = None,
        vgg: nn.Module | None = None,
        kind: GanLoss = "hinge",
        lambda_gan: float = 1.0,
        lambda_l1: float = 0.0,
        lambda_feature: float = 10.0,
        lambda_vgg: float = 10.0,
        lambda_kl: float = 0.05,
        learning_rate: float = 2e-4,
        betas: tuple[float, float] = (0.0, 0.9),
        ttur: bool = True,
        apart: bool = False,
        translation: bool = False,
        segmenter: SegFormer | None = None,
        heads: nn.Module | None = None,
        lambda_segmentation: float = 0.0,
        segmentation_loss: str = "cross_entropy",
    ) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self.encoder = encoder
        self.vgg = vgg
        self.kind: GanLoss = kind
        self.apart = apart
        self.translation = translation
        self.segmenter = segmenter
        self.heads = heads
        self.lambda_segmentation = lambda_segmentation
        self.segmentation = (
            segmentation if segmentation_loss == "cross_entropy" else mask_probability
        )
        self.lambda_gan = lambda_gan
        self.lambda_l1 = lambda_l1
        self.lambda_feature = lambda_feature
        self.lambda_vgg = lambda_vgg
        self.lambda_kl = lambda_kl
        parameters = list(generator.parameters())
        if encoder is not None:
            parameters += list(encoder.parameters())
        factor = 2.0 if ttur else 1.0
        self.generator_optimizer = torch.optim.Adam(
            parameters, lr=learning_rate / factor, betas=betas
        )
        trained = list(discriminator.parameters())
        if heads is not None:
            trained += list(heads.parameters())
        self.discriminator_optimizer = torch.optim.Adam(
            trained, lr=learning_rate * factor, betas=betas
        )

    def generate(
        self, condition: torch.Tensor, image: torch.Tensor, noise: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The fake, and the weighted KL loss if there is an encoder.

        noise: the noise of the encoder's latent; without encoder the generator's z.
        """
        z, kl = noise, None
        if self.encoder is not None:
            mean, log_variance = self.encoder(image)
            z = sample_latent(
                mean, log_variance, torch.randn_like(mean) if noise is None else noise
            )
            kl = self.lambda_kl * kl_divergence(mean, log_variance)
        if isinstance(self.generator, TSITGenerator):
            return self.generator(condition, image, z), kl
        return (self.generator(condition) if z is None else self.generator(condition, z)), kl

    def discriminate(
        self, condition: torch.Tensor, fake: torch.Tensor, real: torch.Tensor
    ) -> tuple[list[list[torch.Tensor]], list[list[torch.Tensor]]]:
        if self.translation:
            condition = condition[:, :0]
        if not self.apart:
            return discriminate(self.discriminator, condition, fake, real)
        of_fake, of_real = (
            self.discriminator(torch.cat([condition, x], dim=1)) for x in (fake, real)
        )
        return of_fake, of_real

    def score_features(self, image: torch.Tensor) -> list[list[torch.Tensor]]:
        assert self.segmenter is not None and self.heads is not None
        return self.heads(self.segmenter.backbone(standardize(image)))

    def generator_step(
        self, condition: torch.Tensor, image: torch.Tensor, noise: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Updates the generator (and encoder); returns the weighted losses."""
        self.generator_optimizer.zero_grad()
        fake, kl = self.generate(condition, image, noise)
        fake_outputs, real_outputs = self.discriminate(condition, fake, image)
        losses: dict[str, torch.Tensor] = {}
        if kl is not None:
            losses["kl"] = kl
        adversarial = gan_loss(fake_outputs, self.kind, real=True, for_discriminator=False)
        losses["gan"] = self.lambda_gan * adversarial
        if self.lambda_feature:
            losses["feature"] = self.lambda_feature * feature_matching(fake_outputs, real_outputs)
        if self.lambda_l1:
            losses["l1"] = self.lambda_l1 * l1(fake, image)
        if self.vgg is not None:
            target = condition if self.translation else image
            losses["vgg"] = self.lambda_vgg * perceptual(self.vgg(fake), self.vgg(target))
        if self.segmenter is not None and self.lambda_segmentation:
            logits = self.segmenter(standardize(fake))
            ids = condition[:, : logits.shape[1]].argmax(dim=1)
            losses["segmentation"] = self.lambda_segmentation * self.segmentation(logits, ids)
        if self.heads is not None:
            adversarial = gan_loss(
                self.score_features(fake), self.kind, real=True, for_discriminator=False
            )
            losses["gan_segmenter"] = self.lambda_gan * adversarial
        torch.stack(list(losses.values())).sum().backward()
        self.generator_optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def discriminator_step(
        self, condition: torch.Tensor, image: torch.Tensor, noise: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Updates the discriminator on new fakes of the updated generator.

        The generator stays in training mode: this pass updates its running statistics and its
        spectral vectors a second time.
        """
        self.discriminator_optimizer.zero_grad()
        with torch.no_grad():
            fake, _ = self.generate(condition, image, noise)
        fake_outputs, real_outputs = self.discriminate(condition, fake, image)
        losses = {
            "fake": gan_loss(fake_outputs, self.kind, real=False, for_discriminator=True),
            "real": gan_loss(real_outputs, self.kind, real=True, for_discriminator=True),
        }
        if self.heads is not None:
            # One batch: one power iteration.
            both = self.score_features(torch.cat([fake, image]))
            count = fake.shape[0]
            for name, part in (("fake", slice(count)), ("real", slice(count, None))):
                outputs = [[scores[part] for scores in scale] for scale in both]
                losses[f"{name}_segmenter"] = gan_loss(
                    outputs, self.kind, real=name == "real", for_discriminator=True
                )
        torch.stack(list(losses.values())).sum().backward()
        self.discriminator_optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}
