"""Convolution and dense layers, and spectral normalization."""

from __future__ import annotations

from typing import TypeAlias

import jittor as jt
from jittor import init, nn

from models.kernels import packed
from models.kernels.precision import to_compute_dtype, to_float32
from models.kernels.reduction import broadcast_to_rows
from models.layouts.tabulated_feature import TabulatedFeature

Feature: TypeAlias = jt.Var | TabulatedFeature

# Jittor's oneDNN convolution reorders the whole weight tensor at every call. Up to this many output
# pixels a matrix product on the weights in place is faster (1024 channels, 3 x 3, two cores:
# 2.5 ms against 19 at 3 x 4 pixels, 17 against 32 at 12 x 16, 68 against 82 at 24 x 32).
PRODUCT_PIXELS = 768
# ... with at least this many weights; below, the reordering costs nothing.
PRODUCT_WEIGHTS = 1 << 18
# Bits of Jittor's amp_reg: a reduction keeps its type and uses no float32 intermediate.
KEEP_SHORT = 4 | 32


def convolve(x: Feature, weight: jt.Var, *, stride: int = 1, padding: int = 0) -> Feature:
    """Cross-correlates (N, I, H, W) with (O, I, k, k): (N, O, h, w), h = (H + 2p - k) // s + 1.

    A tabulated feature stays tabulated if that is faster. The product has the precision of
    `autocast`, the result is float32.

    Raises:
        ValueError: x and weight differ in I.
    """
    channels = x.shape[1]
    _, in_channels, kernel, _ = weight.shape
    if channels != in_channels:
        raise ValueError(f"convolution: expected {in_channels} channels, got {channels}")
    x = _to_faster_form(x, kernel, stride, padding)
    if isinstance(x, TabulatedFeature):
        return x.convolve(weight, stride, padding)
    return to_float32(_convolve(to_compute_dtype(x), to_compute_dtype(weight), stride, padding))


def _to_faster_form(x: Feature, kernel: int, stride: int, padding: int) -> Feature:
    """The feature in the form that is faster for the convolution: tabulated or dense."""
    if isinstance(x, TabulatedFeature) and not x.is_faster(kernel, stride, padding):
        return x.dense()
    return x


def _convolve(x: jt.Var, weight: jt.Var, stride: int, padding: int) -> jt.Var:
    """Cross-correlates dense maps by the fastest algorithm on this device."""
    n, channels, height, width = x.shape
    out_channels, _, kernel, _ = weight.shape
    h = (height + 2 * padding - kernel) // stride + 1
    w = (width + 2 * padding - kernel) // stride + 1
    pointwise = kernel == 1 and stride == 1 and padding == 0
    small = n * h * w <= PRODUCT_PIXELS and weight.numel() >= PRODUCT_WEIGHTS
    if jt.flags.use_cuda or not (small or pointwise):
        return nn.conv2d(x, weight, stride=stride, padding=padding)
    matrix = weight.reshape((out_channels, -1))
    if pointwise:
        # oneDNN's 1 x 1 convolution has a quarter of the throughput of the matrix product.
        products = [jt.matmul(matrix, x[i].reshape((channels, h * w))) for i in range(n)]
        whole = products[0] if n == 1 else jt.stack(products)  # (N, O, h * w), or (O, h * w)
        return whole.reshape((n, out_channels, h, w))
    columns = x.reindex(
        [channels, kernel, kernel, n, h, w],
        ["i3", "i0", f"i4*{stride}+i1-{padding}", f"i5*{stride}+i2-{padding}"],
    ).reshape((channels * kernel * kernel, n * h * w))
    product = jt.matmul(matrix, columns)  # (O, N * h * w)
    if n == 1:
        return product.reshape((1, out_channels, h, w))
    return product.reshape((out_channels, n, h, w)).transpose((1, 0, 2, 3))


def add_bias(x: Feature, bias: jt.Var) -> Feature:
    """Adds a bias (C,) to (N, C, H, W)."""
    if isinstance(x, TabulatedFeature):
        return x.map(lambda table: add_bias(table, bias))
    return x + broadcast_to_rows(bias.reshape((1, -1, 1, 1)), x)


class SpectralNorm(nn.Module):
    """Estimates the largest singular value of a weight by one power iteration per forward pass.

    Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", algorithm 1,
    on the weight as a matrix W (O, I * k * k): v <- W'u / |W'u|, u <- Wv / |Wv|, sigma = u'Wv.
    u and v are constants for the gradient. Evaluation leaves u and v unchanged, as PyTorch's
    `spectral_norm` does.

    Args:
        rows: O, the length of u.
        columns: I * k * k, the length of v.
    """

    EPSILON = 1e-12

    def __init__(self, rows: int, columns: int):
        super().__init__()
        self.u = _normalize(jt.randn(rows), self.EPSILON).stop_grad()
        self.v = _normalize(jt.randn(columns), self.EPSILON).stop_grad()

    def execute(self, weight: jt.Var) -> jt.Var:
        """Weight (O, ...) -> sigma, a scalar of shape (1,)."""
        matrix = weight.reshape((weight.shape[0], -1))  # (O, I * k * k)
        if self.is_training():
            constant = matrix.detach()
            v = _normalize(jt.matmul(self.u.unsqueeze(0), constant).reshape(-1), self.EPSILON)
            self.v.update(v.detach())  # (I * k * k,)
        product = jt.matmul(matrix, self.v.detach().unsqueeze(1)).reshape(-1)  # Wv, (O,)
        if self.is_training():
            self.u.update(_normalize(product.detach(), self.EPSILON))
        return (self.u.detach() * product).sum()


def _normalize(vector: jt.Var, epsilon: float) -> jt.Var:
    return vector / jt.maximum(jt.sqrt((vector * vector).sum()), epsilon)


class Conv2d(nn.Module):
    """A square convolution with zero padding.

    Biases start at 0. Weights start, as in SPADE and TSIT, as Xavier normal with gain 0.02; with
    spectral norm as uniform within 1 / sqrt(fan_in). That is PyTorch's default, from which the
    published runs started: their Xavier call fills a stale copy of these weights on a GPU. Spectral
    norm divides the scale out, but Adam's steps are relative to it: weights 30 times smaller, as
    Xavier's, would be overwritten within a few steps.

    Args:
        bias: whether to add a bias (out_channels,).
        spectral: whether to divide the weight by its spectral norm.
        deviation: standard deviation of the initial weights, normal as in pix2pix and pix2pixHD.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        spectral: bool = False,
        deviation: float | None = None,
    ):
        super().__init__()
        self.stride = stride
        self.padding = padding
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        columns = in_channels * kernel_size * kernel_size
        if deviation is not None:
            self.weight = init.gauss(shape, "float32", 0.0, deviation)
        elif spectral:
            bound = columns**-0.5
            self.weight = init.uniform(shape, "float32", low=-bound, high=bound)
        else:
            self.weight = init.xavier_gauss(shape, "float32", gain=0.02)
        self.bias = jt.zeros(out_channels) if bias else None
        self.spectral_norm = SpectralNorm(out_channels, columns) if spectral else None
        self.packed: packed.PackedConvolution | None = None

    def normalized_weight(self) -> jt.Var:
        """The weight (O, I, k, k), divided by sigma if the layer has spectral norm."""
        if self.spectral_norm is None:
            return self.weight
        return self.weight / self.spectral_norm(self.weight)

    def execute(self, x: Feature) -> Feature:
        """(N, in_channels, H, W) -> (N, out_channels, h, w), h = (H + 2p - k) // stride + 1."""
        if self.packed is not None:
            x = _to_faster_form(x, self.weight.shape[2], self.stride, self.padding)
            # Small maps would be faster too (1024 channels, 24 x 32: 25 ms against 65), but their
            # layers are the widest, and packed weights need up to four times the memory.
            if isinstance(x, jt.Var) and x.shape[0] * x.shape[2] * x.shape[3] > PRODUCT_PIXELS:
                return self.packed(x)
        y = convolve(x, self.normalized_weight(), stride=self.stride, padding=self.padding)
        return y if self.bias is None else add_bias(y, self.bias)

    def prepare_for_inference(self) -> None:
        """Divides the weight by its sigma and, on the CPU, packs it for oneDNN."""
        if self.spectral_norm is not None:
            self.weight.update(self.normalized_weight())
            self.spectral_norm = None
        if packed.available() and self.stride == 1 and self.weight.shape[2] > 1:
            self.packed = packed.PackedConvolution(self.weight, self.bias, self.padding)


class TransposedConv2d(nn.Module):
    """A transposed convolution of stride 2: upsamples height and width by 2.

    The gradient of a convolution with kernel_size 3 or 4, stride 2 and padding 1 (Dumoulin and
    Visin 2016, section 4). Weights (in_channels, out_channels, k, k) start as normal with standard
    deviation 0.02, biases at 0.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = True):
        super().__init__()
        shape = (in_channels, out_channels, kernel_size, kernel_size)
        self.weight = init.gauss(shape, "float32", 0.0, 0.02)
        self.bias = jt.zeros(out_channels) if bias else None

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, in_channels, H, W) -> (N, out_channels, 2H, 2W)."""
        x, weight = to_compute_dtype(x), to_compute_dtype(self.weight)
        # As in nn.conv2d: the sum keeps 16 bits until Jittor replaces it by cuDNN's operator.
        with jt.flag_scope(amp_reg=jt.flags.amp_reg | KEEP_SHORT):
            y = nn.conv_transpose(
                x, weight, stride=2, padding=1, output_padding=weight.shape[2] % 2
            )
        y = to_float32(y)
        return y if self.bias is None else add_bias(y, self.bias)


class Linear(nn.Module):
    """y = Wx + b. Weights start as Xavier normal with gain 0.02, biases at 0."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = init.xavier_gauss((out_features, in_features), "float32", gain=0.02)
        self.bias = jt.zeros(out_features)

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, in_features) -> (N, out_features)."""
        return nn.matmul_transpose(x, self.weight) + self.bias


def prepare_for_inference(network: nn.Module) -> None:
    """Applies once, in place, what evaluation would compute from the weights for each image.

    The network must be in evaluation mode. Its outputs stay the same up to rounding; it can no
    longer be trained.
    """
    for layer in network.modules():
        if hasattr(layer, "prepare_for_inference"):
            layer.prepare_for_inference()
