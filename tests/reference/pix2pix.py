"""pix2pix: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017.

The state dicts use this project's names: the published names number layers of a nesting that
depends on the depth.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .layers import LEAKY_SLOPE, Norm


def scaled_norm(norm: Norm, channels: int) -> nn.Module:
    """A norm with scale and shift; statistics of the batch at test time too (section 3.3)."""
    if norm == "batch":
        return nn.BatchNorm2d(channels, track_running_stats=False)
    return nn.InstanceNorm2d(channels, affine=True)


class UNet(nn.Module):
    """Appendix 6.1.1: C64-C128-C256-C512-C512-... and CD512-CD512-CD512-C512-...-C64 with skips.

    Recursive: level k downsamples its input, calls level k + 1, and upsamples the result, which
    level k - 1 concatenates with its own feature. `noise` selects the dropout: positive numbers
    keep and double a value; the coarsest level's values come first.
    """

    DROPPED = 3

    def __init__(
        self, *, condition_channels: int, channels: int, halvings: int, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        self.depth = halvings
        wide = [channels * min(2**level, 8) for level in range(halvings)]
        into = [condition_channels, *wide[:-1]]
        out = [3, *wide[:-1]]
        edge = (0, halvings - 1)
        self.down = nn.ModuleList(
            nn.Conv2d(into[k], wide[k], 4, 2, 1, bias=k in edge) for k in range(halvings)
        )
        self.down_norms = nn.ModuleList(scaled_norm(norm, w) for w in wide[1:-1])
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(
                wide[k] * (1 if k == halvings - 1 else 2), out[k], 4, 2, 1, bias=k == 0
            )
            for k in range(halvings)
        )
        self.up_norms = nn.ModuleList(scaled_norm(norm, w) for w in wide[:-1])

    def forward(self, condition: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        self.noise = noise
        return torch.tanh(self._level(0, condition))

    def _level(self, level: int, x: torch.Tensor) -> torch.Tensor:
        innermost = level == self.depth - 1
        inner = self.down[level](x)
        if level > 0 and not innermost:
            inner = self.down_norms[level - 1](inner)
        parts = [inner]
        if not innermost:
            parts.append(self._level(level + 1, F.leaky_relu(inner, LEAKY_SLOPE)))
        result = self.up[level](torch.cat([F.relu(part) for part in parts], dim=1))
        if level > 0:
            result = self.up_norms[level - 1](result)
        if self.noise is not None and self.depth - level <= self.DROPPED:
            count = result[0].numel()
            kept, self.noise = self.noise[:, :count], self.noise[:, count:]
            result = torch.where(kept.reshape(result.shape) > 0, 2 * result, 0 * result)
        return result


class PatchDiscriminator(nn.Module):
    """Appendix 6.1.2: C64-C128-C256-C512 to scores of 70 x 70 patches; no norm in the first.

    With `norm` None and `padding` 2 it is pix2pixHD's: instance norm without scale and shift. The
    last normalized layer has stride 1.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        channels: int = 64,
        layers: int = 4,
        norm: Norm | None = "batch",
        padding: int = 1,
    ) -> None:
        super().__init__()
        wide = [min(channels * 2**index, 512) for index in range(layers)]
        self.first = nn.Conv2d(in_channels, channels, 4, 2, padding)
        self.middle = nn.ModuleList(
            nn.Conv2d(wide[k - 1], wide[k], 4, 1 if k == layers - 1 else 2, padding, bias=False)
            for k in range(1, layers)
        )
        self.norms = None
        if norm is not None:
            self.norms = nn.ModuleList(scaled_norm(norm, w) for w in wide[1:])
        self.last = nn.Conv2d(wide[-1], 1, 4, 1, padding)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        outputs = [F.leaky_relu(self.first(x), LEAKY_SLOPE)]
        for index, layer in enumerate(self.middle):
            y = layer(outputs[-1])
            y = F.instance_norm(y) if self.norms is None else self.norms[index](y)
            outputs.append(F.leaky_relu(y, LEAKY_SLOPE))
        return [*outputs, self.last(outputs[-1])]


class MultiscalePatchDiscriminator(nn.Module):
    """`scales` discriminators, each on images at half the previous size (pix2pixHD, 3.2)."""

    def __init__(
        self,
        in_channels: int,
        *,
        channels: int = 64,
        scales: int = 1,
        layers: int = 4,
        norm: Norm | None = None,
        padding: int = 2,
    ) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(
            PatchDiscriminator(
                in_channels, channels=channels, layers=layers, norm=norm, padding=padding
            )
            for _ in range(scales)
        )

    def forward(self, x: torch.Tensor) -> list[list[torch.Tensor]]:
        outputs = []
        for discriminator in self.discriminators:
            outputs.append(discriminator(x))
            x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        return outputs
