"""Coarse-to-fine generator of pix2pixHD (Wang et al. 2018)."""

from __future__ import annotations

from itertools import pairwise

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, TransposedConv2d
from models.layers.normalization import instance_norm
from models.layers.resampling import pad_reflected, pool_average, resize_bilinear
from models.layers.residual import tanh
from models.layouts.layout import Layout

# Numbers of downsamples that the network supports, the enhancer's one included.
DEPTHS = range(4, 7)
# Standard deviation of the initial weights.
DEVIATION = 0.02
# Largest multiple of the base width: that of the paper's 4 downsamples of the global generator.
WIDEST = 16


class ReflectedConv2d(nn.Module):
    """A convolution with reflection padding that keeps the size."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool):
        super().__init__()
        self.width = kernel_size // 2
        self.conv = Conv2d(in_channels, out_channels, kernel_size, bias=bias, deviation=DEVIATION)

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, in_channels, H, W) -> (N, out_channels, H, W)."""
        return self.conv(pad_reflected(x, self.width))


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))): 3 x 3 convolutions, instance norm.

    Johnson et al. 2016, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution".
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv_0 = ReflectedConv2d(channels, channels, 3, bias=False)
        self.conv_1 = ReflectedConv2d(channels, channels, 3, bias=False)

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, channels, h, w) -> (N, channels, h, w)."""
        return x + instance_norm(self.conv_1(nn.relu(instance_norm(self.conv_0(x)))))


class GlobalGenerator(nn.Module):
    """Global generator G1 (Wang et al. 2018, section 3.1 and appendix): layout planes to image.

    A 7 x 7 convolution, `num_downsamples` 3 x 3 convolutions of stride 2, residual blocks, as many
    transposed convolutions, and a 7 x 7 convolution to colors. All but the last have instance norm
    without scale and shift, and ReLU. The published biases before an instance norm have no effect
    and are left out.

    Args:
        layout_channels: number of classes, plus 1 with instance edges.
        channels: base width, 64 in the paper.
        num_downsamples: 4 in the paper.
        blocks: residual blocks, 9 in the paper.
    """

    def __init__(self, layout_channels: int, channels: int, num_downsamples: int, blocks: int):
        super().__init__()
        widths = [channels * min(2**level, WIDEST) for level in range(num_downsamples + 1)]
        self.first = ReflectedConv2d(layout_channels, channels, 7, bias=False)
        self.down = nn.ModuleList([_downsampling(a, b) for a, b in pairwise(widths)])
        self.blocks = nn.ModuleList([ResidualBlock(widths[-1]) for _ in range(blocks)])
        self.up = nn.ModuleList(
            [TransposedConv2d(a, b, 3, bias=False) for a, b in pairwise(reversed(widths))]
        )
        self.last = ReflectedConv2d(channels, 3, 7, bias=True)

    def features(self, planes: jt.Var) -> jt.Var:
        """(N, layout_channels, H, W) -> the feature before the colors, (N, channels, H, W)."""
        x = nn.relu(instance_norm(self.first(planes)))  # (N, channels, H, W)
        # (N, 2c, H / 2, W / 2), (N, 4c, H / 4, W / 4) ..., at most 16c wide, with c = channels
        for layer in self.down:
            x = nn.relu(instance_norm(layer(x)))
        for block in self.blocks:
            x = block(x)  # the shape of the coarsest feature
        # the same shapes in reverse, to (N, c, H, W)
        for layer in self.up:
            x = nn.relu(instance_norm(layer(x)))
        return x

    def execute(self, planes: jt.Var) -> jt.Var:
        """(N, layout_channels, H, W) -> image (N, 3, H, W) in [-1, 1]."""
        return tanh(self.last(self.features(planes)))


class LocalEnhancer(nn.Module):
    """Local enhancer G2 (Wang et al. 2018, section 3.1): planes and the features of G1 to image.

    A 7 x 7 convolution and one of stride 2, then the sum with the features of G1, residual blocks,
    a transposed convolution, and a 7 x 7 convolution to colors. Norms as in `GlobalGenerator`.

    Args:
        layout_channels: number of classes, plus 1 with instance edges.
        channels: width of the features of G1; the enhancer has half of it at full size.
        blocks: residual blocks, 3 in the paper.
    """

    def __init__(self, layout_channels: int, channels: int, blocks: int):
        super().__init__()
        narrow = max(1, channels // 2)
        self.first = ReflectedConv2d(layout_channels, narrow, 7, bias=False)
        self.down = _downsampling(narrow, channels)
        self.blocks = nn.ModuleList([ResidualBlock(channels) for _ in range(blocks)])
        self.up = TransposedConv2d(channels, narrow, 3, bias=False)
        self.last = ReflectedConv2d(narrow, 3, 7, bias=True)

    def execute(self, planes: jt.Var, features: jt.Var) -> jt.Var:
        """(N, layout_channels, H, W) and (N, channels, H / 2, W / 2) -> image (N, 3, H, W)."""
        x = nn.relu(instance_norm(self.first(planes)))  # (N, channels // 2, H, W)
        x = nn.relu(instance_norm(self.down(x))) + features  # (N, channels, H / 2, W / 2)
        for block in self.blocks:
            x = block(x)  # (N, channels, H / 2, W / 2)
        x = nn.relu(instance_norm(self.up(x)))  # (N, channels // 2, H, W)
        return tanh(self.last(x))


class Pix2PixHDGenerator(nn.Module):
    """Generates an image by a global generator at half the size and an enhancer at full size.

    Wang et al. 2018, section 3.1.

    Args:
        layout_channels: number of classes, plus 1 with instance edges.
        channels: base width of the global generator, 64 in the paper; the enhancer has half of it.
        num_downsamples: from full size to the coarsest feature, 4..6; 5 in the paper: 1 of the
            enhancer and 4 of the global generator.
        blocks: residual blocks of the global generator, 9 in the paper.
        enhancer_blocks: residual blocks of the enhancer, 3 in the paper.

    Attributes:
        global_alone: (1,), 1 while only the global generator is trained, else 0. It is part of the
            state: a snapshot of that stage generates without the enhancer.

    Raises:
        ValueError: num_downsamples is outside 4..6.
    """

    def __init__(
        self,
        *,
        layout_channels: int,
        channels: int = 64,
        num_downsamples: int = 5,
        blocks: int = 9,
        enhancer_blocks: int = 3,
    ):
        super().__init__()
        if num_downsamples not in DEPTHS:
            raise ValueError(
                f"pix2pixHD: expected {DEPTHS[0]} to {DEPTHS[-1]} downsamples, "
                f"got {num_downsamples}"
            )
        self.global_alone = jt.zeros(1).stop_grad()
        self.global_generator = GlobalGenerator(
            layout_channels, channels, num_downsamples - 1, blocks
        )
        self.enhancer = LocalEnhancer(layout_channels, channels, enhancer_blocks)

    def execute(self, layout: Layout) -> jt.Var:
        """Layout (N, H, W) -> image (N, 3, H, W) in [-1, 1].

        While only the global generator is trained, its image is resized to full size.
        """
        if self.global_alone.item():
            return resize_bilinear(self.run_global(layout.downsample()), layout.size)
        return self.run_full(layout)

    def run_global(self, layout: Layout) -> jt.Var:
        """Layout (N, h, w) at half the size -> image (N, 3, h, w) of the global generator."""
        return self.global_generator(layout.one_hot())

    def run_full(self, layout: Layout) -> jt.Var:
        """Layout (N, H, W) -> image (N, 3, H, W) of both generators.

        As published, the global generator sees averaged planes here; alone it is trained on layouts
        sampled at half the size.
        """
        planes = layout.one_hot()  # (N, layout_channels, H, W)
        return self.enhancer(planes, self.global_generator.features(pool_average(planes)))


def _downsampling(in_channels: int, out_channels: int) -> Conv2d:
    """A 3 x 3 convolution of stride 2: (N, in, H, W) -> (N, out, ceil(H / 2), ceil(W / 2))."""
    return Conv2d(
        in_channels, out_channels, 3, stride=2, padding=1, bias=False, deviation=DEVIATION
    )
