"""Fused multi-threaded CPU kernels for tokens: layer norm, and depthwise convolution with GELU.

Tokens are (N, H, W, C) or (N, L, C): the channels of a pixel are next to each other. On a GPU the
callers (layers.tokens) use Jittor's own operators.
"""

from __future__ import annotations

import jittor as jt

from models.kernels import elementary

# Sums over rows are split into this many parts, whatever the number of threads: the same input
# gives the same bits for every number.
_PARTS = 64

_MOMENTS = """
    const float* x = in0_p + row * channels;
    float sum = 0, square = 0;
    #pragma omp simd reduction(+:sum)
    for (int64 c = 0; c < channels; c++) sum += x[c];
    const float mean = sum / channels;
    #pragma omp simd reduction(+:square)
    for (int64 c = 0; c < channels; c++) square += (x[c] - mean) * (x[c] - mean);
    const float factor = 1 / std::sqrt(square / channels + epsilon);
"""
_SHAPES = """
const int64 channels = in1_shape0, rows = in0->num / channels;
const float epsilon = data["epsilon"];
"""
_NORM = f"""
{_SHAPES}
#pragma omp parallel for
for (int64 row = 0; row < rows; row++) {{
    {_MOMENTS}
    float* y = out0_p + row * channels;
    for (int64 c = 0; c < channels; c++) y[c] = (x[c] - mean) * factor * in1_p[c] + in2_p[c];
}}
"""
_NORM_BACKWARD = f"""
{_SHAPES}
std::vector<float> totals({_PARTS} * 2 * channels);
#pragma omp parallel for
for (int64 part = 0; part < {_PARTS}; part++) {{
    float* scale_total = totals.data() + part * 2 * channels;
    float* shift_total = scale_total + channels;
    for (int64 row = rows * part / {_PARTS}; row < rows * (part + 1) / {_PARTS}; row++) {{
        {_MOMENTS}
        const float* gradient = in2_p + row * channels;
        float* x_gradient = out0_p + row * channels;
        float inner_sum = 0, product_sum = 0;
        #pragma omp simd reduction(+:inner_sum, product_sum)
        for (int64 c = 0; c < channels; c++) {{
            const float inner = gradient[c] * in1_p[c];
            inner_sum += inner;
            product_sum += inner * (x[c] - mean);
        }}
        const float offset = inner_sum / channels;
        const float slope = product_sum * factor * factor / channels;
        for (int64 c = 0; c < channels; c++) {{
            const float centered = x[c] - mean;
            x_gradient[c] = factor * (gradient[c] * in1_p[c] - offset - centered * slope);
            scale_total[c] += gradient[c] * centered * factor;
            shift_total[c] += gradient[c];
        }}
    }}
}}
for (int64 c = 0; c < channels; c++) {{
    double scale_sum = 0, shift_sum = 0;
    for (int64 part = 0; part < {_PARTS}; part++) {{
        scale_sum += totals[part * 2 * channels + c];
        shift_sum += totals[(part * 2 + 1) * channels + c];
    }}
    out1_p[c] = scale_sum;
    out2_p[c] = shift_sum;
}}
"""

# The taps (9, C) of a pixel are those of its neighbors inside the map.
_MAP = """
const int64 batch = in0_shape0, height = in0_shape1, width = in0_shape2, channels = in0_shape3;
const int64 rows = batch * height;
"""
_NEIGHBORS = """
for (int64 tap = 0; tap < 9; tap++) {
    const int64 ny = y + SIGN(tap / 3 - 1), nx = column + SIGN(tap % 3 - 1);
    if (ny < 0 || ny >= height || nx < 0 || nx >= width) continue;
    const int64 place = (((row - y) + ny) * width + nx) * channels;
    const float* taps = in1_p + tap * channels;
    BODY
}
"""


def _neighbors(body: str, sign: str = "") -> str:
    return _NEIGHBORS.replace("SIGN", sign).replace("BODY", body)


def _for_each_pixel(body: str) -> str:
    """`body` for every pixel; `sums` (C,) is the result of the convolution there."""
    add = _neighbors("for (int64 c = 0; c < channels; c++) sums[c] += taps[c] * in0_p[place + c];")
    return f"""
#pragma omp parallel for
for (int64 row = 0; row < rows; row++) {{
    std::vector<float> sums(channels);
    const int64 y = row % height;
    for (int64 column = 0; column < width; column++) {{
        std::copy_n(in2_p, channels, sums.data());
        {add}
        const int64 pixel = (row * width + column) * channels;
        for (int64 c = 0; c < channels; c++) {{
            {body}
        }}
    }}
}}
"""


_DEPTHWISE = _MAP + _for_each_pixel("out0_p[pixel + c] = sums[c] * normal_cdf(sums[c]);")
# out3 is the gradient of the convolution's result, which is computed once more.
_DEPTHWISE_BACKWARD = f"""
{_MAP}
{
    _for_each_pixel(
        "const float slope = normal_cdf(sums[c]) + sums[c] * normal_density(sums[c]);"
        "out3_p[pixel + c] = in3_p[pixel + c] * slope;"
    )
}
std::vector<float> totals({_PARTS} * 10 * channels);
#pragma omp parallel for
for (int64 part = 0; part < {_PARTS}; part++) {{
    float* total = totals.data() + part * 10 * channels;
    for (int64 row = rows * part / {_PARTS}; row < rows * (part + 1) / {_PARTS}; row++) {{
        const int64 y = row % height;
        for (int64 column = 0; column < width; column++) {{
            const int64 pixel = (row * width + column) * channels;
            const float* gradient = out3_p + pixel;
            float* x_gradient = out0_p + pixel;
            for (int64 c = 0; c < channels; c++) {{
                total[9 * channels + c] += gradient[c];
                x_gradient[c] = 0;
            }}
            {
    _neighbors(
        "float* sum = total + tap * channels;"
        "for (int64 c = 0; c < channels; c++) sum[c] += gradient[c] * in0_p[place + c];"
    )
}
            {
    _neighbors(
        "for (int64 c = 0; c < channels; c++) x_gradient[c] += taps[c] * out3_p[place + c];", "-"
    )
}
        }}
    }}
}}
for (int64 i = 0; i < 10 * channels; i++) {{
    double sum = 0;
    for (int64 part = 0; part < {_PARTS}; part++) sum += totals[part * 10 * channels + i];
    if (i < 9 * channels) out1_p[i] = sum;
    else out2_p[i - 9 * channels] = sum;
}}
"""


class LayerNorm(jt.Function):
    """(x - mean) / sqrt(variance + epsilon) * scale + shift over the last axis, in one pass."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.data = {"epsilon": epsilon}

    def execute(self, x: jt.Var, scale: jt.Var, shift: jt.Var) -> jt.Var:
        """x (..., C), scale and shift (C,) -> (..., C)."""
        self.saved = x, scale
        return _run([x.shape], [x, scale, shift], _NORM, self.data)[0]

    def grad(self, gradient: jt.Var) -> tuple[jt.Var, ...]:
        """(..., C) -> the gradients of x, scale and shift."""
        x, scale = self.saved
        shapes = [x.shape, scale.shape, scale.shape]
        return tuple(_run(shapes, [x, scale, gradient], _NORM_BACKWARD, self.data))


class DepthwiseGelu(jt.Function):
    """GELU of a 3 x 3 depthwise convolution with zero padding 1, in one pass.

    Hendrycks and Gimpel 2016: gelu(z) = z * cdf(z) of the standard normal distribution, exact. The
    gradient computes the convolution once more instead of keeping its result.
    """

    def execute(self, x: jt.Var, taps: jt.Var, bias: jt.Var) -> jt.Var:
        """x (N, H, W, C), taps (9, C) row by row, bias (C,) -> (N, H, W, C)."""
        self.saved = x, taps, bias
        return _run([x.shape], [x, taps, bias], _DEPTHWISE)[0]

    def grad(self, gradient: jt.Var) -> tuple[jt.Var, ...]:
        """(N, H, W, C) -> the gradients of x, taps and bias."""
        inputs = [*self.saved, gradient]
        shapes = [var.shape for var in inputs]
        return tuple(_run(shapes, inputs, _DEPTHWISE_BACKWARD)[:3])


def _run(
    shapes: list[tuple[int, ...]],
    inputs: list[jt.Var],
    source: str,
    data: dict[str, float] | None = None,
) -> list[jt.Var]:
    types = ["float32"] * len(shapes)
    return jt.code(
        shapes, types, inputs, cpu_header=elementary.HEADER, cpu_src=source, data=data or {}
    )
