"""SPADE: Park et al., "Semantic Image Synthesis with Spatially-Adaptive Normalization", 2019.

The state dict uses the names of the NVlabs/SPADE checkpoints.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .layers import Norm, leaky, parameter_free_norm, spectral

DEPTHS = {"normal": 5, "more": 6, "most": 7}


class SPADE(nn.Module):
    """Equation 1: norm(x) * (1 + gamma(m)) + beta(m), m the condition at the size of x."""

    def __init__(
        self,
        channels: int,
        condition_channels: int,
        *,
        norm: Norm = "batch",
        hidden_channels: int = 128,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.param_free_norm = parameter_free_norm(norm, channels)
        self.mlp_shared = nn.Sequential(
            nn.Conv2d(condition_channels, hidden_channels, kernel_size, padding=padding), nn.ReLU()
        )
        self.mlp_gamma = nn.Conv2d(hidden_channels, channels, kernel_size, padding=padding)
        self.mlp_beta = nn.Conv2d(hidden_channels, channels, kernel_size, padding=padding)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        resized = F.interpolate(condition, size=x.shape[2:], mode="nearest")
        hidden = self.mlp_shared(resized)
        return self.param_free_norm(x) * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)


class SPADEResnetBlock(nn.Module):
    """Figure 4 (left): normalize, activate, convolve, twice, with min(in, out) channels inside.

    If the numbers of channels differ, the skip is learned: SPADE, then a 1 x 1 convolution without
    bias and without activation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        condition_channels: int,
        *,
        norm: Norm = "batch",
        hidden_channels: int = 128,
        spectral_norm: bool = True,
    ) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        self.learned_shortcut = in_channels != out_channels
        self.conv_0 = spectral(nn.Conv2d(in_channels, middle, 3, padding=1), spectral_norm)
        self.conv_1 = spectral(nn.Conv2d(middle, out_channels, 3, padding=1), spectral_norm)
        if self.learned_shortcut:
            self.conv_s = spectral(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), spectral_norm
            )
        self.norm_0 = SPADE(
            in_channels, condition_channels, norm=norm, hidden_channels=hidden_channels
        )
        self.norm_1 = SPADE(middle, condition_channels, norm=norm, hidden_channels=hidden_channels)
        if self.learned_shortcut:
            self.norm_s = SPADE(
                in_channels, condition_channels, norm=norm, hidden_channels=hidden_channels
            )

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        skip = self.conv_s(self.norm_s(x, condition)) if self.learned_shortcut else x
        change = self.conv_0(leaky(self.norm_0(x, condition)))
        change = self.conv_1(leaky(self.norm_1(change, condition)))
        return skip + change


class SPADEGenerator(nn.Module):
    """Figure 4 (right), with 5 ('normal'), 6 ('more') or 7 ('most') upsamplings.

    size: (H, W) of the image. The first feature map has the size (H, W) // 2 ** halvings; its input
    is the downsampled condition, or with `vae` a latent (N, latent_size).
    """

    def __init__(
        self,
        *,
        condition_channels: int,
        size: tuple[int, int],
        channels: int = 64,
        halvings: int | str = "normal",
        vae: bool = False,
        latent_size: int = 256,
        norm: Norm = "batch",
        hidden_channels: int = 128,
    ) -> None:
        super().__init__()
        self.halvings = DEPTHS[halvings] if isinstance(halvings, str) else halvings
        if self.halvings not in DEPTHS.values():
            raise ValueError(f"halvings: expected 5, 6 or 7, got {halvings}")
        self.start_size = (size[0] >> self.halvings, size[1] >> self.halvings)
        self.latent_size = latent_size
        self.vae = vae
        c = channels

        def block(fan_in: int, fan_out: int) -> SPADEResnetBlock:
            return SPADEResnetBlock(
                fan_in, fan_out, condition_channels, norm=norm, hidden_channels=hidden_channels
            )

        if vae:
            self.fc = nn.Linear(latent_size, 16 * c * self.start_size[0] * self.start_size[1])
        else:
            self.fc = nn.Conv2d(condition_channels, 16 * c, 3, padding=1)
        self.head_0 = block(16 * c, 16 * c)
        self.G_middle_0 = block(16 * c, 16 * c)
        self.G_middle_1 = block(16 * c, 16 * c)
        self.up_0 = block(16 * c, 8 * c)
        self.up_1 = block(8 * c, 4 * c)
        self.up_2 = block(4 * c, 2 * c)
        self.up_3 = block(2 * c, c)
        if self.halvings == 7:
            self.up_4 = block(c, c // 2)
        self.conv_img = nn.Conv2d(c // 2 if self.halvings == 7 else c, 3, 3, padding=1)

    def forward(self, condition: torch.Tensor, z: torch.Tensor | None = None) -> torch.Tensor:
        if self.vae:
            if z is None:
                z = torch.randn(condition.shape[0], self.latent_size, dtype=condition.dtype)
            x = self.fc(z).view(condition.shape[0], -1, *self.start_size)
        else:
            x = self.fc(F.interpolate(condition, size=self.start_size, mode="nearest"))

        x = self.head_0(x, condition)
        x = self.G_middle_0(upsample(x), condition)
        # 'normal' runs both middle blocks at one size: seven blocks with only five upsamplings.
        x = self.G_middle_1(x if self.halvings == 5 else upsample(x), condition)
        x = self.up_0(upsample(x), condition)
        x = self.up_1(upsample(x), condition)
        x = self.up_2(upsample(x), condition)
        x = self.up_3(upsample(x), condition)
        if self.halvings == 7:
            x = self.up_4(upsample(x), condition)
        return torch.tanh(self.conv_img(leaky(x)))


def upsample(x: torch.Tensor) -> torch.Tensor:
    """Twice the height and width, by nearest neighbor."""
    return F.interpolate(x, scale_factor=2, mode="nearest")
