"""The coarse-to-fine generator of pix2pixHD (Wang et al. 2018)."""

from __future__ import annotations

from itertools import pairwise

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, DoublingConv2d
from models.layers.normalization import instance_norm
from models.layers.resampling import pad_reflected, pool_average, resize_bilinear
from models.layers.residual import tanh
from models.layout import Layout

# Of the starting weights.
DEVIATION = 0.02
# Beyond the paper's 4 halvings of the global generator no feature is wider than there.
WIDEST = 16


class ReflectedConv2d(nn.Module):
    """A convolution that keeps the size, the picture mirrored at its borders."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool):
        super().__init__()
        self.width = kernel_size // 2
        self.conv = Conv2d(in_channels, out_channels, kernel_size, bias=bias, deviation=DEVIATION)

    def execute(self, x: jt.Var) -> jt.Var:
        return self.conv(pad_reflected(x, self.width))


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))) with 3 x 3 convolutions (Johnson et al. 2016)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv_0 = ReflectedConv2d(channels, channels, 3, bias=False)
        self.conv_1 = ReflectedConv2d(channels, channels, 3, bias=False)

    def execute(self, x: jt.Var) -> jt.Var:
        return x + instance_norm(self.conv_1(nn.relu(instance_norm(self.conv_0(x)))))


class GlobalGenerator(nn.Module):
    """G1 of Wang et al. 2018, section 3.1 and appendix: layout planes to picture.

    A 7 x 7 convolution, `halvings` 3 x 3 ones of stride 2, residual blocks, as many transposed ones
    and a 7 x 7 one to colours, all but this with instance norm (without scale and shift) and ReLU.
    The published biases before an instance norm, which takes them out again, are left out.
    """

    def __init__(self, layout_channels: int, channels: int, halvings: int, blocks: int):
        super().__init__()
        widths = [channels * min(2**level, WIDEST) for level in range(halvings + 1)]
        self.first = ReflectedConv2d(layout_channels, channels, 7, bias=False)
        self.down = nn.ModuleList([_halving(a, b) for a, b in pairwise(widths)])
        self.blocks = nn.ModuleList([ResidualBlock(widths[-1]) for _ in range(blocks)])
        self.up = nn.ModuleList(
            [DoublingConv2d(a, b, 3, bias=False) for a, b in pairwise(reversed(widths))]
        )
        self.last = ReflectedConv2d(channels, 3, 7, bias=True)

    def features(self, planes: jt.Var) -> jt.Var:
        """(N, layout_channels, H, W) -> what the colours are made from, (N, channels, H, W)."""
        x = nn.relu(instance_norm(self.first(planes)))
        for layer in self.down:
            x = nn.relu(instance_norm(layer(x)))
        for block in self.blocks:
            x = block(x)
        for layer in self.up:
            x = nn.relu(instance_norm(layer(x)))
        return x

    def execute(self, planes: jt.Var) -> jt.Var:
        """(N, layout_channels, H, W) -> picture (N, 3, H, W) in [-1, 1]."""
        return tanh(self.last(self.features(planes)))


class LocalEnhancer(nn.Module):
    """G2 of Wang et al. 2018, section 3.1: full-size planes and G1's half-size features to picture.

    A 7 x 7 convolution and one of stride 2; G1's features added to theirs; residual blocks, a
    transposed convolution and a 7 x 7 one to colours, normalised as in `GlobalGenerator`.
    """

    def __init__(self, layout_channels: int, channels: int, blocks: int):
        super().__init__()
        narrow = max(1, channels // 2)
        self.first = ReflectedConv2d(layout_channels, narrow, 7, bias=False)
        self.down = _halving(narrow, channels)
        self.blocks = nn.ModuleList([ResidualBlock(channels) for _ in range(blocks)])
        self.up = DoublingConv2d(channels, narrow, 3, bias=False)
        self.last = ReflectedConv2d(narrow, 3, 7, bias=True)

    def execute(self, planes: jt.Var, features: jt.Var) -> jt.Var:
        """(N, layout_channels, H, W), (N, channels, H / 2, W / 2) -> picture (N, 3, H, W)."""
        x = nn.relu(instance_norm(self.first(planes)))
        x = nn.relu(instance_norm(self.down(x))) + features
        for block in self.blocks:
            x = block(x)
        x = nn.relu(instance_norm(self.up(x)))
        return tanh(self.last(x))


class Pix2PixHDGenerator(nn.Module):
    """A global generator at half the size, and an enhancer that takes its features to full size.

    Args:
        layout_channels: classes, and one more with instance edges.
        channels: base width of the global generator, 64 in the paper; the enhancer has half of it.
        halvings: from the full size to the smallest feature, 5 in the paper: the enhancer's one and
            the global generator's 4.
        blocks: residual blocks of the global generator.
        enhancer_blocks: residual blocks of the enhancer.

    Attributes:
        global_alone: 1 where nothing but the global generator is trained so far, else 0. A
            snapshot carries it, so that such a generator draws with what it has.

    Raises:
        ValueError: fewer than 2 halvings.
    """

    def __init__(
        self,
        *,
        layout_channels: int,
        channels: int = 64,
        halvings: int = 5,
        blocks: int = 9,
        enhancer_blocks: int = 3,
    ):
        super().__init__()
        if halvings < 2:
            raise ValueError(f"pix2pixHD halves the size twice or more, got {halvings}")
        self.global_alone = jt.zeros(1).stop_grad()
        self.global_generator = GlobalGenerator(layout_channels, channels, halvings - 1, blocks)
        self.enhancer = LocalEnhancer(layout_channels, channels, enhancer_blocks)

    def execute(self, layout: Layout) -> jt.Var:
        """Layout (N, H, W) -> picture (N, 3, H, W) in [-1, 1], by what is trained so far."""
        if self.global_alone.item():
            return resize_bilinear(self.draw_globally(layout.halve()), layout.size)
        return self.draw_whole(layout)

    def draw_globally(self, layout: Layout) -> jt.Var:
        """Layout (N, h, w), already at half the size -> the global generator's picture of it."""
        return self.global_generator(layout.one_hot())

    def draw_whole(self, layout: Layout) -> jt.Var:
        """Layout (N, H, W) -> picture (N, 3, H, W).

        The planes are averaged for the global generator, as published, while alone it learns from
        layouts that were sampled at half the size.
        """
        planes = layout.one_hot()
        return self.enhancer(planes, self.global_generator.features(pool_average(planes)))


def _halving(in_channels: int, out_channels: int) -> Conv2d:
    return Conv2d(
        in_channels, out_channels, 3, stride=2, padding=1, bias=False, deviation=DEVIATION
    )
