"""Kernel distance between two sets of features; on the features of Inception this is KID.

Binkowski et al. 2018, "Demystifying MMD GANs": the squared maximum mean discrepancy with the kernel
(x . y / D + 1)^3. The estimate is unbiased, so it does not depend on N and may be negative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SUBSETS = 100
SUBSET_SIZE = 1000
MOST_KEPT = 10_000


class FeatureSample:
    """Keeps all features of a stream, or a uniform sample of `most` of them (N, D), float32.

    Vitter 1985, algorithm R; `seed` decides which.
    """

    def __init__(self, most: int = MOST_KEPT, seed: int = 0) -> None:
        self._most = most
        self._random = np.random.default_rng(seed)
        self._rows: list[NDArray[np.float32]] = []
        self._seen = 0

    def add(self, features: NDArray[np.floating]) -> None:
        """Add features (n, D)."""
        for row in features.astype(np.float32):
            self._seen += 1
            if len(self._rows) < self._most:
                self._rows.append(row.copy())
                continue
            place = int(self._random.integers(self._seen))
            if place < self._most:
                self._rows[place] = row.copy()

    def features(self) -> NDArray[np.float32]:
        """Return the kept features (min(N, most), D)."""
        return np.stack(self._rows)


def kernel_distance(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
) -> float:
    """Return the mean squared MMD over random subsets of features (N1, D) and (N2, D).

    Each subset has min(N1, N2, subset_size) features of each set, sampled without replacement.
    Publications print 1000 times this number. Raises ValueError if a set has fewer than two
    features, or if D differs.
    """
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"features: expected equal numbers, got {first.shape[1]} and {second.shape[1]}."
        )
    size = min(len(first), len(second), subset_size)
    if size < 2:
        raise ValueError(f"features: expected two or more, got {size}.")
    if size == len(first) == len(second):
        subsets = 1  # each would hold all features
    random = np.random.default_rng(seed)
    total = 0.0
    for _ in range(subsets):
        parts = []
        for features in (first, second):
            if size < len(features):
                features = features[random.choice(len(features), size, replace=False)]
            parts.append(features)
        total += squared_mmd(parts[0], parts[1])
    return total / subsets


def squared_mmd(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return the unbiased estimate of the squared MMD of features (n, D) and (m, D), n, m >= 2."""
    within = sum(_mean_of_others(_kernel(one, one)) for one in (first, second))
    return within - 2 * float(_kernel(first, second).mean(dtype=np.float64))


def _kernel(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    """The kernel of each pair (n, m), in the precision of the features."""
    base: NDArray[np.floating] = first @ second.T
    base /= first.shape[1]
    base += 1
    cube: NDArray[np.floating] = base * base * base  # far quicker than ** 3
    return cube


def _mean_of_others(kernel: NDArray[np.floating]) -> float:
    """The mean without the diagonal: a feature with itself would bias the estimate."""
    count = len(kernel)
    others = kernel.sum(dtype=np.float64) - np.trace(kernel, dtype=np.float64)
    return float(others / (count * (count - 1)))
