"""SPADE generator, also known as GauGAN (Park et al. 2019)."""

from __future__ import annotations

from itertools import pairwise

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, Linear
from models.layers.normalization import NormName
from models.layers.resampling import upsample
from models.layers.residual import SPADEResidualBlock, leaky_relu, tanh
from models.layouts.layout import Layout
from models.layouts.tabulated_feature import dense

# Numbers of downsamples that the network supports.
DEPTHS = range(4, 8)


class SPADEGenerator(nn.Module):
    """Generates an image from a layout and, optionally, a style vector.

    Park et al. 2019, appendix A. Seven SPADE residual blocks (eight with 7 downsamples) with
    nearest-neighbor upsampling between them, 16, 16, 16, 8, 4, 2, 1 (and 1/2) times `channels`
    wide. The first feature is a dense layer of the style vector z if there is one, else a 3 x 3
    convolution of the layout at the coarsest size.

    Args:
        layout_channels: number of classes, plus 1 with instance edges.
        channels: base width, 64 in the paper.
        num_downsamples: from the image to the first feature, 4..7: 5 ('normal'), 6 ('more') or
            7 ('most') in the paper; 4, for small images, has one upsampling less than 'normal'.
        size: (H, W) in pixels, multiples of 2 ** num_downsamples; fixed for a generator with z.
        latent_size: length of z, 256 in the paper; None for a generator without z.
        norm: normalization inside SPADE, 'batch' in the paper.

    Raises:
        ValueError: num_downsamples is outside 4..7.
    """

    def __init__(
        self,
        *,
        layout_channels: int,
        channels: int = 64,
        num_downsamples: int = 5,
        size: tuple[int, int] = (256, 256),
        latent_size: int | None = None,
        norm: NormName = "batch",
    ):
        super().__init__()
        if num_downsamples not in DEPTHS:
            raise ValueError(
                f"SPADE: expected {DEPTHS[0]} to {DEPTHS[-1]} downsamples, got {num_downsamples}"
            )
        self.num_downsamples = num_downsamples
        self.widest = 16 * channels
        self.size = size
        self.latent_size = latent_size
        if latent_size is None:
            self.first = Conv2d(layout_channels, self.widest, 3, padding=1)
        else:
            h, w = self._coarsest_size(size)
            self.first = Linear(latent_size, self.widest * h * w)
        widths = [16, 16, 16, 16, 8, 4, 2, 1]
        pairs = [(a * channels, b * channels) for a, b in pairwise(widths)]
        if num_downsamples == 7:
            pairs.append((channels, channels // 2))
        self.blocks = nn.ModuleList(
            [SPADEResidualBlock(a, b, layout_channels, norm) for a, b in pairs]
        )
        self.last = Conv2d(pairs[-1][1], 3, 3, padding=1)

    def _coarsest_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the first feature for an image of `size` (H, W)."""
        return size[0] >> self.num_downsamples, size[1] >> self.num_downsamples

    def execute(self, layout: Layout, z: jt.Var | None = None) -> jt.Var:
        """Layout (N, H, W) and z (N, latent_size) or None -> image (N, 3, H, W) in [-1, 1].

        Features of the blocks for 'normal', channels c: (N, 16c, H / 32, W / 32),
        (N, 16c, H / 16, W / 16) twice, (N, 8c, H / 8, W / 8), (N, 4c, H / 4, W / 4),
        (N, 2c, H / 2, W / 2), (N, c, H, W).
        """
        h, w = self._coarsest_size(layout.size)
        if self.latent_size is None:
            x = dense(self.first(layout.feature((h, w))))  # (N, 16c, h, w)
        else:
            x = self.first(z).reshape((-1, self.widest, h, w))
        # 5 downsamples skip the upsampling before the third block, 4 also that before the second.
        skipped = max(6 - self.num_downsamples, 0)
        for index, block in enumerate(self.blocks):
            if index > 0 and index not in range(3 - skipped, 3):
                x = upsample(x)  # (N, C, 2h, 2w)
            x = block(x, layout)  # the same size, C or C / 2 channels
        return tanh(self.last(leaky_relu(x)))
