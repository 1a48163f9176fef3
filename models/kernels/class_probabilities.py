"""Fused multi-threaded CPU kernel for losses of class probabilities at the size of a layout.

One pass over the resized logits computes sums over pixels and their gradient: no array holds the
classes at full size, and each exponential is computed once. On a GPU the caller (models.losses)
uses Jittor's own operators.
"""

from __future__ import annotations

from typing import Literal

import jittor as jt

from models.kernels.bilinear import HEADER

# What is summed over pixels: -log p or p of the true class.
Term = Literal["negative_log", "probability"]

# `top` and `bottom` are the two source rows of all target rows between them, at full width. A
# target row takes both in proportion. Its gradient is collected at full width in `above` and
# `below`, and returns to the width of the logits once per source row.
_SUMS = """
const int64 batch = in0_shape0, classes = in0_shape1, h = in0_shape2, w = in0_shape3;
const int64 height = in1_shape1, width = in1_shape2;
const Axis rows(h, height), columns(w, width);
std::vector<double> sums(batch * h);
std::vector<float> lower(batch * h * classes * w);  // of each source row, for the next one
#pragma omp parallel
{
    std::vector<float> top(classes * width), bottom(classes * width), values(classes * width);
    std::vector<float> above(classes * width), below(classes * width);
    std::vector<float> highest(width), total(width), own(width), factor(width);
    #pragma omp for collapse(2) schedule(dynamic)
    for (int64 n = 0; n < batch; n++)
    for (int64 j = 0; j < h; j++) {
        const int64 start = std::lower_bound(rows.first.begin(), rows.first.end(), j)
                            - rows.first.begin();
        const int64 end = std::upper_bound(rows.first.begin(), rows.first.end(), j)
                          - rows.first.begin();
        const int64 next = std::min(j + 1, h - 1);
        for (int64 k = 0; k < classes; k++) {
            const float* map = in0_p + (n * classes + k) * h * w;
            for (int64 x = 0; x < width; x++) {
                top[k * width + x] = sample(map + j * w, columns, x);
                bottom[k * width + x] = sample(map + next * w, columns, x);
            }
        }
        std::fill(above.begin(), above.end(), 0.0f);
        std::fill(below.begin(), below.end(), 0.0f);
        for (int64 y = start; y < end; y++) {
            const int* ids = in1_p + (n * height + y) * width;
            const float weight = rows.weight[y];
            for (int64 k = 0; k < classes; k++) {
                const float *a = &top[k * width], *b = &bottom[k * width];
                float* value = &values[k * width];
                for (int64 x = 0; x < width; x++) {
                    value[x] = a[x] + weight * (b[x] - a[x]);
                    highest[x] = k == 0 ? value[x] : std::max(highest[x], value[x]);
                }
            }
            std::fill(total.begin(), total.end(), 0.0f);
            for (int64 x = 0; x < width; x++) {
                const bool counts = ids[x] >= 0 && ids[x] < classes;
                own[x] = counts ? values[ids[x] * width + x] - highest[x] : 0.0f;
            }
            for (int64 k = 0; k < classes; k++) {
                float* value = &values[k * width];
                for (int64 x = 0; x < width; x++) {
                    value[x] = std::exp(value[x] - highest[x]);
                    total[x] += value[x];
                }
            }
            for (int64 x = 0; x < width; x++) {
                const int id = ids[x];
                factor[x] = 0;
                if (id < 0 || id >= classes) continue;
                const float p = values[id * width + x] / total[x];
                sums[n * h + j] += TERM;
                // gradient by logit k: slope * ([k is the true class] - p_k)
                const float slope = SLOPE;
                factor[x] = -slope / total[x];
                above[id * width + x] += (1 - weight) * slope;
                below[id * width + x] += weight * slope;
            }
            for (int64 k = 0; k < classes; k++) {
                const float* value = &values[k * width];
                float *a = &above[k * width], *b = &below[k * width];
                for (int64 x = 0; x < width; x++) {
                    const float g = factor[x] * value[x];
                    a[x] += (1 - weight) * g;
                    b[x] += weight * g;
                }
            }
        }
        for (int64 k = 0; k < classes; k++) {
            float* first = out1_p + ((n * classes + k) * h + j) * w;
            float* second = &lower[((n * h + j) * classes + k) * w];
            std::fill_n(first, w, 0.0f);
            for (int64 x = 0; x < width; x++) {
                const int left = columns.first[x], right = columns.second[x];
                const float share = columns.weight[x];
                const float a = above[k * width + x], b = below[k * width + x];
                first[left] += (1 - share) * a;
                first[right] += share * a;
                second[left] += (1 - share) * b;
                second[right] += share * b;
            }
        }
    }
}
for (int64 n = 0; n < batch; n++) {
    double sum = 0;
    for (int64 j = 0; j < h; j++) sum += sums[n * h + j];
    out0_p[n] = sum;
}
#pragma omp parallel for collapse(2)
for (int64 n = 0; n < batch; n++)
for (int64 k = 0; k < classes; k++)
    for (int64 j = 0; j < h; j++) {
        float* target = out1_p + ((n * classes + k) * h + std::min(j + 1, h - 1)) * w;
        const float* second = &lower[((n * h + j) * classes + k) * w];
        for (int64 x = 0; x < w; x++) target[x] += second[x];
    }
"""
_SOURCES: dict[Term, str] = {
    "negative_log": _SUMS.replace("TERM", "std::log(total[x]) - own[x]").replace("SLOPE", "-1.0f"),
    "probability": _SUMS.replace("TERM", "p").replace("SLOPE", "p"),
}


class PixelSums(jt.Function):
    """Sums over the pixels of each image, from the softmax of logits resized to the target.

    Args:
        term: what is summed: -log p or p of the pixel's true class.
    """

    def __init__(self, term: Term) -> None:
        super().__init__()
        self.term = term

    def execute(self, logits: jt.Var, target: jt.Var) -> jt.Var:
        """Logits (N, K, h, w) and ids int32 (N, H, W) -> (N,); ids outside 0..K-1 add 0."""
        sums, self.gradient = jt.code(
            [(logits.shape[0],), logits.shape],
            ["float32", "float32"],
            [logits, target],
            cpu_header=HEADER,
            cpu_src=_SOURCES[self.term],
        )
        return sums

    def grad(self, gradient: jt.Var) -> tuple[jt.Var, None]:
        """(N,) -> the gradient of the logits; ids have none."""
        return gradient.reshape((-1, 1, 1, 1)) * self.gradient, None
