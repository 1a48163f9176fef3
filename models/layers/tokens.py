"""Layers of transformers on maps: layer norm, dense layers, depthwise GELU, drop path.

Tokens are the pixels of a map, (N, L, C) or (N, h, w, C): the channels of a pixel are next to each
other.
"""

from __future__ import annotations

import jittor as jt
from jittor import init, nn

from models.kernels import fused, tokens
from models.kernels.precision import to_compute_dtype, to_float32


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + epsilon) * scale + shift over the channels of each token.

    Ba et al. 2016, "Layer Normalization", equation 3. Scales start at 1, shifts at 0.
    """

    def __init__(self, channels: int, *, epsilon: float):
        super().__init__()
        self.epsilon = epsilon
        self.scale = jt.ones(channels)
        self.shift = jt.zeros(channels)

    def execute(self, x: jt.Var) -> jt.Var:
        """(..., C) -> (..., C)."""
        if fused.available():
            return tokens.LayerNorm(self.epsilon)(x, self.scale, self.shift)
        centered = x - x.mean(dim=-1, keepdims=True)
        variance = (centered * centered).mean(dim=-1, keepdims=True)
        return centered / jt.sqrt(variance + self.epsilon) * self.scale + self.shift


class TokenLinear(nn.Module):
    """y = Wx + b for each token.

    Args:
        deviation: standard deviation of the initial weights, normal, with biases of 0. None for
            weights and biases uniform within 1 / sqrt(in_features), PyTorch's default.
    """

    def __init__(self, in_features: int, out_features: int, *, deviation: float | None):
        super().__init__()
        shape = (out_features, in_features)
        if deviation is None:
            bound = in_features**-0.5
            self.weight = init.uniform(shape, "float32", low=-bound, high=bound)
            self.bias = init.uniform((out_features,), "float32", low=-bound, high=bound)
        else:
            self.weight = init.gauss(shape, "float32", 0.0, deviation)
            self.bias = jt.zeros(out_features)

    def execute(self, x: jt.Var) -> jt.Var:
        """(..., in_features) -> (..., out_features)."""
        rows = x.reshape((-1, x.shape[-1]))
        product = nn.matmul_transpose(to_compute_dtype(rows), to_compute_dtype(self.weight))
        y = to_float32(product) + self.bias
        return y.reshape((*x.shape[:-1], y.shape[-1]))


class DepthwiseGelu(nn.Module):
    """GELU of a 3 x 3 depthwise convolution with zero padding 1.

    Hendrycks and Gimpel 2016, "Gaussian Error Linear Units": gelu(z) = z * cdf(z), exact. Weights
    start as normal with deviation sqrt(2 / 9), biases at 0.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = init.gauss((channels, 1, 3, 3), "float32", 0.0, (2 / 9) ** 0.5)
        self.bias = jt.zeros(channels)

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, h, w, C) -> (N, h, w, C)."""
        n, h, w, c = x.shape
        taps = self.weight.reshape((c, 9)).transpose((1, 0))  # (9, C)
        if fused.available():
            return tokens.DepthwiseGelu()(x, taps, self.bias)
        neighbors = x.reindex([n, h, w, 9, c], ["i0", "i1+i3/3-1", "i2+i3%3-1", "i4"])
        z = (neighbors * taps).sum(dim=3) + self.bias
        return z * (0.5 + 0.5 * jt.erf(z * 0.5**0.5))


def drop_path(x: jt.Var, rate: float) -> jt.Var:
    """Sets samples of a batch to 0 with probability `rate`, and divides the others by 1 - rate.

    Huang et al. 2016, "Deep Networks with Stochastic Depth", in the form whose expectation is x.

    Args:
        x: (N, ...), the result of a residual branch in training.
        rate: 0..1; 0 for the identity.
    """
    if rate == 0:
        return x
    kept = (jt.rand((x.shape[0], *[1] * (x.ndim - 1))) >= rate).float32()
    return x * (kept * (1 / (1 - rate)))
