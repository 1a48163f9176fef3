"""The SPADE generator (Park et al. 2019), known as GauGAN."""

from __future__ import annotations

from itertools import pairwise

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, Linear
from models.layers.layout_feature import dense
from models.layers.normalization import NormName
from models.layers.resampling import double
from models.layers.residual import SPADEResidualBlock, leaky_relu, tanh
from models.layout import Layout


class SPADEGenerator(nn.Module):
    """Layout, and a style vector where it has one, to picture.

    Park et al. 2019, appendix A. Seven SPADE residual blocks (eight with 7 halvings) between
    nearest
    upsamplings: 16, 16, 16, 8, 4, 2, 1 (and 1/2) times `channels` wide. With a style vector z the
    first feature is a dense layer of z, else a 3 x 3 convolution of the layout at the lowest size.

    Args:
        layout_channels: classes, and one more with instance edges.
        channels: base width, 64 in the paper.
        halvings: 5 ('normal'), 6 ('more') or 7 ('most') times the picture is halved to the first
            feature; 4, beside the paper, for small pictures, leaves out one more upsampling of
            'normal'.
        size: (H, W) in pixels, divisible by 2 ** halvings; a generator with z is bound to it.
        latent_size: length of z, 256 in the paper, or None for none.
        norm: the normalisation inside SPADE, 'batch' in the paper.

    Raises:
        ValueError: halvings outside 4..7.
    """

    def __init__(
        self,
        *,
        layout_channels: int,
        channels: int = 64,
        halvings: int = 5,
        size: tuple[int, int] = (256, 256),
        latent_size: int | None = None,
        norm: NormName = "batch",
    ):
        super().__init__()
        if not 4 <= halvings <= 7:
            raise ValueError(f"SPADE is defined for 4 to 7 halvings, got {halvings}")
        self.halvings = halvings
        self.widest = 16 * channels
        self.size = size
        self.latent_size = latent_size
        if latent_size is None:
            self.first = Conv2d(layout_channels, self.widest, 3, padding=1)
        else:
            h, w = self._lowest(size)
            self.first = Linear(latent_size, self.widest * h * w)
        widths = [16, 16, 16, 16, 8, 4, 2, 1]
        pairs = [(a * channels, b * channels) for a, b in pairwise(widths)]
        if halvings == 7:
            pairs.append((channels, channels // 2))
        self.blocks = nn.ModuleList(
            [SPADEResidualBlock(a, b, layout_channels, norm) for a, b in pairs]
        )
        self.last = Conv2d(pairs[-1][1], 3, 3, padding=1)

    def _lowest(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] >> self.halvings, size[1] >> self.halvings

    def execute(self, layout: Layout, z: jt.Var | None = None) -> jt.Var:
        """Layout (N, H, W) and z (N, latent_size) or None -> picture (N, 3, H, W) in [-1, 1]."""
        h, w = self._lowest(layout.size)
        if self.latent_size is None:
            x = dense(self.first(layout.feature((h, w))))
        else:
            x = self.first(z).reshape((-1, self.widest, h, w))
        # 'normal' does not upsample before the third block, nor do 4 halvings before the second.
        unchanged = max(6 - self.halvings, 0)
        for index, block in enumerate(self.blocks):
            if index > 0 and index not in range(3 - unchanged, 3):
                x = double(x)
            x = block(x, layout)
        return tanh(self.last(leaky_relu(x)))
