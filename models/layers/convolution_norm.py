"""Convolution, batch norm and activation: the layer of image classifiers."""

from __future__ import annotations

from typing import Literal

import jittor as jt
from jittor import init, nn

from models.kernels import packed
from models.kernels.depthwise import Padding, convolve_depthwise, pad_with_zeros
from models.kernels.precision import to_compute_dtype, to_float32
from models.kernels.scale_shift import Activation
from models.layers.convolution import convolve
from models.layers.normalization import AffineBatchNorm


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, activation.

    Weights start as normal with variance 2 / fan_out (He et al. 2015, equation 14).

    Args:
        kernel_size: rows and columns.
        padding: rows and columns of zeros on both sides; "same" for TensorFlow's: the result has
            ceil(H / stride) rows, and of an odd number of rows of zeros the larger half is below.
        depthwise: whether each channel has one filter; `out_channels` must be `in_channels`.
        epsilon: of the batch norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        *,
        stride: int = 1,
        padding: tuple[int, int] | Literal["same"] = (0, 0),
        depthwise: bool = False,
        activation: Activation = "none",
        epsilon: float,
    ):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.depthwise = depthwise
        self.activation: Activation = activation
        rows, columns = kernel_size
        fan_out = rows * columns * (1 if depthwise else out_channels)
        shape = (out_channels, 1 if depthwise else in_channels, rows, columns)
        self.weight = init.gauss(shape, "float32", 0.0, (2.0 / fan_out) ** 0.5)
        self.norm = AffineBatchNorm(out_channels, epsilon)
        self.packed: packed.PackedConvolution | None = None

    def execute(self, x: jt.Var) -> jt.Var:
        """(N, in_channels, H, W) -> (N, out_channels, h, w).

        After `pack(channels_last=True)` the feature maps are (N, H, W, C).
        """
        if self.packed is not None:
            rows = 1 if self.packed.channels_last else 2
            return self.packed(x, self._pad(x.shape[rows], x.shape[rows + 1]))
        padding = self._pad(x.shape[2], x.shape[3])
        return self.norm(self._convolve(x, padding), self.activation)

    def _pad(self, height: int, width: int) -> Padding:
        """The padding of a feature map of that size."""
        if self.padding == "same":
            top, bottom = _same(height, self.kernel_size[0], self.stride)
            left, right = _same(width, self.kernel_size[1], self.stride)
            return Padding(top, left, bottom, right)
        return Padding(*self.padding, *self.padding)

    def _convolve(self, x: jt.Var, padding: Padding) -> jt.Var:
        if self.depthwise:
            return convolve_depthwise(x, self.weight, self.stride, padding)
        if padding[:2] != padding[2:]:
            x, padding = pad_with_zeros(x, padding), Padding(0, 0, 0, 0)
        rows, columns = self.kernel_size
        if rows == columns and padding.top == padding.left:
            return convolve(x, self.weight, stride=self.stride, padding=padding.top)
        x, weight = to_compute_dtype(x), to_compute_dtype(self.weight)
        return to_float32(nn.conv2d(x, weight, stride=self.stride, padding=padding[:2]))

    def pack(self, *, channels_last: bool) -> None:
        """Folds the running statistics into the weights and packs them for oneDNN.

        The layer must be in evaluation mode; it can no longer be trained.
        """
        factor = self.norm.factor(self.norm.running_variance)  # (O,)
        self.packed = packed.PackedConvolution(
            (self.weight * factor.reshape((-1, 1, 1, 1))).detach(),
            (self.norm.shift - self.norm.running_mean * factor).detach(),
            stride=self.stride,
            groups=self.weight.shape[0] if self.depthwise else 1,
            activation=self.activation,
            channels_last=channels_last,
        )


def _same(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis in TensorFlow's "same" padding."""
    count = -(-length // stride)  # of the result
    total = max((count - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2
