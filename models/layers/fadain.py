"""FAdaIN: feature adaptive instance normalization (Jiang et al. 2020)."""

from __future__ import annotations

import jittor as jt

from models.kernels.reduction import broadcast_to_rows, mean_of_pixels

EPSILON = 1e-5

# Mean and deviation, each (N, C, 1, 1).
Statistics = tuple[jt.Var, jt.Var]


def fadain(content: jt.Var, style: jt.Var | Statistics, alpha: float = 1.0) -> jt.Var:
    """Transfers the mean and deviation of each channel of `style` to `content`: (N, C, h, w).

    Jiang et al. 2020, "TSIT: A Simple and Versatile Framework for Image-to-Image Translation",
    section 3.3: alpha * (deviation(style) * (content - mean(content)) / deviation(content)
    + mean(style)) + (1 - alpha) * content, after Huang and Belongie 2017 (AdaIN). Deviations are
    sqrt(unbiased variance + 1e-5) over the pixels, as published.

    Args:
        content: (N, C, h, w).
        style: (N, C, h', w'), or its `statistics`.
        alpha: strength, 0..1.

    Raises:
        ValueError: a feature has one pixel and therefore no deviation.
    """
    content_mean, content_deviation = statistics(content, "content")
    style_mean, style_deviation = style if isinstance(style, tuple) else statistics(style, "style")
    styled = (content - content_mean) * (style_deviation / content_deviation) + style_mean
    return styled if alpha == 1.0 else alpha * styled + (1.0 - alpha) * content


def statistics(feature: jt.Var, name: str = "style") -> Statistics:
    """Mean and deviation per channel of (N, C, h, w): the statistics of a style for FAdaIN.

    `name` is the name of the feature in the error message.

    Raises:
        ValueError: the feature has one pixel.
    """
    if feature.shape[2] * feature.shape[3] < 2:
        raise ValueError(
            f"FAdaIN: expected a {name} feature of at least 2 pixels, got 1. Use fewer downsamples "
            "or a larger image"
        )
    mean = mean_of_pixels(feature)
    centered = feature - broadcast_to_rows(mean, feature)
    pixels = feature.shape[2] * feature.shape[3]
    variance = mean_of_pixels(centered * centered) * (pixels / (pixels - 1))
    return mean, jt.sqrt(variance + EPSILON)
