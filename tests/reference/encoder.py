"""Style encoder of SPADE's VAE (figure 14 of its supplement)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .layers import leaky, spectral_instance_conv


class ConvEncoder(nn.Module):
    """Image (N, 3, H, W) to mean and log variance (N, latent_size).

    Every image is resized to 256 x 256 (bilinear, no antialiasing); six layers of stride 2 leave
    4 x 4. The published code drops the sixth layer if the crop is smaller than 256, and then fails
    because the linear layers expect 4 x 4. Here there are always six.
    """

    def __init__(self, *, channels: int = 64, latent_size: int = 256) -> None:
        super().__init__()
        fan_in = 3
        for index, factor in enumerate((1, 2, 4, 8, 8, 8), start=1):
            layer = spectral_instance_conv(
                fan_in, channels * factor, kernel_size=3, stride=2, padding=1
            )
            self.add_module(f"layer{index}", layer)
            fan_in = channels * factor
        self.fc_mu = nn.Linear(fan_in * 16, latent_size)
        self.fc_var = nn.Linear(fan_in * 16, latent_size)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = image
        if x.shape[2:] != (256, 256):
            x = F.interpolate(x, size=(256, 256), mode="bilinear", align_corners=False)
        for index in range(1, 7):
            x = leaky(self.get_submodule(f"layer{index}")(x))
        x = x.flatten(1)
        return self.fc_mu(x), self.fc_var(x)


def sample_latent(
    mean: torch.Tensor, log_variance: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """noise * exp(log_variance / 2) + mean, with standard normal noise of the mean's shape."""
    return noise * torch.exp(0.5 * log_variance) + mean
