"""Losses as pure functions of network outputs; each returns a scalar of shape (1,)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jittor as jt
import numpy as np
from jittor import nn

from models.kernels import fused
from models.kernels.class_probabilities import PixelSums, Term
from models.layers.resampling import resize_bilinear

GanLoss = Literal["hinge", "least_squares", "cross_entropy", "wasserstein"]
VggDistance = Literal["l1", "cosine"]

# Wang et al. 2018 (pix2pixHD), of relu1_1 ... relu5_1.
VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def generator_gan_loss(scores: Sequence[jt.Var], kind: GanLoss) -> jt.Var:
    """Generator adversarial loss, averaged over scales.

    hinge (Lim and Ye 2017) and wasserstein (Arjovsky et al. 2017): -mean(D); least_squares (Mao et
    al. 2017): mean((D - 1)^2); cross_entropy (Goodfellow et al. 2014): mean(softplus(-D)).

    Args:
        scores: D of generated images, (N, 1, h, w) per scale.
    """
    if kind in ("hinge", "wasserstein"):
        terms = [-score.mean() for score in scores]
    else:
        terms = [_score_loss(score, kind, real=True) for score in scores]
    return _mean(terms)


def discriminator_gan_loss(scores: Sequence[jt.Var], kind: GanLoss, *, real: bool) -> jt.Var:
    """Discriminator adversarial loss of real or of generated images, averaged over scales.

    hinge: mean(max(0, 1 - D)) for real images, mean(max(0, 1 + D)) for generated ones;
    wasserstein: -mean(D), mean(D); least_squares: mean((D - 1)^2), mean(D^2); cross_entropy:
    mean(softplus(-D)), mean(softplus(D)). Papers as for `generator_gan_loss`.

    Args:
        scores: D of the images, (N, 1, h, w) per scale.
        real: whether the images are real.
    """
    return _mean([_score_loss(score, kind, real=real) for score in scores])


def _score_loss(score: jt.Var, kind: GanLoss, *, real: bool) -> jt.Var:
    """Loss of one scale for scores that should tell real, or generated."""
    sign = -1.0 if real else 1.0
    if kind == "hinge":
        return jt.maximum(1.0 + sign * score, 0.0).mean()
    if kind == "wasserstein":
        return (sign * score).mean()
    if kind == "least_squares":
        distance = score - (1.0 if real else 0.0)
        return (distance * distance).mean()
    # softplus(x) = max(x, 0) + log(1 + exp(-|x|)) overflows for no score.
    x = sign * score
    return (jt.maximum(x, 0.0) + jt.log(1.0 + jt.exp(-jt.abs(x)))).mean()


def feature_matching_loss(
    fake: Sequence[Sequence[jt.Var]], real: Sequence[Sequence[jt.Var]]
) -> jt.Var:
    """L1 distance of the discriminators' features, summed over layers and averaged over scales.

    Wang et al. 2018, equation 3, as published: every layer except the scores. `real` is constant.

    Args:
        fake, real: for each scale the outputs of every layer, the scores last.
    """
    terms = [
        (a - b.detach()).abs().mean()
        for fakes, reals in zip(fake, real, strict=True)
        for a, b in zip(fakes[:-1], reals[:-1], strict=True)
    ]
    return sum(terms[1:], start=terms[0]) / len(fake)


def perceptual_loss(
    fake: Sequence[jt.Var], real: Sequence[jt.Var], distance: VggDistance = "l1"
) -> jt.Var:
    """Weighted distance of VGG-19 features, weights 1/32, 1/16, 1/8, 1/4, 1 from fine to coarse.

    'l1': mean absolute difference (Johnson et al. 2016; Wang et al. 2018). 'cosine': 1 - cosine
    similarity of the channel vectors, averaged over pixels. `real` is constant.

    Args:
        fake, real: the five feature maps of `VGG19`.
    """
    measure = _l1 if distance == "l1" else _cosine
    terms = [
        weight * measure(a, b.detach())
        for weight, a, b in zip(VGG_WEIGHTS, fake, real, strict=True)
    ]
    return sum(terms[1:], start=terms[0])


def _l1(a: jt.Var, b: jt.Var) -> jt.Var:
    return (a - b).abs().mean()


def _cosine(a: jt.Var, b: jt.Var) -> jt.Var:
    product = (a * b).sum(dim=1)  # (N, h, w)
    lengths = jt.sqrt((a * a).sum(dim=1) * (b * b).sum(dim=1) + 1e-16)
    return (1.0 - product / lengths).mean()


def l1_loss(fake: jt.Var, real: jt.Var) -> jt.Var:
    """Mean absolute difference of images (N, 3, H, W); `real` is constant.

    Isola et al. 2017, equation 3.
    """
    return _l1(fake, real.detach())


def kl_loss(mean: jt.Var, log_variance: jt.Var) -> jt.Var:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), summed over (N, latent_size).

    Kingma and Welling 2014, appendix B: -1/2 sum(1 + log_variance - mean^2 - exp(log_variance)).
    """
    return -0.5 * (1.0 + log_variance - mean * mean - jt.exp(log_variance)).sum()


def segmentation_loss(logits: jt.Var, target: jt.Var, ignored: int | None = None) -> jt.Var:
    """Cross entropy of logits that are resized bilinearly to the layout, averaged over pixels.

    Long et al. 2015; at the size of the layout as in SegFormer's training (Xie et al. 2021).

    Args:
        logits: (N, K, h, w).
        target: int32 (N, H, W) of ids 0..K-1, or `ignored`.
        ignored: id of pixels without a loss; the mean is over the others, 0 if there are none.
    """
    if ignored is None:
        return _pixel_sums(logits, target, "negative_log").sum() / target.numel()
    kept = target != ignored  # (N, H, W)
    labels = jt.ternary(kept, target, jt.full_like(target, -1))
    sums = _pixel_sums(logits, labels, "negative_log")
    return sums.sum() / jt.maximum(kept.float32().sum(), 1.0)


def mask_probability_loss(logits: jt.Var, target: jt.Var) -> jt.Var:
    """-log m; m is the mean probability of the right class, a differentiable mask accuracy.

    The contest's score is m * rest. Its logarithm is log m + log(rest): the gradient of m does not
    depend on the rest, and is large if m is small.

    Args:
        logits: (N, K, h, w), resized bilinearly to the layout.
        target: int32 (N, H, W) of ids 0..K-1.
    """
    probability = _pixel_sums(logits, target, "probability").sum() / target.numel()
    return -jt.log(probability + 1e-12)  # finite if float32 rounds every probability to 0


def _pixel_sums(logits: jt.Var, target: jt.Var, term: Term) -> jt.Var:
    """Sums over the pixels of each image, (N,); pixels of an id outside 0..K-1 add 0."""
    if fused.available():
        return PixelSums(term)(logits, target)
    classes, size = logits.shape[1], tuple(target.shape[1:])
    x = resize_bilinear(logits, size)  # (N, K, H, W)
    x = x - x.max(dim=1, keepdims=True).detach()
    own = x.reindex(target.shape, ["i0", "@e0(i0,i1,i2)", "i1", "i2"], extras=[target])
    log_p = own - jt.log(jt.exp(x).sum(dim=1))  # (N, H, W)
    counts = jt.logical_and(target >= 0, target < classes).float32()
    values = -log_p if term == "negative_log" else jt.exp(log_p)
    return (values * counts).sum(dims=(1, 2))


def emd_loss(predicted: jt.Var, target: jt.Var) -> jt.Var:
    """Earth mover's distance of ordered distributions, averaged over images; `target` is constant.

    Talebi and Milanfar 2018, equation 1, with r = 2: the root of the mean squared difference of the
    cumulative distributions.

    Args:
        predicted, target: probabilities of K ordered classes, (N, K).
    """
    classes = predicted.shape[1]
    cumulate = jt.array(np.triu(np.ones((classes, classes), np.float32)))
    difference = nn.matmul(predicted - target.detach(), cumulate)  # of cumulative distributions
    squares = (difference * difference).mean(dim=1)  # (N,)
    # The root has no gradient at 0. Rounding alone makes squares of 1e-15.
    return jt.sqrt(jt.maximum(squares, 1e-20)).mean()


def _mean(terms: list[jt.Var]) -> jt.Var:
    return sum(terms[1:], start=terms[0]) / len(terms)
