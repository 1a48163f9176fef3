"""Depthwise convolution: one filter per channel.

Jittor's operator for groups runs on one thread of the CPU and computes both gradients by scattered
sums. These kernels run over the channels on all threads, and their inner loops over rows of the
feature map vectorize. On a GPU Jittor's operator calls cuDNN.
"""

from __future__ import annotations

from typing import NamedTuple

import jittor as jt
from jittor import nn

from models.kernels import fused


class Padding(NamedTuple):
    """Rows and columns of zeros at the borders of a feature map."""

    top: int
    left: int
    bottom: int
    right: int


# X is the feature map, W the weights and Y the result, or their gradients. Element (i, j) of a
# filter reads column q * stride + shift of the feature map for column q of the result.
_LOOP = """
const int64 batch = X_shape0, channels = X_shape1, height = X_shape2, width = X_shape3;
const int64 h = Y_shape2, w = Y_shape3, rows = W_shape2, columns = W_shape3;
const int64 stride = data["stride"], top = data["top"], left = data["left"];
#pragma omp parallel for
for (int64 c = 0; c < channels; c++) {
    const int64 filter = c * rows * columns;
    START_CHANNEL
    for (int64 n = 0; n < batch; n++) {
        START_IMAGE
        for (int64 r = 0; r < h; r++) {
            auto* y = Y_p + ((n * channels + c) * h + r) * w;
            START_ROW
            for (int64 i = 0; i < rows; i++) {
                const int64 source = r * stride + i - top;
                if (source < 0 || source >= height) continue;
                auto* row = X_p + ((n * channels + c) * height + source) * width;
                for (int64 j = 0; j < columns; j++) {
                    const int64 shift = j - left;
                    auto* x = row + shift;
                    const int64 begin = shift < 0 ? (stride - 1 - shift) / stride : 0;
                    const int64 end = std::min(w, (width - shift + stride - 1) / stride);
                    START_ELEMENT
                    if (stride == 1)
                        for (int64 q = begin; q < end; q++) { const int64 p = q; STEP }
                    else
                        for (int64 q = begin; q < end; q++) { const int64 p = q * stride; STEP }
                    END_ELEMENT
                }
            }
        }
    }
}
"""
_PLACES = (
    "START_CHANNEL", "START_IMAGE", "START_ROW", "START_ELEMENT", "STEP", "END_ELEMENT",
)  # fmt: skip


def _source(names: dict[str, str], parts: dict[str, str]) -> str:
    """The loop with the names of its arrays and with the parts of one computation."""
    source = _LOOP
    for place in _PLACES:
        source = source.replace(place, parts.get(place, ""))
    for name, array in names.items():
        for end in ("_p", "_shape"):
            source = source.replace(f"{name}{end}", f"{array}{end}")
    return source


_FORWARD = _source(
    {"X": "in0", "W": "in1", "Y": "out0"},
    {
        "START_ROW": "std::fill_n(y, w, 0.0f);",
        "START_ELEMENT": "const float weight = W_p[filter + i * columns + j];",
        "STEP": "y[q] += weight * x[p];",
    },
)
_INPUT_GRADIENT = _source(
    {"X": "out0", "W": "in0", "Y": "in1"},
    {
        "START_IMAGE": "std::fill_n(X_p + (n * channels + c) * height * width,"
        " height * width, 0.0f);",
        "START_ELEMENT": "const float weight = W_p[filter + i * columns + j];",
        "STEP": "x[p] += weight * y[q];",
    },
)
_WEIGHT_GRADIENT = _source(
    {"X": "in0", "W": "out0", "Y": "in1"},
    {
        "START_CHANNEL": "std::vector<double> totals(rows * columns);"
        " std::fill_n(W_p + filter, rows * columns, 0.0f);",
        "START_ELEMENT": "float sum = 0;",
        "STEP": "sum += x[p] * y[q];",
        # The totals of the rows are float64: a filter has up to 10^6 terms.
        "END_ELEMENT": "W_p[filter + i * columns + j] = totals[i * columns + j] += sum;",
    },
)
_HEADER = "#include <algorithm>\n#include <vector>"


def convolve_depthwise(x: jt.Var, weight: jt.Var, stride: int, padding: Padding) -> jt.Var:
    """Cross-correlates each channel of (N, C, H, W) with its filter of (C, 1, k, l): (N, C, h, w).

    h = (H + top + bottom - k) // stride + 1, w likewise.
    """
    if fused.available():
        return _Depthwise(stride, padding)(x, weight)
    return nn.conv2d(pad_with_zeros(x, padding), weight, stride=stride, groups=x.shape[1])


def pad_with_zeros(x: jt.Var, padding: Padding) -> jt.Var:
    """(N, C, H, W) -> (N, C, H + top + bottom, W + left + right)."""
    n, channels, height, width = x.shape
    shape = [n, channels, height + padding.top + padding.bottom]
    shape.append(width + padding.left + padding.right)
    # An index outside the feature map reads 0.
    return x.reindex(shape, ["i0", "i1", f"i2-{padding.top}", f"i3-{padding.left}"])


class _Depthwise(jt.Function):
    """The convolution on the CPU, with both gradients."""

    def __init__(self, stride: int, padding: Padding) -> None:
        super().__init__()
        self.stride = stride
        self.padding = padding

    def execute(self, x: jt.Var, weight: jt.Var) -> jt.Var:
        """(N, C, H, W) and (C, 1, k, l) -> (N, C, h, w)."""
        self.saved = x, weight
        n, channels, height, width = x.shape
        top, left, bottom, right = self.padding
        h = (height + top + bottom - weight.shape[2]) // self.stride + 1
        w = (width + left + right - weight.shape[3]) // self.stride + 1
        return self._run((n, channels, h, w), [x, weight], _FORWARD)

    def grad(self, gradient: jt.Var) -> tuple[jt.Var, jt.Var]:
        """(N, C, h, w) -> the gradients of x and of the weights in their shapes."""
        x, weight = self.saved
        return (
            self._run(x.shape, [weight, gradient], _INPUT_GRADIENT),
            self._run(weight.shape, [x, gradient], _WEIGHT_GRADIENT),
        )

    def _run(self, shape: tuple[int, ...], inputs: list[jt.Var], source: str) -> jt.Var:
        data = {"stride": self.stride, "top": self.padding.top, "left": self.padding.left}
        return jt.code(shape, "float32", inputs, cpu_header=_HEADER, cpu_src=source, data=data)
