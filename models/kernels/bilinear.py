"""Fused multi-threaded CPU kernels for bilinear resizing: sums of resized maps, and classes.

Pixel i of a side of H pixels is at (i + 1/2) * h / H - 1/2 of h pixels, at least 0: PyTorch's
`align_corners=False`. On a GPU the callers (layers.resampling) use Jittor's own operators.
"""

from __future__ import annotations

import jittor as jt

HEADER = """
#include <algorithm>
#include <vector>
struct Axis {  // of each target pixel: its two source pixels and the weight of the second
    std::vector<int> first, second;
    std::vector<float> weight;
    Axis(int from, int to) : first(to), second(to), weight(to) {
        for (int i = 0; i < to; i++) {
            const float place = std::max((i + 0.5f) * ((float)from / to) - 0.5f, 0.0f);
            first[i] = std::min((int)place, from - 1);
            second[i] = std::min(first[i] + 1, from - 1);
            weight[i] = place - first[i];
        }
    }
};
// A target row before its columns are resized.
static inline void blend(const float* map, int width, const Axis& rows, int y, float* row) {
    const float* top = map + rows.first[y] * width;
    const float* bottom = map + rows.second[y] * width;
    const float weight = rows.weight[y];
    for (int x = 0; x < width; x++) row[x] = top[x] + weight * (bottom[x] - top[x]);
}
static inline float sample(const float* row, const Axis& columns, int x) {
    const float left = row[columns.first[x]];
    return left + columns.weight[x] * (row[columns.second[x]] - left);
}
static void add_resized(const float* map, int h, int w, float* target, int height, int width) {
    if (h == height && w == width) {
        for (int64_t i = 0; i < (int64_t)h * w; i++) target[i] += map[i];
        return;
    }
    const Axis rows(h, height), columns(w, width);
    std::vector<float> row(w);
    for (int y = 0; y < height; y++) {
        blend(map, w, rows, y, row.data());
        float* line = target + (int64_t)y * width;
        for (int x = 0; x < width; x++) line[x] += sample(row.data(), columns, x);
    }
}
static void gather_gradient(
        const float* gradient, int height, int width, float* target, int h, int w) {
    const Axis rows(h, height), columns(w, width);
    std::vector<float> row(w);
    std::fill_n(target, (int64_t)h * w, 0.0f);
    for (int y = 0; y < height; y++) {
        const float* line = gradient + (int64_t)y * width;
        std::fill(row.begin(), row.end(), 0.0f);
        for (int x = 0; x < width; x++) {
            row[columns.first[x]] += (1 - columns.weight[x]) * line[x];
            row[columns.second[x]] += columns.weight[x] * line[x];
        }
        float* top = target + rows.first[y] * w;
        float* bottom = target + rows.second[y] * w;
        for (int x = 0; x < w; x++) {
            top[x] += (1 - rows.weight[y]) * row[x];
            bottom[x] += rows.weight[y] * row[x];
        }
    }
}
"""
_SUM = """
const int64 planes = out0_shape0 * out0_shape1, pixels = out0_shape2 * out0_shape3;
#pragma omp parallel for
for (int64 plane = 0; plane < planes; plane++) {
    float* target = out0_p + plane * pixels;
    std::fill_n(target, pixels, 0.0f);
    MAPS
}
"""
_ADD = """
    add_resized(in{i}_p + plane * in{i}_shape2 * in{i}_shape3, in{i}_shape2, in{i}_shape3,
                target, out0_shape2, out0_shape3);"""
_SUM_BACKWARD = """
const int64 planes = in0_shape0 * in0_shape1;
#pragma omp parallel for
for (int64 plane = 0; plane < planes; plane++)
    gather_gradient(in0_p + plane * in0_shape2 * in0_shape3, in0_shape2, in0_shape3,
                    out0_p + plane * out0_shape2 * out0_shape3, out0_shape2, out0_shape3);
"""
_CLASSES = """
const int64 batch = in0_shape0, classes = in0_shape1, h = in0_shape2, w = in0_shape3;
const int64 height = out0_shape1, width = out0_shape2;
const Axis rows(h, height), columns(w, width);
#pragma omp parallel for collapse(2)
for (int64 n = 0; n < batch; n++)
for (int64 y = 0; y < height; y++) {
    std::vector<float> row(w), best(width);
    int* ids = out0_p + (n * height + y) * width;
    for (int64 k = 0; k < classes; k++) {
        blend(in0_p + (n * classes + k) * h * w, w, rows, y, row.data());
        for (int x = 0; x < width; x++) {
            const float score = sample(row.data(), columns, x);
            const bool better = k == 0 || score > best[x];
            best[x] = better ? score : best[x];
            ids[x] = better ? k : ids[x];
        }
    }
}
"""


class ResizedSum(jt.Function):
    """The sum of maps that are resized bilinearly to one size, in one pass.

    Args:
        size: (H, W) of the result.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def execute(self, *maps: jt.Var) -> jt.Var:
        """Maps (N, C, h, w) of any sizes -> (N, C, H, W)."""
        self.shapes = [tuple(x.shape) for x in maps]
        source = _SUM.replace("MAPS", "".join(_ADD.format(i=i) for i in range(len(maps))))
        return _run((*maps[0].shape[:2], *self.size), "float32", list(maps), source)

    def grad(self, gradient: jt.Var) -> tuple[jt.Var, ...]:
        """(N, C, H, W) -> the gradient of each map."""
        return tuple(
            gradient
            if shape[2:] == self.size
            else _run(shape, "float32", [gradient], _SUM_BACKWARD)
            for shape in self.shapes
        )


def classes_of(scores: jt.Var, size: tuple[int, int]) -> jt.Var:
    """The class with the highest score, resized bilinearly: (N, K, h, w) -> int32 (N, H, W)."""
    return _run((scores.shape[0], *size), "int32", [scores], _CLASSES)


def _run(shape: tuple[int, ...], dtype: str, inputs: list[jt.Var], source: str) -> jt.Var:
    return jt.code(shape, dtype, inputs, cpu_header=HEADER, cpu_src=source)
