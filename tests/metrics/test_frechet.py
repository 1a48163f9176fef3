"""The Frechet distance: closed forms, invariances, both ranks, and statistics in bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray

from metrics.frechet import Accumulator, Statistics, frechet_distance, statistics_of


def normal(mean: object, covariance: object) -> Statistics:
    return Statistics(np.array(mean, np.float64), np.array(covariance, np.float64), None)


def features_of(count: int, dimensions: int, seed: int) -> NDArray[np.float64]:
    """Features with correlated dimensions and a mean of their own."""
    random = np.random.default_rng(seed)
    mix = random.normal(size=(dimensions, dimensions))
    return random.normal(size=(count, dimensions)) @ mix + random.normal(size=dimensions)


def corners(low: float, high: float) -> NDArray[np.float64]:
    return np.array([[a, b] for a in (low, high) for b in (low, high)])


def test_two_normal_distributions_in_one_dimension() -> None:
    assert frechet_distance(normal([0], [[1]]), normal([1], [[4]])) == pytest.approx(2, abs=1e-14)


def test_two_matrices_that_do_not_commute() -> None:
    first, second = normal([0, 0], [[2, 1], [1, 2]]), normal([0, 0], [[1, 0], [0, 4]])
    expected = 9 - 2 * np.sqrt(10 + 2 * np.sqrt(12))
    assert expected == pytest.approx(0.7712204476543421, abs=1e-14)
    assert frechet_distance(first, second) == pytest.approx(expected, abs=1e-13)


def test_any_two_matrices_of_two_dimensions() -> None:
    for seed in range(5):
        first, second = (features_of(9, 2, 2 * seed + one) for one in (0, 1))
        a, b = np.cov(first.T), np.cov(second.T)
        root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a) * np.linalg.det(b)))
        offset = np.square(first.mean(0) - second.mean(0)).sum()
        expected = offset + np.trace(a) + np.trace(b) - 2 * root
        found = frechet_distance(statistics_of(first), statistics_of(second))
        assert found == pytest.approx(expected, rel=1e-12)


def test_diagonal_matrices() -> None:
    a, b = np.array([1.0, 4.0, 0.0, 2.0]), np.array([9.0, 1.0, 5.0, 0.0])
    expected = np.square(np.sqrt(a) - np.sqrt(b)).sum()
    found = frechet_distance(normal(np.zeros(4), np.diag(a)), normal(np.zeros(4), np.diag(b)))
    assert found == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("dimensions", [2, 16])  # 16: fewer features than dimensions
def test_the_covariance_divides_by_n_minus_1(dimensions: int) -> None:
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(dimensions, dimensions)))[0][:2]
    first, second = (statistics_of(corners(*ends) @ basis) for ends in ((0, 2), (1, 5)))
    assert (first.factor is not None) == (dimensions == 16)
    assert frechet_distance(first, second) == pytest.approx(32 / 3, abs=1e-12)  # divided by n: 10


@pytest.mark.parametrize(("first", "second"), [(50, 60), (9, 60), (60, 9), (9, 11)])
def test_the_forms_for_many_and_few_features_agree_with_a_matrix_square_root(
    first: int, second: int
) -> None:
    x, y = features_of(first, 24, 1), features_of(second, 24, 2)
    one, other = statistics_of(x), statistics_of(y)
    assert (one.factor is not None, other.factor is not None) == (first < 24, second < 24)
    a, b = np.cov(x.T), np.cov(y.T)
    ridge = 1e-9 * np.eye(24)  # sqrtm needs full rank
    root = np.trace(scipy.linalg.sqrtm((a + ridge) @ (b + ridge))).real
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a) + np.trace(b) - 2 * root
    found = frechet_distance(one, other)
    assert found == pytest.approx(expected, rel=1e-4)
    as_matrices = [normal(each.mean, each.covariance) for each in (one, other)]
    assert frechet_distance(*as_matrices) == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("count", [9, 60])
def test_equal_features_have_distance_0(count: int) -> None:
    statistics = statistics_of(features_of(count, 24, 3))
    scale = np.trace(statistics.covariance)
    assert 0 <= frechet_distance(statistics, statistics) <= 1e-6 * scale


@pytest.mark.parametrize("counts", [(50, 60), (9, 60), (9, 11)])
def test_rotations_translations_and_the_order_do_not_matter(counts: tuple[int, int]) -> None:
    x, y = features_of(counts[0], 24, 4), features_of(counts[1], 24, 5)
    distance = frechet_distance(statistics_of(x), statistics_of(y))
    rotation = np.linalg.qr(np.random.default_rng(6).normal(size=(24, 24)))[0]
    for a, b in ((x @ rotation, y @ rotation), (x + 7, y + 7), (y, x)):
        found = frechet_distance(statistics_of(a), statistics_of(b))
        assert found == pytest.approx(distance, rel=1e-9)
    moved = frechet_distance(statistics_of(x + 7), statistics_of(y))
    assert moved != pytest.approx(distance, rel=1e-2)


@pytest.mark.parametrize("sizes", [(1, 2, 4), (8, 1), (30, 3, 17, 1), (7,) * 20])
def test_batches_of_any_size_give_the_statistics_of_all(sizes: tuple[int, ...]) -> None:
    features = features_of(sum(sizes), 8, 7).astype(np.float32)
    accumulator = Accumulator(8)
    for end, size in zip(np.cumsum(sizes), sizes, strict=True):
        batch = features[end - size : end].copy()
        accumulator.add(batch)
        batch[:] = np.inf  # the caller may reuse its array
        if end == 2:
            accumulator.statistics()  # in between, without effect
    found = accumulator.statistics()
    assert found.count == accumulator.count == sum(sizes)
    np.testing.assert_allclose(found.mean, features.mean(0, np.float64), rtol=1e-13)
    expected = np.cov(features.T.astype(np.float64))
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-11, atol=1e-11)
    again = accumulator.statistics()
    np.testing.assert_array_equal(found.covariance, again.covariance)


def test_a_large_mean_costs_no_digits() -> None:
    features = np.random.default_rng(8).normal(size=(500, 4))
    accumulator = Accumulator(4)
    for part in np.array_split(features + 1e7, 50):
        accumulator.add(part)
    found = accumulator.statistics().covariance
    np.testing.assert_allclose(found, np.cov(features.T), rtol=1e-6, atol=1e-7)


def test_memory_does_not_grow_with_the_number_of_features() -> None:
    def peak(batches: int) -> int:
        batch = np.ones((10, 64), np.float32)
        tracemalloc.start()
        accumulator = Accumulator(64)
        for _ in range(batches):
            accumulator.add(batch)
        accumulator.statistics()
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(1000) < 1.1 * peak(20)


def test_wrong_features_are_refused() -> None:
    accumulator = Accumulator(3)
    for wrong in (np.ones(3), np.ones((2, 4)), np.array([[1.0, np.nan, 0.0]])):
        with pytest.raises(ValueError, match="features: expected"):
            accumulator.add(wrong)
    accumulator.add(np.ones((1, 3)))
    with pytest.raises(ValueError, match="two or more, got 1"):
        accumulator.statistics()
    with pytest.raises(ValueError, match="got 1 and 2"):
        frechet_distance(normal([0], [[1]]), normal([0, 0], np.eye(2)))
