"""The TSIT generator: a content and a style stream around one generator (Jiang et al. 2020)."""

from __future__ import annotations

from itertools import pairwise

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, Feature, Linear
from models.layers.fadain import Statistics, fadain, statistics
from models.layers.layout_feature import dense
from models.layers.normalization import NormName
from models.layers.resampling import double, halve
from models.layers.residual import FADEResidualBlock, StreamResidualBlock, leaky_relu, tanh
from models.layout import Content, Layout


def level_width(level: int, channels: int) -> int:
    """Channels after `level` halvings: 1, 2, 4, 8, 16, 16, 16 ... times the base."""
    return channels * min(2**level, 16)


class Stream(nn.Module):
    """Residual blocks that take a picture or layout down to ever coarser features.

    Jiang et al. 2020, section 3.2; content and style streams are alike. Returns the features at
    0..halvings halvings, the finest first: (N, level_width(i), H / 2^i, W / 2^i).
    `first_channels` is the width inside the first block, as published that of its input.
    """

    def __init__(
        self, in_channels: int, channels: int, halvings: int, first_channels: int | None = None
    ):
        super().__init__()
        widths = [level_width(level, channels) for level in range(halvings + 1)]
        first = StreamResidualBlock(in_channels, widths[0], first_channels)
        self.blocks = nn.ModuleList(
            [first, *(StreamResidualBlock(a, b) for a, b in pairwise(widths))]
        )

    def execute(self, x: Feature) -> list[Feature]:
        features = []
        for level, block in enumerate(self.blocks):
            x = block(x if level == 0 else halve(x))
            features.append(x)
        return features


class TSITGenerator(nn.Module):
    """Layout as content, photograph as style, to picture.

    Jiang et al. 2020, section 3. From the coarsest feature up: FAdaIN with the style feature of
    that level (where there is a style stream), a FADE residual block with the content feature,
    nearest upsampling. As published the last block works at half the size, after which its output
    is upsampled and turned into colours.

    For translation a photograph takes the layout's place: 3 channels, and a start from noise.

    Published with 7 halvings. With fewer the coarsest levels and their blocks are left out, with 8
    one is added, all else equal. In the published code both streams read the same kind of input;
    here the content stream reads the layout and the style stream a photograph (3 channels), as the
    contest asks.

    Args:
        layout_channels: classes, and one more with instance edges; 3 for photographs.
        channels: base width, 64 in the paper.
        halvings: 4 to 8.
        size: (H, W) in pixels, divisible by 2 ** halvings; a generator with a style vector is
            bound to it.
        latent_size: length of the style vector that the first feature is a dense layer of; None
            without.
        style_stream: False leaves the style stream and FAdaIN out, as published for synthesis.
        start: without a style vector, what the first feature is convolved from: the 'layout' at the
            lowest size, or 'noise' of 3 channels.
        fadain_alpha: 0..1, how much of the style FAdaIN takes.
        norm: the normalisation inside FADE, 'batch' as published.
        content_channels: width inside the content stream's first block, as published
            layout_channels.

    Raises:
        ValueError: halvings outside 4..8.
    """

    NOISE_CHANNELS = 3

    def __init__(
        self,
        *,
        layout_channels: int,
        channels: int = 64,
        halvings: int = 7,
        size: tuple[int, int] = (256, 512),
        latent_size: int | None = None,
        style_stream: bool = True,
        start: str = "layout",
        fadain_alpha: float = 1.0,
        norm: NormName = "batch",
        content_channels: int | None = None,
    ):
        super().__init__()
        if not 4 <= halvings <= 8:
            raise ValueError(f"TSIT is defined for 4 to 8 halvings, got {halvings}")
        self.halvings = halvings
        self.start = start
        self.fadain_alpha = fadain_alpha
        self.content_stream = Stream(layout_channels, channels, halvings, content_channels)
        self.style_stream = Stream(3, channels, halvings) if style_stream else None
        self.size = size
        self.latent_size = latent_size
        self.widest = level_width(halvings, channels)
        if latent_size is not None:
            h, w = self.lowest(size)
            self.first = Linear(latent_size, self.widest * h * w)
        else:
            first_channels = layout_channels if start == "layout" else self.NOISE_CHANNELS
            self.first = Conv2d(first_channels, self.widest, 3, padding=1)
        self.blocks = nn.ModuleList(
            [
                FADEResidualBlock(
                    level_width(level, channels),
                    level_width(level - 1, channels),
                    norm,
                )
                for level in range(halvings, 0, -1)
            ]
        )
        self.last = Conv2d(channels, 3, 3, padding=1)

    def lowest(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size of the first feature for a picture of `size`, both (height, width)."""
        return size[0] >> self.halvings, size[1] >> self.halvings

    def execute(
        self,
        layout: Content,
        style: jt.Var | None = None,
        noise: jt.Var | None = None,
        style_statistics: list[Statistics] | None = None,
    ) -> jt.Var:
        """Layout (N, H, W) -> picture (N, 3, H, W) in [-1, 1].

        style: (N, 3, H, W) in [-1, 1], for the style stream, or instead what `style_statistics`
        made of such. noise: the style vector (N,
        latent_size), or (N, 3, h, w) at the lowest size for start='noise'.
        """
        content = self.content_stream(layout.feature(by_picture=True))
        styles = style_statistics
        if styles is None and self.style_stream is not None:
            styles = self.style_statistics(style)
        x = self._first_feature(layout, noise)
        for level, block in zip(range(self.halvings, 0, -1), self.blocks, strict=True):
            if styles is not None:
                x = fadain(x, styles[level - 1], self.fadain_alpha)
            x = double(block(x, content[level]))
        return tanh(self.last(leaky_relu(x)))

    def style_statistics(self, style: jt.Var) -> list[Statistics]:
        """What FAdaIN takes of a style (N, 3, H, W): mean and deviation of levels 1..halvings."""
        if self.style_stream is None:
            raise ValueError("a generator without a style stream takes nothing of a style")
        return [statistics(feature) for feature in self.style_stream(style)[1:]]

    def _first_feature(self, layout: Content, noise: jt.Var | None) -> jt.Var:
        h, w = self.lowest(layout.size)
        if self.latent_size is not None:
            return self.first(noise).reshape((-1, self.widest, h, w))
        if self.start == "noise":
            return self.first(noise)
        if not isinstance(layout, Layout):
            raise ValueError("photographs as content need a start from noise")
        return dense(self.first(layout.feature((h, w))))
