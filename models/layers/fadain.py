"""FAdaIN: adaptive instance normalisation of feature maps at every scale (Jiang et al. 2020)."""

from __future__ import annotations

import jittor as jt

from models.layers.reduction import for_rows, mean_of_pixels

EPSILON = 1e-5


Statistics = tuple[jt.Var, jt.Var]


def fadain(content: jt.Var, style: jt.Var | Statistics, alpha: float = 1.0) -> jt.Var:
    """Give each channel of `content` the mean and deviation of `style`, mixed in by alpha.

    TSIT section 3.3: alpha * (deviation(style) * (content - mean(content)) / deviation(content)
    + mean(style)) + (1 - alpha) * content, after Huang and Belongie 2017 (AdaIN). Deviations are
    sqrt(unbiased variance + 1e-5) over the pixels, as published. content (N, C, h, w), style
    (N, C, h', w') or its `statistics`, alpha in 0..1.

    Raises:
        ValueError: a feature of one pixel, which has no deviation.
    """
    content_mean, content_deviation = statistics(content, "content")
    style_mean, style_deviation = style if isinstance(style, tuple) else statistics(style, "style")
    styled = (content - content_mean) * (style_deviation / content_deviation) + style_mean
    return styled if alpha == 1.0 else alpha * styled + (1.0 - alpha) * content


def statistics(feature: jt.Var, name: str = "style") -> Statistics:
    """Mean and deviation a channel, each (N, C, 1, 1): all that FAdaIN takes of a style.

    Raises:
        ValueError: a feature of one pixel; `name` says which.
    """
    if feature.shape[2] * feature.shape[3] < 2:
        raise ValueError(
            f"FAdaIN needs a {name} feature of at least 2 pixels, got 1: use fewer halvings "
            "or a larger picture"
        )
    mean = mean_of_pixels(feature)
    centred = feature - for_rows(mean, feature)
    pixels = feature.shape[2] * feature.shape[3]
    variance = mean_of_pixels(centred * centred) * (pixels / (pixels - 1))
    return mean, jt.sqrt(variance + EPSILON)
