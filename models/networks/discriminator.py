"""Patch discriminators of pix2pix, pix2pixHD, SPADE and TSIT, at one scale or several."""

from __future__ import annotations

from collections.abc import Sequence

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, Feature, add_bias, convolve
from models.layers.normalization import NormName, ScaledNorm, instance_norm
from models.layers.resampling import pool_average
from models.layers.residual import SLOPE, leaky_relu
from models.layouts.layout import Content
from models.layouts.tabulated_feature import dense

KERNEL_SIZE = 4
WIDEST = 512

# The outputs of every layer, the scores last.
Features = list[jt.Var]


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches of an image and its layout as real or generated.

    Isola et al. 2017, appendix 6.1.2. 4 x 4 convolutions: the first without norm; then layers - 1
    normalized ones without bias, whose widths double up to 512, at stride 2, the last of them at
    `last_stride`; then one convolution to the scores.

    Args:
        layout_channels: channels of the layout's planes; 0 to score images alone.
        channels: width of the first layer, 64 in the papers.
        layers: feature layers; with 4 a score covers 70 x 70 pixels.
        spectral: spectral norm, as in SPADE (Park et al. 2019, appendix A). pix2pix and pix2pixHD
            have none; their weights start as N(0, 0.02^2).
        norm: None for instance norm without scale and shift; a name for `ScaledNorm` (pix2pix).
        padding: 2 in pix2pixHD (Wang et al. 2018) and SPADE, 1 in pix2pix.
        last_stride: stride of the last normalized convolution; 1 in the papers, 2 in the published
            code of TSIT's translation.
    """

    def __init__(
        self,
        layout_channels: int,
        channels: int,
        layers: int,
        *,
        spectral: bool = True,
        norm: NormName | None = None,
        padding: int = 2,
        last_stride: int = 1,
    ):
        super().__init__()
        self.layout_channels = layout_channels
        self.padding = padding
        deviation = None if spectral else 0.02
        self.first = Conv2d(
            layout_channels + 3,
            channels,
            KERNEL_SIZE,
            stride=2,
            padding=padding,
            deviation=deviation,
        )
        widths = [min(channels * 2**i, max(channels, WIDEST)) for i in range(layers)]
        self.middle = nn.ModuleList(
            [
                Conv2d(
                    widths[i - 1],
                    widths[i],
                    KERNEL_SIZE,
                    stride=last_stride if i == layers - 1 else 2,
                    padding=padding,
                    bias=False,
                    spectral=spectral,
                    deviation=deviation,
                )
                for i in range(1, layers)
            ]
        )
        self.norms = None
        if norm is not None:
            self.norms = nn.ModuleList([ScaledNorm(width, norm) for width in widths[1:]])
        self.last = Conv2d(widths[-1], 1, KERNEL_SIZE, padding=padding, deviation=deviation)

    def execute(self, planes: Feature | None, images: Sequence[jt.Var]) -> list[Features]:
        """The features of each batch of images: `layers` feature maps, then the scores.

        The layout's part of the first convolution is computed once for all images, and each layer
        runs one power iteration, as if the images were one batch. A batch norm computes statistics
        per batch of images.

        With padding 2 a side s becomes s // 2 + 1 at stride 2 and s + 1 at stride 1; with padding 1
        it becomes s // 2 and s - 1.

        Args:
            planes: (N, layout_channels, H, W); None without layout channels.
            images: each (N, 3, H, W).
        """
        padding = self.padding
        # (N, channels, h, w), at stride 2
        features = [[leaky_relu(first)] for first in self._first_features(planes, images)]
        for index, layer in enumerate(self.middle):
            normalized = layer.normalized_weight()
            for outputs in features:
                # (N, C, h, w): C doubles up to 512, at stride 2 or `last_stride`
                y = convolve(outputs[-1], normalized, stride=layer.stride, padding=padding)
                if self.norms is None:
                    outputs.append(instance_norm(y, SLOPE))
                else:
                    outputs.append(leaky_relu(self.norms[index](y)))
        for outputs in features:
            outputs.append(self.last(outputs[-1]))  # (N, 1, h, w), at stride 1
        return features

    def _first_features(self, planes: Feature | None, images: Sequence[jt.Var]) -> list[jt.Var]:
        """The first convolution of each batch of images, (N, channels, h, w) each."""
        if planes is None:
            return [self.first(image) for image in images]
        weight, padding = self.first.weight, self.padding
        shared = convolve(planes, weight[:, : self.layout_channels], stride=2, padding=padding)
        shared = dense(add_bias(shared, self.first.bias))
        colors = weight[:, self.layout_channels :]
        return [shared + convolve(image, colors, stride=2, padding=padding) for image in images]


class MultiScaleDiscriminator(nn.Module):
    """Patch discriminators at full, half, quarter ... size (Wang et al. 2018, section 3.2).

    Args:
        scales: number of discriminators; each sees images downsampled once more.

    The other arguments are those of `PatchDiscriminator`.
    """

    def __init__(
        self,
        *,
        layout_channels: int,
        channels: int = 64,
        layers: int = 4,
        scales: int = 2,
        spectral: bool = True,
        norm: NormName | None = None,
        padding: int = 2,
        last_stride: int = 1,
    ):
        super().__init__()
        self.layout_channels = layout_channels
        self.discriminators = nn.ModuleList(
            [
                PatchDiscriminator(
                    layout_channels,
                    channels,
                    layers,
                    spectral=spectral,
                    norm=norm,
                    padding=padding,
                    last_stride=last_stride,
                )
                for _ in range(scales)
            ]
        )

    def execute(self, layout: Content, *images: jt.Var) -> list[list[Features]]:
        """Content (N, H, W) and batches of images (N, 3, H, W) -> features per batch and scale.

        Scale i sees (N, 3, ceil(H / 2^i), ceil(W / 2^i)); see `PatchDiscriminator.execute`.
        """
        planes: Feature | None = layout.feature() if self.layout_channels else None
        current = list(images)
        results: list[list[Features]] = [[] for _ in images]
        for index, discriminator in enumerate(self.discriminators):
            if index > 0:
                planes = None if planes is None else pool_average(planes)
                current = [pool_average(image) for image in current]
            for result, features in zip(results, discriminator(planes, current), strict=True):
                result.append(features)
        return results
