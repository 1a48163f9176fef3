"""Losses of SPADE, TSIT, NIMA and segmenters as functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch.nn import functional as F

GanLoss = Literal["hinge", "least_squares", "cross_entropy", "wasserstein"]
Outputs = Sequence[Sequence[torch.Tensor]]

VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def _scores(
    scores: torch.Tensor, kind: GanLoss, real: bool, for_discriminator: bool
) -> torch.Tensor:
    if kind == "hinge":
        if for_discriminator:
            return -torch.clamp((scores if real else -scores) - 1, max=0).mean()
        return -scores.mean()
    if kind == "wasserstein":
        return -scores.mean() if real else scores.mean()
    target = torch.full_like(scores, 1.0 if real else 0.0)
    if kind == "least_squares":
        return F.mse_loss(scores, target)
    if kind == "cross_entropy":
        return F.binary_cross_entropy_with_logits(scores, target)
    raise ValueError(f"unknown GAN loss: {kind!r}")


def gan_loss(
    outputs: Outputs, kind: GanLoss, *, real: bool, for_discriminator: bool
) -> torch.Tensor:
    """Mean over the scales of the loss of each scale's scores, the last of its outputs.

    The generator's loss is the loss of fakes with `real` true and `for_discriminator` false.
    """
    if kind == "hinge" and not for_discriminator and not real:
        raise ValueError("hinge loss of the generator: expected real=True")
    losses = [_scores(scale[-1], kind, real, for_discriminator) for scale in outputs]
    return torch.stack(losses).mean()


def feature_matching(fake: Outputs, real: Outputs) -> torch.Tensor:
    """L1 between the feature maps of fakes and reals: summed over layers, mean over scales.

    pix2pixHD, equation 4. The scores are not compared; reals have no gradient.
    """
    total = fake[0][0].new_zeros(())
    for fake_scale, real_scale in zip(fake, real, strict=True):
        for ours, theirs in zip(fake_scale[:-1], real_scale[:-1], strict=True):
            total = total + F.l1_loss(ours, theirs.detach())
    return total / len(fake)


def perceptual(
    fake: Sequence[torch.Tensor],
    real: Sequence[torch.Tensor],
    *,
    distance: Literal["l1", "cosine"] = "l1",
) -> torch.Tensor:
    """Weighted sum of the distances of the five VGG maps, weights 1/32, 1/16, 1/8, 1/4, 1.

    'l1' is published. 'cosine' is one interpretation of "cosine similarity in feature space": 1
    minus the cosine of the two channel vectors at each position, averaged over positions and
    images, with lengths sqrt(sum of squares + 1e-8).
    """
    total = fake[0].new_zeros(())
    for weight, ours, theirs in zip(VGG_WEIGHTS, fake, real, strict=True):
        target = theirs.detach()
        if distance == "l1":
            total = total + weight * F.l1_loss(ours, target)
        else:
            lengths = torch.sqrt((ours * ours).sum(1) + 1e-8) * torch.sqrt(
                (target * target).sum(1) + 1e-8
            )
            total = total + weight * (1 - (ours * target).sum(1) / lengths).mean()
    return total


def l1(fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Isola et al. 2017, equation 3."""
    return F.l1_loss(fake, real)


def kl_divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """KL of N(mean, exp(log_variance)) from N(0, 1), summed over latents and batch."""
    return -0.5 * torch.sum(1 + log_variance - mean**2 - torch.exp(log_variance))


def segmentation(
    logits: torch.Tensor, labels: torch.Tensor, *, ignore_index: int = -100
) -> torch.Tensor:
    """Cross entropy of resized logits; the mean is over the pixels of other ids."""
    resized = F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=False)
    return F.cross_entropy(resized, labels, ignore_index=ignore_index)


def mask_probability(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log of the mean probability of the right class, over the pixels of the batch."""
    resized = F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=False)
    return -F.softmax(resized, dim=1).gather(1, labels[:, None]).mean().log()


def earth_movers_distance(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """NIMA, equation 1, with r = 2, averaged over images."""
    difference = torch.cumsum(predicted, dim=1) - torch.cumsum(target, dim=1)
    return difference.square().mean(dim=1).sqrt().mean()
