"""Self-attention with reduced keys and Mix-FFN: the block of SegFormer (Xie et al. 2021)."""

from __future__ import annotations

import jittor as jt
from jittor import init, nn

from models.kernels import attention, packed
from models.kernels.precision import to_compute_dtype, to_float32
from models.layers.tokens import DepthwiseGelu, LayerNorm, TokenLinear, drop_path

# Standard deviation of the initial weights of dense layers. As published they are cut off at 2, a
# hundred deviations, which changes no weight.
DEVIATION = 0.02
FFN_RATIO = 4


def attend(query: jt.Var, key_value: jt.Var, heads: int) -> jt.Var:
    """softmax(Q K' / sqrt(C / heads)) V per head, heads joined: (N, L, C).

    Vaswani et al. 2017, "Attention Is All You Need", section 3.2.

    Args:
        query: (N, L, C).
        key_value: (N, M, 2C), keys then values.
        heads: number of heads; it divides C.
    """
    query, key_value = to_compute_dtype(query), to_compute_dtype(key_value)
    if packed.available():
        return to_float32(attention.Attention(heads)(query, key_value))
    n, length, channels = query.shape
    count, width = key_value.shape[1], channels // heads
    queries = query.reshape((n, length, heads, width)).transpose((0, 2, 1, 3))
    pairs = key_value.reshape((n, count, 2, heads, width))
    keys = pairs[:, :, 0].transpose((0, 2, 3, 1))  # (N, heads, width, M)
    values = pairs[:, :, 1].transpose((0, 2, 1, 3))  # (N, heads, M, width)
    scores = to_float32(jt.matmul(queries, keys)) * width**-0.5  # (N, heads, L, M)
    mixed = jt.matmul(to_compute_dtype(nn.softmax(scores, dim=-1)), values)
    return to_float32(mixed).transpose((0, 2, 1, 3)).reshape((n, length, channels))


class ReducedAttention(nn.Module):
    """Multi-head self-attention on a map whose keys and values are reduced.

    Xie et al. 2021, "SegFormer: Simple and Efficient Design for Semantic Segmentation with
    Transformers", section 3.1, equations 1 and 2: a convolution of kernel and stride `reduction`,
    without padding, and a layer norm precede keys and values. Pixels beyond the last whole window
    have no key, as published.

    Args:
        heads: number of heads; it divides `channels`.
        reduction: 1 for keys and values of every pixel.
        epsilon: of the reduction's norm.

    Raises:
        ValueError: heads do not divide channels.
    """

    def __init__(self, channels: int, *, heads: int, reduction: int, epsilon: float):
        super().__init__()
        if channels % heads:
            raise ValueError(f"attention: expected a multiple of {heads} heads, got {channels}")
        self.heads = heads
        self.reduction = reduction
        self.query = TokenLinear(channels, channels, deviation=DEVIATION)
        self.key_value = TokenLinear(channels, 2 * channels, deviation=DEVIATION)
        self.output = TokenLinear(channels, channels, deviation=DEVIATION)
        if reduction > 1:
            self.reduce = WindowConv2d(channels, reduction)
            self.norm = LayerNorm(channels, epsilon=epsilon)

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, h, w, C) -> (N, h, w, C)."""
        n, h, w, c = x.shape
        source = x
        if self.reduction > 1:
            source = self.norm(self.reduce(x))  # (N, h // reduction, w // reduction, C)
        key_value = self.key_value(source.reshape((n, -1, c)))  # (N, M, 2C)
        mixed = attend(self.query(x.reshape((n, h * w, c))), key_value, self.heads)
        return self.output(mixed).reshape((n, h, w, c))


class WindowConv2d(nn.Module):
    """A convolution whose stride is its kernel size, as a product on windows of tokens.

    Weights start as normal with deviation sqrt(2 / (k * k * channels)), biases at 0.
    """

    def __init__(self, channels: int, kernel_size: int):
        super().__init__()
        shape = (channels, channels, kernel_size, kernel_size)
        deviation = (2 / (kernel_size * kernel_size * channels)) ** 0.5
        self.weight = init.gauss(shape, "float32", 0.0, deviation)
        self.bias = jt.zeros(channels)

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, h, w, C) -> (N, h // k, w // k, C)."""
        n, h, w, c = x.shape
        k = self.weight.shape[2]
        size = [n, h // k, w // k]
        windows = x.reindex([*size, k, k, c], ["i0", f"i1*{k}+i3", f"i2*{k}+i4", "i5"])
        matrix = self.weight.transpose((0, 2, 3, 1)).reshape((c, k * k * c))
        rows = windows.reshape((-1, k * k * c))
        product = nn.matmul_transpose(to_compute_dtype(rows), to_compute_dtype(matrix))
        return (to_float32(product) + self.bias).reshape((*size, c))


class MixFFN(nn.Module):
    """Dense layer to 4C, 3 x 3 depthwise convolution, GELU, dense layer to C.

    Xie et al. 2021, section 3.1, equation 3: the zero padding of the convolution gives the network
    the positions of its pixels.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.expand = TokenLinear(channels, FFN_RATIO * channels, deviation=DEVIATION)
        self.depthwise = DepthwiseGelu(FFN_RATIO * channels)
        self.reduce = TokenLinear(FFN_RATIO * channels, channels, deviation=DEVIATION)

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, h, w, C) -> (N, h, w, C)."""
        return self.reduce(self.depthwise(self.expand(x)))


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + ffn(norm(x)) (Xie et al. 2021, figure 2).

    Args:
        epsilon: of the two norms of the block.
        inner_epsilon: of the reduction's norm.
        drop_rate: probability that training drops a branch for a sample.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        reduction: int,
        epsilon: float,
        inner_epsilon: float,
        drop_rate: float,
    ):
        super().__init__()
        self.drop_rate = drop_rate
        self.norm_1 = LayerNorm(channels, epsilon=epsilon)
        self.attention = ReducedAttention(
            channels, heads=heads, reduction=reduction, epsilon=inner_epsilon
        )
        self.norm_2 = LayerNorm(channels, epsilon=epsilon)
        self.ffn = MixFFN(channels)

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, h, w, C) -> (N, h, w, C)."""
        rate = self.drop_rate if self.is_training() else 0.0
        x = x + drop_path(self.attention(self.norm_1(x)), rate)
        return x + drop_path(self.ffn(self.norm_2(x)), rate)
