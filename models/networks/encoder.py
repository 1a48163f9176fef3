"""Style encoder of the variational autoencoder of SPADE (Park et al. 2019)."""

from __future__ import annotations

from itertools import pairwise

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d, Linear
from models.layers.normalization import instance_norm
from models.layers.resampling import resize_bilinear
from models.layers.residual import SLOPE

INPUT_SIZE = (256, 256)
LAST_SIZE = 4


class StyleEncoder(nn.Module):
    """Encodes a photo as the mean and log variance of its style vector.

    Park et al. 2019, appendix A: six 3 x 3 convolutions of stride 2 with spectral and instance
    norm, on the photo resized to 256 x 256, then one dense layer each for mean and log variance.

    Args:
        channels: base width, 64 in the paper.
        latent_size: length of the style vector, 256 in the paper.
    """

    def __init__(self, *, channels: int = 64, latent_size: int = 256):
        super().__init__()
        widths = [3, *(channels * factor for factor in (1, 2, 4, 8, 8, 8))]
        self.layers = nn.ModuleList(
            [
                Conv2d(a, b, 3, stride=2, padding=1, bias=False, spectral=True)
                for a, b in pairwise(widths)
            ]
        )
        features = widths[-1] * LAST_SIZE * LAST_SIZE
        self.mean = Linear(features, latent_size)
        self.log_variance = Linear(features, latent_size)

    def execute(self, image: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Photo (N, 3, H, W) in [-1, 1] -> mean and log variance, each (N, latent_size)."""
        x = image
        if tuple(x.shape[2:]) != INPUT_SIZE:
            x = resize_bilinear(x, INPUT_SIZE)  # (N, 3, 256, 256)
        # (N, c, 128, 128), (N, 2c, 64, 64), (N, 4c, 32, 32), (N, 8c, 16, 16), (N, 8c, 8, 8),
        # (N, 8c, 4, 4), with c = channels
        for layer in self.layers:
            x = instance_norm(layer(x), SLOPE)
        x = x.reshape((x.shape[0], -1))  # (N, 8c * 4 * 4)
        return self.mean(x), self.log_variance(x)


def sample_latent(mean: jt.Var, log_variance: jt.Var) -> jt.Var:
    """Samples N(mean, exp(log_variance)): mean + exp(log_variance / 2) * noise, (N, latent_size).

    Kingma and Welling 2014, section 2.4; the noise is standard normal.
    """
    return mean + jt.exp(0.5 * log_variance) * jt.randn(mean.shape)
