"""MobileNet v1 and the head of NIMA, with the names of Keras' layers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

# Input and output channels, and stride, of the blocks 1 to 13.
BLOCKS = (
    (32, 64, 1),
    (64, 128, 2), (128, 128, 1),
    (128, 256, 2), (256, 256, 1),
    (256, 512, 2), *[(512, 512, 1)] * 5,
    (512, 1024, 2), (1024, 1024, 1),
)  # fmt: skip


def _convolution(
    in_channels: int, out_channels: int, size: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution without bias; a stride of 2 has padding of its own, see `_pad`."""
    padding = size // 2 if stride == 1 else 0
    return nn.Conv2d(in_channels, out_channels, size, stride, padding, groups=groups, bias=False)


def _pad(x: torch.Tensor) -> torch.Tensor:
    """Keras' ZeroPadding2D(((0, 1), (0, 1))): a row below, a column to the right."""
    return F.pad(x, (0, 1, 0, 1))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Depthwise and pointwise convolution, each with norm and ReLU6."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = _convolution(in_channels, in_channels, 3, stride, in_channels)
        self.conv_dw_bn = _norm(in_channels)
        self.conv_pw = _convolution(in_channels, out_channels, 1)
        self.conv_pw_bn = _norm(out_channels)
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_dw(x if self.stride == 1 else _pad(x))
        x = F.relu6(self.conv_dw_bn(x))
        return F.relu6(self.conv_pw_bn(self.conv_pw(x)))


class Head(nn.Module):
    """Features (N, in_features) to probabilities of the ratings 1 to 10, without dropout."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.dense = nn.Linear(in_features, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.softmax(self.dense(x), dim=1)


class MobileNetNIMA(nn.Module):
    """Images (N, 3, H, W) in [-1, 1] to pooled features and probabilities of the ratings."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _convolution(3, 32, 3, 2)
        self.conv1_bn = _norm(32)
        self.blocks = nn.ModuleList(Block(*block) for block in BLOCKS)
        self.head = Head(1024)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = F.relu6(self.conv1_bn(self.conv1(_pad(image))))
        for block in self.blocks:
            x = block(x)
        pooled = x.mean(dim=(2, 3))
        return {"pooled": pooled, "distribution": self.head(pooled)}
