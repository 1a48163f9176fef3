"""Weight averages: means in float64, and the vectors of spectral norms."""

from __future__ import annotations

import numpy as np
import pytest

from options.errors import UserError
from weights.averaging import average_weights, iterate_vectors


def arrays(seed: int) -> dict[str, np.ndarray]:
    """A layer with spectral norm, and others."""
    rng = np.random.default_rng(seed)
    return {
        "g.conv.weight": rng.normal(size=(6, 2, 3, 3)).astype(np.float32),
        "g.conv.spectral_norm.u": rng.normal(size=6).astype(np.float32),
        "g.conv.spectral_norm.v": rng.normal(size=18).astype(np.float32),
        "g.bias": rng.normal(size=5).astype(np.float16),
        "g.norm.running_mean": rng.normal(size=4).astype(np.float32),
        "g.count": np.array([seed]),
    }


def test_the_mean_is_that_of_float64() -> None:
    members = [arrays(seed) for seed in range(3)]
    found = average_weights(iter(members))
    for name in ("g.conv.weight", "g.bias", "g.norm.running_mean"):
        expected = np.mean([one[name].astype(np.float64) for one in members], axis=0)
        expected = expected.astype(members[0][name].dtype)
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].dtype == expected.dtype
    assert found["g.count"].tolist() == [0]
    assert list(found) == list(members[0])


def test_large_and_small_numbers_keep_their_digits() -> None:
    members = [{"x": np.float32([value])} for value in (2**24, 1, 1, -(2**24))]
    assert average_weights(members)["x"].tolist() == [0.5]


def test_sigma_is_the_largest_singular_value_of_the_mean_weight() -> None:
    members = [arrays(seed) for seed in range(3)]
    found = average_weights(members)
    matrix = found["g.conv.weight"].reshape(6, -1)
    u, v = found["g.conv.spectral_norm.u"], found["g.conv.spectral_norm.v"]
    assert u.dtype == v.dtype == np.float32
    sigma = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[0]
    assert u @ matrix @ v == pytest.approx(sigma, rel=1e-5)
    assert np.linalg.norm(u) == pytest.approx(1) and np.linalg.norm(v) == pytest.approx(1)
    start = members[0]["g.conv.spectral_norm.u"]
    again = iterate_vectors(found["g.conv.weight"], start)
    np.testing.assert_array_equal(u, again[0].astype(np.float32))


def test_one_iteration_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(7)
    matrix, start = rng.normal(size=(4, 9)), rng.normal(size=4)
    u, v = iterate_vectors(matrix.reshape(4, 1, 3, 3), start, iterations=1)
    expected = matrix.T @ start / np.linalg.norm(matrix.T @ start)
    np.testing.assert_allclose(v, expected)
    np.testing.assert_allclose(u, matrix @ v / np.linalg.norm(matrix @ v))


def test_snapshots_of_different_networks_are_refused() -> None:
    for name, array in (("x", np.zeros(3)), ("y", np.zeros(2))):
        with pytest.raises(UserError, match="--average: expected snapshots of one network"):
            average_weights([{"x": np.zeros(2)}, {name: array}])
    with pytest.raises(ValueError, match="expected one or more"):
        average_weights([])
