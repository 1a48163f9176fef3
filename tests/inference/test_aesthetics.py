"""Rows of the aesthetic measures from features, and why there are none."""

from __future__ import annotations

import numpy as np

from inference.aesthetics import measure_aesthetic, measure_contrast
from metrics.contrast import FEWEST, contrast
from metrics.features import FeatureSet
from metrics.frechet import statistics_of


def feature_set(count: int, *, shift: float = 0.0, sampled: bool = True) -> FeatureSet:
    features = np.random.default_rng(count).standard_normal((count, 4)) + shift
    sample = features.astype(np.float32) if sampled else None
    return FeatureSet(statistics_of(features), sample)


def test_the_contrast_of_features() -> None:
    made, real = feature_set(12), feature_set(15, shift=1.0)
    score, accuracy = measure_contrast(made, real, "None")
    expected = contrast(made.sample, real.sample)
    assert (score.value, accuracy.value) == (expected.mean, expected.auc)
    assert (score.images, score.photos) == (12, 15)


def test_why_the_contrast_is_not_measured() -> None:
    few, enough = feature_set(FEWEST - 1), feature_set(FEWEST)
    for made, real in ((few, enough), (enough, few)):
        for row in measure_contrast(made, real, "None"):
            assert row.value is None and row.note == "needs 10 or more images and photos"
    for row in measure_contrast(enough, feature_set(12, sampled=False), "theirs.npz"):
        assert row.value is None
        assert row.note == "theirs.npz has no features of photos; remove it, or name another"


def test_without_weights_nothing_replaces_the_aesthetic_measure() -> None:
    rows = measure_aesthetic([], None)
    assert [row.value for row in rows] == [None, None]
    assert all("--aesthetic-weights FILE" in row.note for row in rows)
