"""Averages of a generator's weights over snapshots of one run.

    arrays = average_weights(snapshot.weights("ema") for snapshot in snapshots)

Weight averages along one run: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and
Better Generalization". Running statistics of batch norm are averaged too, and must be estimated
again with the averaged weights (section 3.2 there; inference.batch_norm).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from options.errors import UserError
from weights.spectral_norm import as_matrix

U, V = ".spectral_norm.u", ".spectral_norm.v"
ITERATIONS = 50


def average_weights(members: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the mean of the arrays of each name, computed in float64, in the type of the first.

    Arrays of integers are those of the first member. Layers with spectral norm: the mean is that
    of their raw weights; u and v are not averaged, but follow from the mean weight by
    `iterate_vectors` from the first member's u. Reads one member at a time. Raises UserError if
    names or shapes differ, ValueError without members.
    """
    first: Mapping[str, np.ndarray] = {}
    sums: dict[str, np.ndarray] = {}
    count = 0
    for arrays in members:
        if not count:
            first = arrays
            sums = {name: np.zeros(array.shape) for name, array in arrays.items()}
        elif {name: array.shape for name, array in arrays.items()} != {
            name: total.shape for name, total in sums.items()
        }:
            raise UserError(
                "--average: expected snapshots of one network, got other names or shapes in one of "
                "them. Write --average 1"
            )
        for name, array in arrays.items():
            sums[name] += array
        count += 1
    if not count:
        raise ValueError("members: expected one or more, got none.")
    averaged = {
        name: (total / count).astype(first[name].dtype)
        if np.issubdtype(first[name].dtype, np.floating)
        else first[name]
        for name, total in sums.items()
    }
    for name in averaged:
        if name.endswith(U):
            layer = name.removesuffix(U)
            u, v = iterate_vectors(averaged[f"{layer}.weight"], first[name])
            averaged[layer + U] = u.astype(first[layer + U].dtype)
            averaged[layer + V] = v.astype(first[layer + V].dtype)
    return averaged


def iterate_vectors(
    weight: np.ndarray, u: np.ndarray, iterations: int = ITERATIONS
) -> tuple[np.ndarray, np.ndarray]:
    """Return u (O,) and v (I k k,) of a weight (O, I, k, k) after power iterations, float64.

    Miyato et al. 2018, algorithm 1: v = W'u / |W'u|, u = Wv / |Wv|; u'Wv approaches the largest
    singular value from below.
    """
    matrix = as_matrix(weight)
    u = np.asarray(u, np.float64)
    v = np.zeros(matrix.shape[1])
    for _ in range(iterations):
        v = _unit(matrix.T @ u)
        u = _unit(matrix @ v)
    return u, v


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
