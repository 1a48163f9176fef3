"""The kernel distance: values computed by hand, subsets, and the sample of a long stream."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.kernel import FeatureSample, kernel_distance, squared_mmd


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float64)[:, None]


def test_values_by_hand() -> None:
    # within: 1 and 1 without the diagonal; across: (1 + 1 + 1 + 27) / 4
    assert kernel_distance(column(0, 1), column(0, 2)) == pytest.approx(-13, abs=1e-12)
    assert kernel_distance(np.eye(2), np.zeros((2, 2))) == pytest.approx(0, abs=1e-12)


def test_products_are_divided_by_the_number_of_dimensions() -> None:
    first, second = np.array([[1.0, 1.0], [3.0, 1.0]]), np.array([[2.0, 0.0], [0.0, 4.0]])
    # kernels (product / 2 + 1)^3: within (4 / 2 + 1)^3 and 1, across of products 2, 4, 6, 4
    across = (2**3 + 3**3 + 4**3 + 3**3) / 4
    assert squared_mmd(first, second) == pytest.approx(27 + 1 - 2 * across, abs=1e-12)


def test_the_order_and_rotations_do_not_matter() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(30, 5)), random.normal(size=(40, 5)) + 1
    rotation = np.linalg.qr(random.normal(size=(5, 5)))[0]
    assert squared_mmd(y, x) == pytest.approx(squared_mmd(x, y), rel=1e-12)
    assert squared_mmd(x @ rotation, y @ rotation) == pytest.approx(squared_mmd(x, y), rel=1e-9)


def test_subsets_estimate_the_distance_of_all_features() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(6, 3)), random.normal(size=(9, 3)) + 1
    found = kernel_distance(x, y, subsets=4000, subset_size=4)
    assert found == pytest.approx(squared_mmd(x, y), rel=0.05)
    # without replacement, all six of x are in each subset
    six = kernel_distance(x, y, subsets=4000)
    assert six == pytest.approx(squared_mmd(x, y), rel=0.02)
    assert kernel_distance(x, x[:6]) == pytest.approx(squared_mmd(x, x), rel=1e-12)


def test_the_seed_decides_the_subsets() -> None:
    random = np.random.default_rng(2)
    x, y = random.normal(size=(20, 3)), random.normal(size=(20, 3))
    settings = {"subsets": 3, "subset_size": 5}
    first, again, other = (kernel_distance(x, y, **settings, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_the_estimate_is_unbiased() -> None:
    random = np.random.default_rng(3)
    found = [
        squared_mmd(random.normal(size=(8, 2)), random.normal(size=(8, 2))) for _ in range(2000)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 4 * error
    assert min(found) < 0


def test_wrong_features_are_refused() -> None:
    with pytest.raises(ValueError, match="two or more, got 1"):
        kernel_distance(column(1), column(1, 2))
    with pytest.raises(ValueError, match="got 1 and 2"):
        kernel_distance(column(1, 2), np.ones((2, 2)))


def test_a_short_stream_is_kept_in_order() -> None:
    features = np.arange(12.0).reshape(6, 2)
    sample = FeatureSample(most=6)
    for batch in (features[:4].copy(), features[4:].copy()):
        sample.add(batch)
        batch[:] = -1  # the caller may reuse its array
    np.testing.assert_array_equal(sample.features(), features)
    assert sample.features().dtype == np.float32


def test_a_long_stream_is_sampled_uniformly() -> None:
    counts = np.zeros(40)
    rounds = 2000
    for seed in range(rounds):
        sample = FeatureSample(most=10, seed=seed)
        for start in (0, 15):
            sample.add(column(*range(start, start + (15 if start == 0 else 25))))
        kept = sample.features()[:, 0].astype(int)
        assert len(set(kept)) == 10
        counts[kept] += 1
    # each of 40 is kept with probability 1/4; four standard deviations
    np.testing.assert_allclose(counts / rounds, 0.25, atol=4 * np.sqrt(0.25 * 0.75 / rounds))
