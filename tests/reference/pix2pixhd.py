"""pix2pixHD: Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with
Conditional GANs", 2018, section 3.1 and its supplement.

The state dicts use this project's names. The paper's biases before an instance norm have no effect
and are left out.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def same(fan_in: int, fan_out: int, kernel: int, bias: bool = False) -> nn.Conv2d:
    """c7s1 and the convolutions of residual blocks: reflection padding keeps the size."""
    return nn.Conv2d(
        fan_in, fan_out, kernel, padding=kernel // 2, padding_mode="reflect", bias=bias
    )


def downsampling(fan_in: int, fan_out: int) -> nn.Conv2d:
    """dk: 3 x 3 with stride 2."""
    return nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1, bias=False)


def upsampling(fan_in: int, fan_out: int) -> nn.ConvTranspose2d:
    """uk: 3 x 3 with stride 1/2."""
    return nn.ConvTranspose2d(fan_in, fan_out, 3, 2, 1, output_padding=1, bias=False)


def active(x: torch.Tensor) -> torch.Tensor:
    return F.relu(F.instance_norm(x))


class Residual(nn.Module):
    """Rk: two 3 x 3 convolutions of k channels around one activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_0 = same(channels, channels, 3)
        self.conv_1 = same(channels, channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + F.instance_norm(self.conv_1(active(self.conv_0(x))))


class Global(nn.Module):
    """G1: c7s1-64, d128, d256, d512, d1024, R1024 x 9, u512, u256, u128, u64, c7s1-3."""

    def __init__(
        self, condition_channels: int, *, channels: int = 64, halvings: int = 4, blocks: int = 9
    ) -> None:
        super().__init__()
        wide = [channels * 2**level for level in range(halvings + 1)]
        self.first = same(condition_channels, channels, 7)
        self.down = nn.ModuleList(downsampling(wide[k], wide[k + 1]) for k in range(halvings))
        self.blocks = nn.ModuleList(Residual(wide[-1]) for _ in range(blocks))
        self.up = nn.ModuleList(upsampling(wide[k], wide[k - 1]) for k in range(halvings, 0, -1))
        self.last = same(channels, 3, 7, bias=True)

    def features(self, condition: torch.Tensor) -> torch.Tensor:
        x = active(self.first(condition))
        for layer in self.down:
            x = active(layer(x))
        for block in self.blocks:
            x = block(x)
        for layer in self.up:
            x = active(layer(x))
        return x

    def forward(self, condition: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.last(self.features(condition)))


class Enhancer(nn.Module):
    """G2: c7s1-32, d64, plus G1's last feature, R64 x 3, u32, c7s1-3."""

    def __init__(self, condition_channels: int, *, channels: int = 64, blocks: int = 3) -> None:
        super().__init__()
        self.first = same(condition_channels, channels // 2, 7)
        self.down = downsampling(channels // 2, channels)
        self.blocks = nn.ModuleList(Residual(channels) for _ in range(blocks))
        self.up = upsampling(channels, channels // 2)
        self.last = same(channels // 2, 3, 7, bias=True)

    def forward(self, condition: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        x = active(self.down(active(self.first(condition)))) + features
        for block in self.blocks:
            x = block(x)
        return torch.tanh(self.last(active(self.up(x))))


class CoarseToFine(nn.Module):
    """G = {G1, G2}: G1 receives the condition at half the size, averaged over 3 x 3 windows.

    G1's color layer, global_generator.last, is not used here.
    """

    def __init__(
        self,
        *,
        condition_channels: int,
        channels: int = 64,
        halvings: int = 5,
        blocks: int = 9,
        enhancer_blocks: int = 3,
    ) -> None:
        super().__init__()
        self.global_generator = Global(
            condition_channels, channels=channels, halvings=halvings - 1, blocks=blocks
        )
        self.enhancer = Enhancer(condition_channels, channels=channels, blocks=enhancer_blocks)

    def forward(self, condition: torch.Tensor) -> torch.Tensor:
        half = F.avg_pool2d(condition, 3, stride=2, padding=1, count_include_pad=False)
        return self.enhancer(condition, self.global_generator.features(half))
