"""The U-Net generator of pix2pix (Isola et al. 2017)."""

from __future__ import annotations

from itertools import pairwise

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, DoublingConv2d
from models.layers.normalization import NormName, ScaledNorm
from models.layers.residual import leaky_relu, tanh
from models.layout import Layout

KERNEL_SIZE = 4
DROPOUT_LAYERS = 3
# Of the starting weights.
DEVIATION = 0.02


class UNetGenerator(nn.Module):
    """Layout to picture through ever smaller features, and back with a skip at every size.

    Isola et al. 2017, appendix 6.1.1: 4 x 4 convolutions of stride 2, to 1, 2, 4, 8, 8, 8 ... times
    `channels`, with norm and leaky ReLU but for the first and the smallest, which have no norm;
    transposed ones back, with norm and ReLU, each reading the encoder's feature of its size beside
    the decoder's. Dropout of a half after the first three of these is the network's noise, in
    training and in drawing.

    Args:
        layout_channels: classes, and one more with instance edges.
        channels: base width, 64 in the paper.
        halvings: number of convolutions, 8 in the paper (for 256 x 256); any sides that are
            multiples of 2 ** halvings will do.
        norm: 'batch' in the paper, with the statistics of the batch in drawing too.

    Raises:
        ValueError: fewer than 4 halvings.
    """

    def __init__(
        self,
        *,
        layout_channels: int,
        channels: int = 64,
        halvings: int = 8,
        norm: NormName = "batch",
    ):
        super().__init__()
        if halvings < 4:
            raise ValueError(f"the U-Net is defined for 4 halvings or more, got {halvings}")
        self.widths = [channels * min(2**level, 8) for level in range(halvings)]
        widths, smallest = self.widths, halvings - 1
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
        # Like `down` from the finest on: each doubles the size that `down` halved.
        self.up = nn.ModuleList(
            [
                DoublingConv2d(
                    inner if level == smallest else 2 * inner, outer, KERNEL_SIZE, bias=level == 0
                )
                for level, (outer, inner) in enumerate(pairwise([3, *widths]))
            ]
        )
        self.up_norms = nn.ModuleList([ScaledNorm(width, norm) for width in widths[:-1]])

    def noise_length(self, size: tuple[int, int]) -> int:
        """How many numbers of noise a picture of `size` (height, width) takes."""
        return sum(c * h * w for c, h, w in self._dropped(size))

    def _dropped(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """(channels, height, width) of each feature that dropout is applied to."""
        levels = range(len(self.widths) - 1, len(self.widths) - 1 - DROPOUT_LAYERS, -1)
        return [(self.widths[level - 1], size[0] >> level, size[1] >> level) for level in levels]

    def execute(self, layout: Layout, noise: jt.Var | None = None) -> jt.Var:
        """Layout (N, H, W) -> picture (N, 3, H, W) in [-1, 1].

        noise: standard normal (N, noise_length). Dropout keeps, and doubles, where it is positive,
        so that what is dropped follows from a seed and from nothing else. None drops nothing.
        """
        masks = [None] * len(self.down) if noise is None else self._masks(noise, layout.size)
        x = layout.one_hot()
        features = []
        for level, layer in enumerate(self.down):
            x = layer(x if level == 0 else leaky_relu(x))
            if 0 < level < len(self.down) - 1:
                x = self.down_norms[level - 1](x)
            features.append(x)
        for step, level in enumerate(reversed(range(len(self.up)))):
            if step > 0:
                x = jt.concat([features[level], x], dim=1)
            x = self.up[level](nn.relu(x))
            if level > 0:
                x = self.up_norms[level - 1](x)
            if step < DROPOUT_LAYERS and masks[step] is not None:
                x = x * masks[step]
        return tanh(x)

    def _masks(self, noise: jt.Var, size: tuple[int, int]) -> list[jt.Var]:
        """0 or 2 for each value of the features that dropout is applied to."""
        shapes = self._dropped(size)
        doubled = 2.0 * (noise > 0).float32()
        masks, start = [], 0
        for c, h, w in shapes:
            masks.append(doubled[:, start : start + c * h * w].reshape((-1, c, h, w)))
            start += c * h * w
        return masks
