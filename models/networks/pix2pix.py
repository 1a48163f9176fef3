"""The U-Net generator of pix2pix (Isola et al. 2017)."""

from __future__ import annotations

from itertools import pairwise

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, TransposedConv2d
from models.layers.normalization import NormName, ScaledNorm
from models.layers.residual import leaky_relu, tanh
from models.layouts.layout import Layout

# Numbers of downsamples that the network supports.
DEPTHS = range(4, 9)
KERNEL_SIZE = 4
DROPOUT_LAYERS = 3
# Standard deviation of the initial weights.
DEVIATION = 0.02


class UNetGenerator(nn.Module):
    """Generates an image from a layout by a U-Net: encoder and decoder with skip connections.

    Isola et al. 2017, appendix 6.1.1. Encoder: 4 x 4 convolutions of stride 2, of 1, 2, 4, 8, 8 ...
    times `channels`, with norm and leaky ReLU; the first and the last have no norm. Decoder:
    transposed convolutions with norm and ReLU, each on the previous feature concatenated with the
    encoder's feature of the same size. Dropout of a half after the first three of them is the noise
    of the network, in training and in evaluation.

    Args:
        layout_channels: number of classes, plus 1 with instance edges.
        channels: base width, 64 in the paper.
        num_downsamples: number of convolutions, 4..8; 8 in the paper, for 256 x 256. Height and
            width must be multiples of 2 ** num_downsamples.
        norm: 'batch' in the paper, which uses the statistics of the batch in evaluation too.

    Raises:
        ValueError: num_downsamples is outside 4..8.
    """

    def __init__(
        self,
        *,
        layout_channels: int,
        channels: int = 64,
        num_downsamples: int = 8,
        norm: NormName = "batch",
    ):
        super().__init__()
        if num_downsamples not in DEPTHS:
            raise ValueError(
                f"U-Net: expected {DEPTHS[0]} to {DEPTHS[-1]} downsamples, got {num_downsamples}"
            )
        self.widths = [channels * min(2**level, 8) for level in range(num_downsamples)]
        widths, smallest = self.widths, num_downsamples - 1
        self.down = nn.ModuleList(
            [
                Conv2d(
                    a,
                    b,
                    KERNEL_SIZE,
                    stride=2,
                    padding=1,
                    bias=level in (0, smallest),
                    deviation=DEVIATION,
                )
                for level, (a, b) in enumerate(pairwise([layout_channels, *widths]))
            ]
        )
        self.down_norms = nn.ModuleList([ScaledNorm(width, norm) for width in widths[1:-1]])
        # In the order of `down`, the finest first: `up[i]` restores the size before `down[i]`.
        self.up = nn.ModuleList(
            [
                TransposedConv2d(
                    inner if level == smallest else 2 * inner, outer, KERNEL_SIZE, bias=level == 0
                )
                for level, (outer, inner) in enumerate(pairwise([3, *widths]))
            ]
        )
        self.up_norms = nn.ModuleList([ScaledNorm(width, norm) for width in widths[:-1]])

    def noise_length(self, size: tuple[int, int]) -> int:
        """Length of the noise of an image of `size` (height, width)."""
        return sum(c * h * w for c, h, w in self._dropout_shapes(size))

    def _dropout_shapes(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """(C, h, w) of each feature with dropout, the coarsest first."""
        levels = range(len(self.widths) - 1, len(self.widths) - 1 - DROPOUT_LAYERS, -1)
        return [(self.widths[level - 1], size[0] >> level, size[1] >> level) for level in levels]

    def execute(self, layout: Layout, noise: jt.Var | None = None) -> jt.Var:
        """Layout (N, H, W) -> image (N, 3, H, W) in [-1, 1].

        Args:
            layout: height and width multiples of 2 ** num_downsamples.
            noise: standard normal, (N, noise_length). Dropout keeps and doubles a value if its
                number is positive: the dropped values depend on a seed only. None drops nothing.
        """
        masks = [None] * len(self.down) if noise is None else self._masks(noise, layout.size)
        x = layout.one_hot()  # (N, layout_channels, H, W)
        features = []
        for level, layer in enumerate(self.down):
            # (N, widths[level], H / 2^(level + 1), W / 2^(level + 1))
            x = layer(x if level == 0 else leaky_relu(x))
            if 0 < level < len(self.down) - 1:
                x = self.down_norms[level - 1](x)
            features.append(x)
        for step, level in enumerate(reversed(range(len(self.up)))):
            if step > 0:
                x = jt.concat([features[level], x], dim=1)  # (N, 2 * widths[level], h, w)
            # (N, widths[level - 1], H / 2^level, W / 2^level); at level 0 (N, 3, H, W)
            x = self.up[level](nn.relu(x))
            if level > 0:
                x = self.up_norms[level - 1](x)
            if step < DROPOUT_LAYERS and masks[step] is not None:
                x = x * masks[step]
        return tanh(x)

    def _masks(self, noise: jt.Var, size: tuple[int, int]) -> list[jt.Var]:
        """Per feature with dropout a mask (N, C, h, w) of values 0 and 2."""
        shapes = self._dropout_shapes(size)
        doubled = 2.0 * (noise > 0).float32()
        masks, start = [], 0
        for c, h, w in shapes:
            masks.append(doubled[:, start : start + c * h * w].reshape((-1, c, h, w)))
            start += c * h * w
        return masks
