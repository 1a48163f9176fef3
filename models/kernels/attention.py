"""Multi-head attention on the CPU, by oneDNN's matrix product on blocks of queries.

Jittor's CPU has no batched product of matrices: it multiplies number by number. Here the scores of
a block of queries stay in the cache between both products and the softmax, and are never stored.
"""

from __future__ import annotations

import jittor as jt

from models.kernels import elementary, packed

_HEADER = "#include <dnnl.h>\n" + elementary.HEADER
_BLOCK = 128  # queries

_SHAPES = f"""
const int64 batch = in0_shape0, length = in0_shape1, channels = in0_shape2, keys = in1_shape1;
const int64 heads = data["heads"], width = channels / heads;
const float scale = 1 / std::sqrt((float)width);
const int64 block = {_BLOCK}, blocks = (length + block - 1) / block;
"""
_PROBABILITIES = """
    const int64 count = std::min(block, length - first);
    const float* query = in0_p + (n * length + first) * channels + head * width;
    const float* key = in1_p + n * keys * 2 * channels + head * width;
    const float* value = key + channels;
    dnnl_sgemm('N', 'T', count, keys, width, scale, query, channels, key, 2 * channels,
               0, scores.data(), keys);
    for (int64 i = 0; i < count; i++) {
        float* row = scores.data() + i * keys;
        float largest = row[0], sum = 0;
        #pragma omp simd reduction(max:largest)
        for (int64 j = 0; j < keys; j++) largest = row[j] > largest ? row[j] : largest;
        #pragma omp simd reduction(+:sum)
        for (int64 j = 0; j < keys; j++) {
            row[j] = exponential(row[j] - largest);
            sum += row[j];
        }
        const float factor = 1 / sum;
        for (int64 j = 0; j < keys; j++) row[j] *= factor;
    }
"""
_FORWARD = f"""
{_SHAPES}
#pragma omp parallel for collapse(3)
for (int64 n = 0; n < batch; n++)
for (int64 head = 0; head < heads; head++)
for (int64 index = 0; index < blocks; index++) {{
    std::vector<float> scores(block * keys);
    const int64 first = index * block;
    {_PROBABILITIES}
    dnnl_sgemm('N', 'N', count, width, keys, 1, scores.data(), keys, value, 2 * channels,
               0, out0_p + (n * length + first) * channels + head * width, channels);
}}
"""
# The gradients of a head's keys and values are sums over all its queries: one thread per head.
_BACKWARD = f"""
{_SHAPES}
#pragma omp parallel for collapse(2)
for (int64 n = 0; n < batch; n++)
for (int64 head = 0; head < heads; head++) {{
    std::vector<float> scores(block * keys), slopes(block * keys);
    float* key_gradient = out1_p + n * keys * 2 * channels + head * width;
    float* value_gradient = key_gradient + channels;
    for (int64 first = 0; first < length; first += block) {{
        {_PROBABILITIES}
        const float kept = first > 0;
        const int64 place = (n * length + first) * channels + head * width;
        const float* gradient = in2_p + place;
        dnnl_sgemm('T', 'N', keys, width, count, 1, scores.data(), keys, gradient, channels,
                   kept, value_gradient, 2 * channels);
        dnnl_sgemm('N', 'T', count, keys, width, 1, gradient, channels, value, 2 * channels,
                   0, slopes.data(), keys);
        for (int64 i = 0; i < count; i++) {{
            const float* row = scores.data() + i * keys;
            float* slope = slopes.data() + i * keys;
            float mean = 0;
            #pragma omp simd reduction(+:mean)
            for (int64 j = 0; j < keys; j++) mean += slope[j] * row[j];
            for (int64 j = 0; j < keys; j++) slope[j] = row[j] * (slope[j] - mean);
        }}
        dnnl_sgemm('N', 'N', count, width, keys, scale, slopes.data(), keys, key, 2 * channels,
                   0, out0_p + place, channels);
        dnnl_sgemm('T', 'N', keys, width, count, scale, slopes.data(), keys, query, channels,
                   kept, key_gradient, 2 * channels);
    }}
}}
"""


class Attention(jt.Function):
    """softmax(Q K' / sqrt(width)) V per head; needs `packed.available()`.

    Vaswani et al. 2017, equation 1. The gradient computes the softmax once more.

    Args:
        heads: number of heads; it divides C.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def execute(self, query: jt.Var, key_value: jt.Var) -> jt.Var:
        """Queries (N, L, C), keys and values (N, M, 2C) -> (N, L, C)."""
        self.inputs = [query, key_value]
        return self._run([query.shape], self.inputs, _FORWARD)[0]

    def grad(self, gradient: jt.Var) -> tuple[jt.Var, ...]:
        """(N, L, C) -> the gradients (N, L, C) and (N, M, 2C)."""
        shapes = [var.shape for var in self.inputs]
        return tuple(self._run(shapes, [*self.inputs, gradient], _BACKWARD))

    def _run(
        self, shapes: list[tuple[int, ...]], inputs: list[jt.Var], source: str
    ) -> list[jt.Var]:
        data = {"heads": self.heads}
        types = ["float32"] * len(shapes)
        with jt.flag_scope(compile_options=packed.compile_options()):
            return jt.code(shapes, types, inputs, cpu_header=_HEADER, cpu_src=source, data=data)
