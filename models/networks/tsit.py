"""TSIT generator with a content and a style stream (Jiang et al. 2020)."""

from __future__ import annotations

from itertools import pairwise

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, Feature, Linear
from models.layers.fadain import Statistics, fadain, statistics
from models.layers.normalization import NormName
from models.layers.resampling import downsample, upsample
from models.layers.residual import FADEResidualBlock, StreamResidualBlock, leaky_relu, tanh
from models.layouts.layout import Content, Layout
from models.layouts.tabulated_feature import dense

# Numbers of downsamples that the network supports.
DEPTHS = range(4, 9)


def level_width(level: int, channels: int) -> int:
    """Channels after `level` downsamples: 1, 2, 4, 8, 16, 16 ... times `channels`."""
    return channels * min(2**level, 16)


class Stream(nn.Module):
    """Content or style stream: residual blocks that encode an image or layout at every scale.

    Jiang et al. 2020, section 3.2.

    Args:
        in_channels: channels of the input.
        channels: base width.
        num_downsamples: number of scales below full size.
        first_channels: width inside the first block; None for in_channels, as published.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_downsamples: int,
        first_channels: int | None = None,
    ):
        super().__init__()
        widths = [level_width(level, channels) for level in range(num_downsamples + 1)]
        first = StreamResidualBlock(in_channels, widths[0], first_channels)
        self.blocks = nn.ModuleList(
            [first, *(StreamResidualBlock(a, b) for a, b in pairwise(widths))]
        )

    def execute(self, x: Feature) -> list[Feature]:
        """(N, in_channels, H, W) -> num_downsamples + 1 features, the finest first.

        Feature i is (N, level_width(i), H / 2^i, W / 2^i), the quotients rounded down.
        """
        features = []
        for level, block in enumerate(self.blocks):
            x = block(x if level == 0 else downsample(x))
            features.append(x)
        return features


class TSITGenerator(nn.Module):
    """Generates an image from content (a layout or photo) and, optionally, a style photo.

    Jiang et al. 2020, section 3. From the coarsest level up: FAdaIN with the style feature of the
    level (if there is a style stream), a FADE residual block with its content feature, and
    nearest-neighbor upsampling. As published, the last block works at half the size; its output is
    upsampled and convolved to colors.

    The paper has 7 downsamples. Fewer leave out the coarsest levels and their blocks; 8 add one. In
    the published code both streams read the same kind of input. Here the style stream reads a photo
    (3 channels) if the content stream reads a layout, as the contest requires.

    Args:
        layout_channels: channels of the content: number of classes, plus 1 with instance edges; 3
            for photos.
        channels: base width, 64 in the paper.
        num_downsamples: 4..8.
        size: (H, W) in pixels, multiples of 2 ** num_downsamples; fixed for a generator with a
            style vector.
        latent_size: length of the style vector; the first feature is then a dense layer of it. None
            for a generator without style vector.
        style_stream: False for no style stream and no FAdaIN, as published for synthesis.
        start: input of the first convolution without a style vector: the 'layout' at the coarsest
            size, or 'noise' of 3 channels.
        fadain_alpha: strength of FAdaIN, 0..1.
        norm: normalization inside FADE, 'batch' as published.
        content_channels: width inside the first block of the content stream; None for
            layout_channels, as published.

    Raises:
        ValueError: num_downsamples is outside 4..8.
    """

    NOISE_CHANNELS = 3

    def __init__(
        self,
        *,
        layout_channels: int,
        channels: int = 64,
        num_downsamples: int = 7,
        size: tuple[int, int] = (256, 512),
        latent_size: int | None = None,
        style_stream: bool = True,
        start: str = "layout",
        fadain_alpha: float = 1.0,
        norm: NormName = "batch",
        content_channels: int | None = None,
    ):
        super().__init__()
        if num_downsamples not in DEPTHS:
            raise ValueError(
                f"TSIT: expected {DEPTHS[0]} to {DEPTHS[-1]} downsamples, got {num_downsamples}"
            )
        self.num_downsamples = num_downsamples
        self.start = start
        self.fadain_alpha = fadain_alpha
        self.content_stream = Stream(layout_channels, channels, num_downsamples, content_channels)
        self.style_stream = Stream(3, channels, num_downsamples) if style_stream else None
        self.size = size
        self.latent_size = latent_size
        self.widest = level_width(num_downsamples, channels)
        if latent_size is not None:
            h, w = self.coarsest_size(size)
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
                for level in range(num_downsamples, 0, -1)
            ]
        )
        self.last = Conv2d(channels, 3, 3, padding=1)

    def coarsest_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the first feature for an image of `size` (H, W)."""
        return size[0] >> self.num_downsamples, size[1] >> self.num_downsamples

    def execute(
        self,
        content: Content,
        style: jt.Var | None = None,
        noise: jt.Var | None = None,
        style_statistics: list[Statistics] | None = None,
    ) -> jt.Var:
        """Content (N, H, W) -> image (N, 3, H, W) in [-1, 1].

        Args:
            content: a layout, or photos (N, 3, H, W).
            style: photos (N, 3, h', w') in [-1, 1] for the style stream.
            noise: the style vector (N, latent_size); with start='noise' (N, 3, h, w) at the
                coarsest size.
            style_statistics: result of `style_statistics`, in place of `style`.
        """
        features = self.content_stream(content.feature(by_image=True))
        styles = style_statistics
        if styles is None and self.style_stream is not None:
            styles = self.style_statistics(style)
        x = self._first_feature(content, noise)  # (N, level_width(num_downsamples), h, w)
        for level, block in zip(range(self.num_downsamples, 0, -1), self.blocks, strict=True):
            # x: (N, level_width(level), H / 2^level, W / 2^level)
            if styles is not None:
                x = fadain(x, styles[level - 1], self.fadain_alpha)
            # (N, level_width(level - 1), H / 2^(level - 1), W / 2^(level - 1))
            x = upsample(block(x, features[level]))
        return tanh(self.last(leaky_relu(x)))

    def style_statistics(self, style: jt.Var) -> list[Statistics]:
        """The style statistics of photos (N, 3, h', w') in [-1, 1] for FAdaIN.

        For each of the levels 1..num_downsamples mean and deviation, each
        (N, level_width(level), 1, 1).

        Raises:
            ValueError: the generator has no style stream.
        """
        if self.style_stream is None:
            raise ValueError("style statistics: expected a generator with a style stream")
        return [statistics(feature) for feature in self.style_stream(style)[1:]]

    def _first_feature(self, content: Content, noise: jt.Var | None) -> jt.Var:
        """(N, level_width(num_downsamples), h, w) at the coarsest size."""
        h, w = self.coarsest_size(content.size)
        if self.latent_size is not None:
            return self.first(noise).reshape((-1, self.widest, h, w))
        if self.start == "noise":
            return self.first(noise)
        if not isinstance(content, Layout):
            raise ValueError("TSIT: expected start='noise' for photos as content, got 'layout'")
        return dense(self.first(content.feature((h, w))))
