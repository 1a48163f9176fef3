"""Convolution and dense layers, with spectral normalisation where the papers have it."""

from __future__ import annotations

from typing import TypeAlias

import jittor as jt
from jittor import init, nn

from models.layers import packed
from models.layers.layout_feature import LayoutFeature
from models.layers.precision import lower, restore
from models.layers.reduction import for_rows

Feature: TypeAlias = jt.Var | LayoutFeature

# Jittor's oneDNN convolution reorders the whole weight tensor at every call. Below this many output
# pixels a matrix product on the weights as they lie is faster (1024 channels, 3 x 3, two cores:
# 2.5 ms against 19 at 3 x 4 pixels, 17 against 32 at 12 x 16, 68 against 82 at 24 x 32).
PRODUCT_PIXELS = 768
# ... and below this many weights the reordering costs nothing.
PRODUCT_WEIGHTS = 1 << 18
# Jittor's amp_reg: a reduction keeps its type, and has no intermediate in float32.
KEEP_SHORT = 4 | 32


def convolve(x: Feature, weight: jt.Var, *, stride: int = 1, padding: int = 0) -> Feature:
    """Cross-correlate (N, I, H, W) with (O, I, k, k): (N, O, h, w), h = (H + 2p - k) // s + 1.

    A function of the layout stays one where that is the quicker way.
    """
    channels = x.shape[1]
    _, in_channels, kernel, _ = weight.shape
    if channels != in_channels:
        raise ValueError(f"a convolution over {in_channels} channels was given {channels} channels")
    x = _in_quicker_form(x, kernel, stride, padding)
    if isinstance(x, LayoutFeature):
        return x.convolve(weight, stride, padding)
    return restore(_convolve(lower(x), lower(weight), stride, padding))


def _in_quicker_form(x: Feature, kernel: int, stride: int, padding: int) -> Feature:
    """The feature as that convolution takes it: a table where it pays, else dense."""
    if isinstance(x, LayoutFeature) and not x.pays(kernel, stride, padding):
        return x.dense()
    return x


def _convolve(x: jt.Var, weight: jt.Var, stride: int, padding: int) -> jt.Var:
    """In the way that is the quickest on this device."""
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
        # oneDNN's 1 x 1 convolution runs at a quarter of the rate of the plain product.
        products = [jt.matmul(matrix, x[i].reshape((channels, h * w))) for i in range(n)]
        whole = products[0] if n == 1 else jt.stack(products)
        return whole.reshape((n, out_channels, h, w))
    columns = x.reindex(
        [channels, kernel, kernel, n, h, w],
        ["i3", "i0", f"i4*{stride}+i1-{padding}", f"i5*{stride}+i2-{padding}"],
    ).reshape((channels * kernel * kernel, n * h * w))
    product = jt.matmul(matrix, columns)
    if n == 1:
        return product.reshape((1, out_channels, h, w))
    return product.reshape((out_channels, n, h, w)).transpose((1, 0, 2, 3))


def add_bias(x: Feature, bias: jt.Var) -> Feature:
    """(N, C, H, W) plus a number for each channel, (C,)."""
    if isinstance(x, LayoutFeature):
        return x.map(lambda table: add_bias(table, bias))
    return x + for_rows(bias.reshape((1, -1, 1, 1)), x)


class SpectralNorm(nn.Module):
    """The largest singular value of a weight, by one power iteration a forward pass.

    Miyato et al. 2018, "Spectral Normalization for GANs", algorithm 1, on the weight as a matrix
    W (O, I * k * k): v <- W'u / |W'u|, u <- Wv / |Wv|, sigma = u'Wv. u and v are constants for the
    gradient. In eval mode u and v stay as they are (PyTorch's `spectral_norm` does the same).
    """

    EPSILON = 1e-12

    def __init__(self, rows: int, columns: int):
        super().__init__()
        self.u = _normalise(jt.randn(rows), self.EPSILON).stop_grad()
        self.v = _normalise(jt.randn(columns), self.EPSILON).stop_grad()

    def execute(self, weight: jt.Var) -> jt.Var:
        """sigma, a scalar of shape (1,), for a weight (O, ...)."""
        matrix = weight.reshape((weight.shape[0], -1))
        if self.is_training():
            constant = matrix.detach()
            v = _normalise(jt.matmul(self.u.unsqueeze(0), constant).reshape(-1), self.EPSILON)
            self.v.update(v.detach())
        product = jt.matmul(matrix, self.v.detach().unsqueeze(1)).reshape(-1)
        if self.is_training():
            self.u.update(_normalise(product.detach(), self.EPSILON))
        return (self.u.detach() * product).sum()


def _normalise(vector: jt.Var, epsilon: float) -> jt.Var:
    return vector / jt.maximum(jt.sqrt((vector * vector).sum()), epsilon)


class Conv2d(nn.Module):
    """A square convolution with zero padding, by default with bias and without spectral norm.

    (N, in_channels, H, W) -> (N, out_channels, h, w), h = (H + 2 * padding - kernel_size) //
    stride + 1. Biases start at 0, weights as Xavier normal with gain 0.02, as in SPADE and TSIT;
    with spectral norm as uniform within 1 / sqrt(fan_in). The published call for Xavier fills a
    stale copy of those on a GPU, so PyTorch's default is what the published runs started from.
    Their scale is divided out, but Adam's steps are measured against it: Xavier's 30 times smaller
    weights would be overwritten within a few steps. With `deviation` they start as normal with that
    deviation, as in pix2pix and pix2pixHD.
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

    def normalised_weight(self) -> jt.Var:
        """The weight that the convolution uses: divided by sigma where there is spectral norm."""
        if self.spectral_norm is None:
            return self.weight
        return self.weight / self.spectral_norm(self.weight)

    def execute(self, x: Feature) -> Feature:
        if self.packed is not None:
            x = _in_quicker_form(x, self.weight.shape[2], self.stride, self.padding)
            # On small maps it would be quicker too (1024 channels, 24 x 32: 25 ms against 65), but
            # those layers are the widest, and packed weights take up to four times their memory.
            if isinstance(x, jt.Var) and x.shape[0] * x.shape[2] * x.shape[3] > PRODUCT_PIXELS:
                return self.packed(x)
        y = convolve(x, self.normalised_weight(), stride=self.stride, padding=self.padding)
        return y if self.bias is None else add_bias(y, self.bias)

    def prepare_to_draw(self) -> None:
        """Divide the weight by its sigma and, on the CPU, lay it out for its convolution."""
        if self.spectral_norm is not None:
            self.weight.update(self.normalised_weight())
            self.spectral_norm = None
        if packed.serve() and self.stride == 1 and self.weight.shape[2] > 1:
            self.packed = packed.PackedConvolution(self.weight, self.bias, self.padding)


class DoublingConv2d(nn.Module):
    """A transposed convolution of stride 2 that doubles height and width.

    The gradient of a convolution with kernel_size 3 or 4, stride 2 and padding 1 (Dumoulin and
    Visin 2016, section 4): (N, in_channels, H, W) -> (N, out_channels, 2H, 2W). Weights
    (in_channels, out_channels, k, k) start as normal with deviation 0.02, biases at 0.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = True):
        super().__init__()
        shape = (in_channels, out_channels, kernel_size, kernel_size)
        self.weight = init.gauss(shape, "float32", 0.0, 0.02)
        self.bias = jt.zeros(out_channels) if bias else None

    def execute(self, x: jt.Var) -> jt.Var:
        x, weight = lower(x), lower(self.weight)
        # sums of 16-bit products stay so until cuDNN's operator takes their place, as in nn.conv2d
        with jt.flag_scope(amp_reg=jt.flags.amp_reg | KEEP_SHORT):
            y = nn.conv_transpose(
                x, weight, stride=2, padding=1, output_padding=weight.shape[2] % 2
            )
        y = restore(y)
        return y if self.bias is None else add_bias(y, self.bias)


class Linear(nn.Module):
    """y = Wx + b: (N, in_features) -> (N, out_features); starts as `Conv2d` does."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = init.xavier_gauss((out_features, in_features), "float32", gain=0.02)
        self.bias = jt.zeros(out_features)

    def execute(self, x: jt.Var) -> jt.Var:
        return nn.matmul_transpose(x, self.weight) + self.bias


def prepare_to_draw(network: nn.Module) -> None:
    """Do once what a network in evaluation mode would do to its weights for each picture.

    The network draws what it drew; it cannot be trained on.
    """
    for layer in network.modules():
        if hasattr(layer, "prepare_to_draw"):
            layer.prepare_to_draw()
