"""TSIT: Jiang et al., "TSIT: A Simple and Versatile Framework for Image-to-Image Translation".

The state dict uses the names of the EndlessSora/TSIT checkpoints. The published generator runs only
with L = 7 downsamples (`halvings`): its 'normal' and 'most' build, then fail on maps of different
sizes. Other depths leave out or add the deepest levels: L downsamples give streams res_0 .. res_L
and the blocks head_0 (with feature L), G_middle_0 (L - 1), ..., the last middle block (feature 5),
up_0 (4), up_1 (3), up_2 (2), up_3 (1); there are L - 5 middle blocks.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from .layers import Norm, leaky, parameter_free_norm, spectral
from .spade import upsample

Start = Literal["layout", "noise", "latent"]


class FADE(nn.Module):
    """Section 3.3: norm(z) * (1 + gamma(f)) + beta(f), f the content feature of the same size."""

    def __init__(
        self,
        channels: int,
        feature_channels: int,
        *,
        norm: Norm = "batch",
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.param_free_norm = parameter_free_norm(norm, channels)
        self.mlp_gamma = nn.Conv2d(feature_channels, channels, kernel_size, padding=padding)
        self.mlp_beta = nn.Conv2d(feature_channels, channels, kernel_size, padding=padding)

    def forward(self, x: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
        return self.param_free_norm(x) * (1 + self.mlp_gamma(feature)) + self.mlp_beta(feature)


class FADEResnetBlock(nn.Module):
    """SPADE's residual block with FADE instead of SPADE, and in_channels channels inside."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        norm: Norm = "batch",
        spectral_norm: bool = True,
    ) -> None:
        super().__init__()
        self.learned_shortcut = in_channels != out_channels
        self.conv_0 = spectral(nn.Conv2d(in_channels, in_channels, 3, padding=1), spectral_norm)
        self.conv_1 = spectral(nn.Conv2d(in_channels, out_channels, 3, padding=1), spectral_norm)
        if self.learned_shortcut:
            self.conv_s = spectral(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), spectral_norm
            )
        self.norm_0 = FADE(in_channels, in_channels, norm=norm)
        self.norm_1 = FADE(in_channels, in_channels, norm=norm)
        if self.learned_shortcut:
            self.norm_s = FADE(in_channels, in_channels, norm=norm)

    def forward(self, x: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
        skip = self.conv_s(self.norm_s(x, feature)) if self.learned_shortcut else x
        change = self.conv_0(leaky(self.norm_0(x, feature)))
        change = self.conv_1(leaky(self.norm_1(change, feature)))
        return skip + change


class StreamResnetBlock(nn.Module):
    """Figure 3: convolve, normalize, activate, twice; a learned skip is activated too."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        spectral_norm: bool = True,
    ) -> None:
        super().__init__()
        self.learned_shortcut = in_channels != out_channels
        self.conv_0 = spectral(nn.Conv2d(in_channels, in_channels, 3, padding=1), spectral_norm)
        self.conv_1 = spectral(nn.Conv2d(in_channels, out_channels, 3, padding=1), spectral_norm)
        if self.learned_shortcut:
            self.conv_s = spectral(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), spectral_norm
            )
        self.norm_layer_in = parameter_free_norm("instance", in_channels)
        self.norm_layer_out = parameter_free_norm("instance", out_channels)
        if self.learned_shortcut:
            self.norm_layer_s = parameter_free_norm("instance", out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = leaky(self.norm_layer_s(self.conv_s(x))) if self.learned_shortcut else x
        change = leaky(self.norm_layer_in(self.conv_0(x)))
        change = leaky(self.norm_layer_out(self.conv_1(change)))
        return skip + change


class Stream(nn.Module):
    """Content or style stream: features 0 .. halvings, feature i at 1 / 2 ** i of the size."""

    def __init__(self, in_channels: int, *, channels: int = 64, halvings: int = 7) -> None:
        super().__init__()
        self.halvings = halvings
        fan_in = in_channels
        for level in range(halvings + 1):
            fan_out = channels * min(2**level, 16)
            self.add_module(f"res_{level}", StreamResnetBlock(fan_in, fan_out))
            fan_in = fan_out

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features: list[torch.Tensor] = []
        for level in range(self.halvings + 1):
            if level > 0:
                x = F.interpolate(x, scale_factor=0.5, mode="nearest")
            x = self.get_submodule(f"res_{level}")(x)
            features.append(x)
        return features


def fadain(x: torch.Tensor, style: torch.Tensor, *, alpha: float = 1.0) -> torch.Tensor:
    """Equation 3: x with the style's mean and deviation per channel, mixed with x by alpha.

    Deviations are sqrt(unbiased variance + 1e-5), for x and for the style.
    """

    def moments(feature: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = feature.mean(dim=(2, 3), keepdim=True)
        variance = feature.var(dim=(2, 3), keepdim=True, unbiased=True)
        return mean, torch.sqrt(variance + 1e-5)

    mean, deviation = moments(x)
    style_mean, style_deviation = moments(style)
    moved = (x - mean) / deviation * style_deviation + style_mean
    return alpha * moved + (1 - alpha) * x


class TSITGenerator(nn.Module):
    """Figure 2: FAdaIN, then a FADE block at each level, the deepest first.

    size: (H, W) of the image. start: the input of the first map is the downsampled content
    ('layout', the published semantic synthesis), normal noise (N, noise_channels, h, w) ('noise',
    the published style transfer), or a latent (N, latent_size) ('latent', the published VAE). In
    the published code both streams have the channels of the content; here the style stream has its
    own number, so that a layout and a photo can be combined.
    """

    def __init__(
        self,
        *,
        content_channels: int,
        size: tuple[int, int],
        channels: int = 64,
        halvings: int = 7,
        style_stream: bool = True,
        style_channels: int = 3,
        start: Start = "layout",
        noise_channels: int = 3,
        latent_size: int = 256,
        alpha: float = 1.0,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        if halvings < 5:
            raise ValueError(f"halvings: expected at least 5, got {halvings}")
        self.halvings = halvings
        self.start: Start = start
        self.start_size = (size[0] >> halvings, size[1] >> halvings)
        self.noise_channels = noise_channels
        self.latent_size = latent_size
        self.alpha = alpha
        c = channels

        def stream(in_channels: int) -> Stream:
            return Stream(in_channels, channels=c, halvings=halvings)

        self.content_stream = stream(content_channels)
        self.style_stream = stream(style_channels) if style_stream else None
        if start == "latent":
            self.fc = nn.Linear(latent_size, 16 * c * self.start_size[0] * self.start_size[1])
        else:
            planes = content_channels if start == "layout" else noise_channels
            self.fc = nn.Conv2d(planes, 16 * c, 3, padding=1)

        self.block_names = ["head_0"]
        self.block_names += [f"G_middle_{index}" for index in range(halvings - 5)]
        self.block_names += [f"up_{index}" for index in range(4)]
        for name in self.block_names:
            wide = 16 * c if not name.startswith("up_") else 16 * c >> int(name[3:])
            narrow = wide if not name.startswith("up_") else wide // 2
            self.add_module(name, FADEResnetBlock(wide, narrow, norm=norm))
        self.conv_img = nn.Conv2d(c, 3, 3, padding=1)

    def forward(
        self,
        content: torch.Tensor,
        style: torch.Tensor | None = None,
        z: torch.Tensor | None = None,
    ) -> torch.Tensor:
        count = content.shape[0]
        content_features = self.content_stream(content)
        style_features = None if self.style_stream is None else self.style_stream(style)

        if self.start == "latent":
            if z is None:
                z = torch.randn(count, self.latent_size, dtype=content.dtype)
            x = self.fc(z).view(count, -1, *self.start_size)
        elif self.start == "noise":
            if z is None:
                z = torch.randn(count, self.noise_channels, *self.start_size, dtype=content.dtype)
            x = self.fc(z)
        else:
            x = self.fc(F.interpolate(content, size=self.start_size, mode="nearest"))

        for name, level in zip(self.block_names, range(self.halvings, 0, -1), strict=True):
            if style_features is not None:
                x = fadain(x, style_features[level], alpha=self.alpha)
            x = upsample(self.get_submodule(name)(x, content_features[level]))
        return torch.tanh(self.conv_img(leaky(x)))
