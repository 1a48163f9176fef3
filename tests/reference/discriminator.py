"""Multi-scale patch discriminator of pix2pixHD in the form of SPADE and TSIT."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .layers import LEAKY_SLOPE, leaky, spectral, spectral_instance_conv


class NLayerDiscriminator(nn.Module):
    """Patch discriminator: a plain layer, `layers` - 1 normalized ones, a plain one to the scores.

    4 x 4 kernels with padding 2: a side s becomes s // 2 + 1 at stride 2 and s + 1 at stride 1.
    `stride_one_layer` is the normalized layer of stride 1, by default the last one, as published
    for SPADE. TSIT's code has 3 at every depth; its style transfer has three layers and therefore
    no layer of stride 1: pass 3 for it.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        channels: int = 64,
        layers: int = 4,
        stride_one_layer: int | None = None,
    ) -> None:
        super().__init__()
        keeps_size = layers - 1 if stride_one_layer is None else stride_one_layer
        self.model0 = nn.Sequential(
            nn.Conv2d(in_channels, channels, 4, stride=2, padding=2), nn.LeakyReLU(LEAKY_SLOPE)
        )
        wide = channels
        for index in range(1, layers):
            narrow, wide = wide, min(wide * 2, 512)
            stride = 1 if index == keeps_size else 2
            layer = spectral_instance_conv(narrow, wide, kernel_size=4, stride=stride, padding=2)
            self.add_module(f"model{index}", nn.Sequential(layer, nn.LeakyReLU(LEAKY_SLOPE)))
        self.add_module(f"model{layers}", nn.Sequential(nn.Conv2d(wide, 1, 4, padding=2)))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        outputs: list[torch.Tensor] = []
        for layer in self.children():
            x = layer(x)
            outputs.append(x)
        return outputs


class MultiscaleDiscriminator(nn.Module):
    """`scales` equal discriminators, each on images at half the size of the previous.

    Returns per scale the feature maps after activation, then the scores (N, 1, h, w).
    """

    def __init__(
        self,
        in_channels: int,
        *,
        channels: int = 64,
        scales: int = 2,
        layers: int = 4,
        stride_one_layer: int | None = None,
    ) -> None:
        super().__init__()
        for index in range(scales):
            self.add_module(
                f"discriminator_{index}",
                NLayerDiscriminator(
                    in_channels, channels=channels, layers=layers, stride_one_layer=stride_one_layer
                ),
            )

    def forward(self, x: torch.Tensor) -> list[list[torch.Tensor]]:
        outputs: list[list[torch.Tensor]] = []
        for discriminator in self.children():
            outputs.append(discriminator(x))
            x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        return outputs


class FeatureHeads(nn.Module):
    """A head for each of four maps: 1 x 1, 3 x 3 and 3 x 3 convolutions with spectral norm."""

    def __init__(self, feature_channels: list[int], *, channels: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(FeatureHead(count, channels) for count in feature_channels)

    def forward(self, maps: list[torch.Tensor]) -> list[list[torch.Tensor]]:
        """The scores of each map, as the only output of a scale."""
        return [[head(x)] for head, x in zip(self.heads, maps, strict=True)]


class FeatureHead(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.first = spectral(nn.Conv2d(in_channels, channels, 1))
        self.middle = spectral(nn.Conv2d(channels, channels, 3, padding=1))
        self.last = spectral(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(leaky(self.middle(leaky(self.first(x)))))


def discriminate(
    discriminator: nn.Module, condition: torch.Tensor, fake: torch.Tensor, real: torch.Tensor
) -> tuple[list[list[torch.Tensor]], list[list[torch.Tensor]]]:
    """Scores fakes and reals in one batch, fakes first, each below the planes of its condition."""
    both = torch.cat(
        [torch.cat([condition, fake], dim=1), torch.cat([condition, real], dim=1)], dim=0
    )
    outputs = discriminator(both)
    count = fake.shape[0]
    return (
        [[feature[:count] for feature in scale] for scale in outputs],
        [[feature[count:] for feature in scale] for scale in outputs],
    )
