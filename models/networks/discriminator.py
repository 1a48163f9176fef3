"""The patch discriminators of pix2pix, pix2pixHD and SPADE, at one scale or several."""

from __future__ import annotations

from collections.abc import Sequence

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, Feature, add_bias, convolve
from models.layers.layout_feature import dense
from models.layers.normalization import NormName, ScaledNorm, instance_norm
from models.layers.resampling import pool_average
from models.layers.residual import SLOPE, leaky_relu
from models.layout import Content

KERNEL_SIZE = 4
WIDEST = 512

Features = list[jt.Var]


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of a picture together with its layout.

    4 x 4 convolutions; the first without norm, then normalised ones without bias, width doubling up
    to 512, stride 2 but for the last of them, and a last convolution to one channel. Returns every
    layer's output, the scores last.

    Args:
        layout_channels: planes of the layout; 0 judges pictures alone.
        layers: with 4, a score sees 70 x 70 pixels (Isola et al. 2017, appendix 6.1.2).
        spectral: spectral norm, as in SPADE (Park et al. 2019, appendix A); pix2pix and pix2pixHD
            have none and start their weights at N(0, 0.02^2).
        norm: instance norm without scale and shift, or with a name `ScaledNorm` of it (pix2pix).
        padding: 2 as in pix2pixHD (Wang et al. 2018) and SPADE, 1 in pix2pix.
        last_stride: of the last normalised convolution; 2 in the published code of TSIT's
            translation.
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

    def execute(self, planes: Feature | None, pictures: Sequence[jt.Var]) -> list[Features]:
        """Layout planes (N, layout_channels, H, W), pictures each (N, 3, H, W) -> features of each.

        `planes` is None without layout channels.

        The layout's share of the first convolution is computed once for all pictures, and each
        layer's power iteration is taken once, as if the pictures were one batch. A batch norm takes
        the statistics of each batch of pictures alone.
        """
        padding = self.padding
        features = [[leaky_relu(first)] for first in self._first_features(planes, pictures)]
        for index, layer in enumerate(self.middle):
            normalised = layer.normalised_weight()
            for outputs in features:
                y = convolve(outputs[-1], normalised, stride=layer.stride, padding=padding)
                if self.norms is None:
                    outputs.append(instance_norm(y, SLOPE))
                else:
                    outputs.append(leaky_relu(self.norms[index](y)))
        for outputs in features:
            outputs.append(self.last(outputs[-1]))
        return features

    def _first_features(self, planes: Feature | None, pictures: Sequence[jt.Var]) -> list[jt.Var]:
        if planes is None:
            return [self.first(picture) for picture in pictures]
        weight, padding = self.first.weight, self.padding
        shared = convolve(planes, weight[:, : self.layout_channels], stride=2, padding=padding)
        shared = dense(add_bias(shared, self.first.bias))
        colours = weight[:, self.layout_channels :]
        return [
            shared + convolve(picture, colours, stride=2, padding=padding) for picture in pictures
        ]


class MultiScaleDiscriminator(nn.Module):
    """Patch discriminators at full size, half, a quarter ... (Wang et al. 2018, section 3.2)."""

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

    def execute(self, layout: Content, *pictures: jt.Var) -> list[list[Features]]:
        """Pictures (N, 3, H, W) -> for each picture, for each scale, every layer's output."""
        planes: Feature | None = layout.feature() if self.layout_channels else None
        current = list(pictures)
        results: list[list[Features]] = [[] for _ in pictures]
        for index, discriminator in enumerate(self.discriminators):
            if index > 0:
                planes = None if planes is None else pool_average(planes)
                current = [pool_average(picture) for picture in current]
            for result, features in zip(results, discriminator(planes, current), strict=True):
                result.append(features)
        return results
