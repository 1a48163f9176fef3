"""Scale and shift per channel with an activation: the second half of a batch norm, in one pass."""

from __future__ import annotations

from typing import Literal

import jittor as jt

from models.kernels import fused
from models.kernels.reduction import broadcast_to_rows

Activation = Literal["none", "relu", "relu6"]

# Bounds of each activation; the largest float replaces infinity.
_LARGEST = 3.4e38
BOUNDS: dict[Activation, tuple[float, float]] = {
    "none": (-_LARGEST, _LARGEST),
    "relu": (0.0, _LARGEST),
    "relu6": (0.0, 6.0),
}

_START = """
const int64 batch = in0_shape0, channels = in0_shape1, pixels = in0_shape2 * in0_shape3;
const float least = data["least"], most = data["most"];
#pragma omp parallel for
for (int64 c = 0; c < channels; c++) {
    const float mean = in1_p[c], scale = in2_p[c], shift = in3_p[c];
"""
_FORWARD = f"""
{_START}
    for (int64 n = 0; n < batch; n++) {{
        const float* x = in0_p + (n * channels + c) * pixels;
        float* y = out0_p + (n * channels + c) * pixels;
        for (int64 p = 0; p < pixels; p++) {{
            const float value = (x[p] - mean) * scale + shift;
            y[p] = value < least ? least : value > most ? most : value;
        }}
    }}
}}
"""
# Sums over this many pixels are float32, their total is float64; see `fused`.
_BLOCK = 4096
_BACKWARD = f"""
{_START}
    double scale_total = 0, shift_total = 0;
    for (int64 n = 0; n < batch; n++) {{
        const float* x = in0_p + (n * channels + c) * pixels;
        const float* gradient = in4_p + (n * channels + c) * pixels;
        float* x_gradient = out0_p + (n * channels + c) * pixels;
        for (int64 start = 0; start < pixels; start += {_BLOCK}) {{
            const int64 end = std::min(start + {_BLOCK}, pixels);
            float scale_sum = 0, shift_sum = 0;
            for (int64 p = start; p < end; p++) {{
                const float centered = x[p] - mean, value = centered * scale + shift;
                const float g = value > least && value < most ? gradient[p] : 0.0f;
                x_gradient[p] = g * scale;
                scale_sum += g * centered;
                shift_sum += g;
            }}
            scale_total += scale_sum;
            shift_total += shift_sum;
        }}
    }}
    out1_p[c] = -shift_total * scale;
    out2_p[c] = scale_total;
    out3_p[c] = shift_total;
}}
"""


def scale_and_shift(
    x: jt.Var, mean: jt.Var, scale: jt.Var, shift: jt.Var, activation: Activation = "none"
) -> jt.Var:
    """activation((x - mean) * scale + shift): (N, C, H, W) -> (N, C, H, W).

    Args:
        mean, scale, shift: (C,) each.
    """
    least, most = BOUNDS[activation]
    if fused.available():
        return _ScaleShift(least, most)(x, mean, scale, shift)
    shape = (1, -1, 1, 1)
    mean, scale, shift = (
        broadcast_to_rows(value.reshape(shape), x) for value in (mean, scale, shift)
    )
    return apply_activation((x - mean) * scale + shift, activation)


def apply_activation(x: jt.Var, activation: Activation) -> jt.Var:
    """The activation alone, on any shape."""
    least, most = BOUNDS[activation]
    if activation == "none":
        return x
    y = jt.maximum(x, least)
    return y if most == _LARGEST else jt.minimum(y, most)


class _ScaleShift(jt.Function):
    """The computation on the CPU, with the gradients of all four inputs."""

    def __init__(self, least: float, most: float) -> None:
        super().__init__()
        self.data = {"least": least, "most": most}

    def execute(self, x: jt.Var, mean: jt.Var, scale: jt.Var, shift: jt.Var) -> jt.Var:
        """(N, C, H, W) and three times (C,) -> (N, C, H, W)."""
        self.saved = [x, mean, scale, shift]
        return self._run([x.shape], self.saved, _FORWARD)[0]

    def grad(self, gradient: jt.Var) -> tuple[jt.Var, ...]:
        """(N, C, H, W) -> the gradient of each input in its shape."""
        shapes = [var.shape for var in self.saved]
        return tuple(self._run(shapes, [*self.saved, gradient], _BACKWARD))

    def _run(
        self, shapes: list[tuple[int, ...]], inputs: list[jt.Var], source: str
    ) -> list[jt.Var]:
        types = ["float32"] * len(shapes)
        header = "#include <algorithm>"
        return jt.code(shapes, types, inputs, cpu_header=header, cpu_src=source, data=self.data)
