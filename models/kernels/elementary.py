"""Elementary functions in C++ that compilers vectorize, for the CPU kernels of this folder."""

from __future__ import annotations

# exponential: x = n log 2 + r with |r| <= log(2) / 2, and 2^n from the bits of n; Taylor's series
# of degree 7 in r is exact to float32's rounding. A NaN stays NaN.
# normal_cdf: erf by Abramowitz and Stegun 1964, formula 7.1.26, to 1.5e-7 absolute.
HEADER = """
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    const int n = (int)(x * 1.44269504f + (x < 0 ? -0.5f : 0.5f));
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    const float series = 1 + r * (1 + r * (1.0f / 2 + r * (1.0f / 6 + r * (1.0f / 24
        + r * (1.0f / 120 + r * (1.0f / 720 + r * (1.0f / 5040)))))));
    const int bits = (n + 127) << 23;
    float power;
    std::memcpy(&power, &bits, 4);
    return series * power;
}
static inline float normal_density(float x) { return 0.39894228f * exponential(-0.5f * x * x); }
static inline float normal_cdf(float x) {
    const float z = std::fabs(x) * 0.70710678f, t = 1 / (1 + 0.3275911f * z);
    const float series = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f
        + t * (-1.453152027f + t * 1.061405429f))));
    const float tail = 0.5f * series * exponential(-z * z);
    return x < 0 ? tail : 1 - tail;
}
"""
