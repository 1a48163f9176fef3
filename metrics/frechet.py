"""Frechet distance between two sets of features, each described by mean and covariance.

    accumulator = Accumulator(dimensions=2048)
    for features in batches:                        # (n, 2048) each
        accumulator.add(features)
    distance = frechet_distance(accumulator.statistics(), others)

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
Equilibrium", eq. 6: |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). On the features of Inception this
is FID.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean (D,) and covariance (D, D) of features, float64; the covariance divides by N - 1.

    count: N, or None if a file does not tell. factor: if N <= D, the centered features divided by
    sqrt(N - 1), (N, D): covariance = factor^T factor, at a lower rank.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    count: int | None
    factor: NDArray[np.float64] | None = None

    @property
    def dimensions(self) -> int:
        """D, the number of features per image."""
        return len(self.mean)


class Accumulator:
    """Computes statistics from batches of features (n, D) in memory of O(D^2), for any N.

    Up to D features are kept, for the factor of `Statistics`. More are added to the sums block by
    block, each around its own mean (Chan, Golub and LeVeque 1983, eq. 1.5), which loses no digits
    if the means are large.
    """

    def __init__(self, dimensions: int) -> None:
        self._kept: list[NDArray[np.float64]] = []
        self._kept_count = 0
        self._summed_count = 0
        self._mean = np.zeros(dimensions)
        self._scatter = np.zeros((dimensions, dimensions))

    @property
    def count(self) -> int:
        """The number of features so far."""
        return self._summed_count + self._kept_count

    def add(self, features: NDArray[np.floating]) -> None:
        """Add features (n, D). Raises ValueError for another shape, or if one is not finite."""
        dimensions = len(self._mean)
        if features.ndim != 2 or features.shape[1] != dimensions:
            raise ValueError(f"features: expected (n, {dimensions}), got {features.shape}.")
        if not np.isfinite(features).all():
            raise ValueError("features: expected finite numbers, got NaN or infinity.")
        for start in range(0, len(features), dimensions):
            part = features[start : start + dimensions].astype(np.float64)  # a copy
            self._kept.append(part)
            self._kept_count += len(part)
            if self._kept_count > dimensions:
                self._sum_up()

    def statistics(self) -> Statistics:
        """Return the statistics of all features. Raises ValueError for fewer than two."""
        if self.count < 2:
            raise ValueError(f"features: expected two or more, got {self.count}.")
        if not self._summed_count:
            features = np.concatenate(self._kept)
            mean = features.mean(axis=0)
            factor = (features - mean) / np.sqrt(len(features) - 1)
            return Statistics(mean, factor.T @ factor, len(features), factor)
        self._sum_up()
        return Statistics(self._mean.copy(), self._scatter / (self.count - 1), self.count)

    def _sum_up(self) -> None:
        if not self._kept:
            return
        block = np.concatenate(self._kept)
        before, added = self._summed_count, len(block)
        total = before + added
        mean = block.mean(axis=0)
        centered = block - mean
        shift = mean - self._mean
        self._scatter += centered.T @ centered + np.outer(shift, shift) * (before * added / total)
        self._mean += shift * (added / total)
        self._summed_count, self._kept_count = total, 0
        self._kept.clear()


def statistics_of(features: NDArray[np.floating]) -> Statistics:
    """Return the statistics of features (N, D), N >= 2."""
    accumulator = Accumulator(features.shape[1])
    accumulator.add(features)
    return accumulator.statistics()


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """Return the Frechet distance, 0 or more; symmetric in its arguments.

    Raises ValueError if the numbers of features differ.
    """
    if first.dimensions != second.dimensions:
        raise ValueError(
            f"features: expected equal numbers, got {first.dimensions} and {second.dimensions}."
        )
    offset = float(np.square(first.mean - second.mean).sum())
    traces = float(np.trace(first.covariance) + np.trace(second.covariance))
    # round-off may leave a distance of zero slightly negative
    return max(0.0, offset + traces - 2 * _trace_of_root(first, second))


def _trace_of_root(first: Statistics, second: Statistics) -> float:
    """tr (S1 S2)^(1/2), from symmetric matrices, so that it is real even at a low rank.

    S1 S2 has the eigenvalues of R S2 R for R = S1^(1/2), and those of F S2 F^T for S1 = F^T F. With
    both factors they are the squared singular values of F1 F2^T.
    """
    if first.factor is not None and second.factor is not None:
        singular = np.linalg.svd(first.factor @ second.factor.T, compute_uv=False)
        return float(singular.sum())
    if first.factor is None:
        first, second = second, first
    root = _square_root(first.covariance) if first.factor is None else first.factor
    values = np.linalg.eigvalsh(root @ second.covariance @ root.T)
    return float(np.sqrt(values.clip(min=0)).sum())


def _square_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The square root of a symmetric matrix; eigenvalues that round-off made negative become 0."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
