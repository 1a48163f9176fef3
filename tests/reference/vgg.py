"""VGG-19 up to relu5_1 with torchvision's parameter names: the five maps that SPADE compares."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512)
SLICE_ENDS = (2, 7, 12, 21, 30)


class VGG19(nn.Module):
    """Image (N, 3, H, W) to relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.

    As published, the input is in [-1, 1], not standardized as for ImageNet.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        fan_in = 3
        for width in WIDTHS:
            if width == 0:
                layers.append(nn.MaxPool2d(2, stride=2))
            else:
                layers += [nn.Conv2d(fan_in, width, 3, padding=1), nn.ReLU()]
                fan_in = width
        self.features = nn.Sequential(*layers)
        self.requires_grad_(False)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        maps: list[torch.Tensor] = []
        x = image
        for index, layer in enumerate(self.features, start=1):
            x = layer(x)
            if index in SLICE_ENDS:
                maps.append(x)
        return maps


class Pyramid(nn.Module):
    """The image at five sizes; replaces VGG-19 in tests that its kinks would make unstable."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = [x]
        for _ in range(4):
            maps.append(F.avg_pool2d(maps[-1], 3, stride=2, padding=1, count_include_pad=False))
        return maps
