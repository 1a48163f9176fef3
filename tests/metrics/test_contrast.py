"""The contrastive scorer: clouds that can and cannot be told apart, and its cross-fitting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import expit

from metrics import contrast as module
from metrics.contrast import FEWEST, FOLDS, auc, contrast, fit

Features = np.ndarray


def clouds(count: int, dimensions: int, distance: float, seed: int = 0) -> tuple[Features, ...]:
    """Images and photos, normal with variance 1; the first feature of photos is larger."""
    random = np.random.default_rng(seed)
    images, photos = random.standard_normal((2, count, dimensions)).astype(np.float32)
    photos[:, 0] += distance
    return images, photos


def test_clouds_that_are_separable() -> None:
    found = contrast(*clouds(60, 8, 12.0))
    assert found.auc == 1
    assert found.scores.shape == (60,) and found.photos == 60
    assert found.scores.min() >= 0 and found.scores.max() < 0.25
    assert found.mean < 0.1


def test_the_score_falls_with_the_distance() -> None:
    means = [contrast(*clouds(60, 8, distance)).mean for distance in (0, 1, 2, 4)]
    assert means == sorted(means, reverse=True) and means[0] - means[-1] > 0.2


def test_images_that_look_more_real_than_photos_score_above_a_half() -> None:
    images, photos = clouds(60, 8, 4.0)
    odd = images.copy()
    odd[:6] = photos[:6]
    odd[:6, 0] += 4
    found = contrast(odd, photos)
    assert (found.scores[:6] > 0.5).all() and (found.scores[6:] < 0.5).mean() > 0.9


def test_equal_distributions_have_an_auc_of_a_half() -> None:
    found = [contrast(*clouds(40, 100, 0.0, seed)) for seed in range(8)]
    assert np.mean([one.auc for one in found]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([one.mean for one in found]) == pytest.approx(0.5, abs=0.03)


def test_a_scorer_that_saw_an_image_would_know_it() -> None:
    # With more features than images any labels can be learned by heart.
    images, photos = clouds(40, 400, 0.0)
    scorer = fit(images, photos)
    assert auc(scorer(photos), scorer(images)) == 1
    assert contrast(images, photos).auc < 0.7


@pytest.mark.parametrize("side", ["images", "photos"])
def test_no_scorer_sees_the_fold_that_it_scores(side: str) -> None:
    images, photos = clouds(40, 20, 1.0)
    before = contrast(images, photos).scores
    changed = images if side == "images" else photos
    changed[7] = 1000  # in the training of all folds but its own, standardization included
    after = contrast(images, photos).scores
    same = before == after
    # the other images of the fold; a photo of the fold is part of their scores
    assert same.sum() == (40 // FOLDS - 1 if side == "images" else 0)


def test_every_image_is_scored_once_by_a_scorer_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, photos = clouds(23, 3, 1.0)
    seen = []

    def keep(some_images: Features, some_photos: Features) -> module.Scorer:
        seen.append((some_images, some_photos))
        return fit(some_images, some_photos)

    monkeypatch.setattr(module, "fit", keep)
    contrast(images, photos)
    assert len(seen) == FOLDS
    for side, whole in enumerate((images, photos)):
        rows = [{tuple(row) for row in parts[side]} for parts in seen]
        for row in map(tuple, whole):
            assert sum(row not in part for part in rows) == 1


def test_many_images_are_sampled_for_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TRAINED", 20)
    counts = []

    def keep(images: Features, photos: Features) -> module.Scorer:
        counts.append((len(images), len(np.unique(images[:, 0])), len(photos)))
        return fit(images, photos)

    monkeypatch.setattr(module, "fit", keep)
    images, photos = clouds(60, 4, 12.0)
    found = contrast(images, photos[:20])
    assert counts == [(20, 20, 16)] * FOLDS
    assert found.auc == 1 and found.scores.shape == (60,)


def test_the_seed_decides_the_folds() -> None:
    images, photos = clouds(40, 20, 1.0)
    first, again, other = (contrast(images, photos, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.scores, again.scores)
    assert first.auc == again.auc
    assert np.abs(first.scores - other.scores).max() > 1e-3


def test_the_scorer_is_at_the_minimum_of_its_loss() -> None:
    images, photos = clouds(30, 4, 1.0)
    scorer = fit(images, photos)
    both = np.concatenate([images, photos]).astype(np.float64)
    both = (both - both.mean(axis=0)) / both.std(axis=0)
    made, real = both[:30], both[30:]

    def loss(weights: Features) -> float:
        pairs = [
            np.log1p(np.exp(one @ weights - other @ weights)) for one in made for other in real
        ]
        return float(np.mean(pairs) + module.regularization(30, 30, 4) / 2 * (weights**2).sum())

    assert np.abs(approx_fprime(scorer.weights, loss, 1e-6)).max() < 1e-4
    np.testing.assert_allclose(scorer(images), made @ scorer.weights, atol=1e-6)


def test_a_score_is_the_probability_against_the_photos_of_the_fold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "fit", lambda *_: lambda features: features[:, 0])
    random = np.random.default_rng(0)
    images, photos = np.full((10, 1), 0.3), np.full((15, 1), -0.2)
    found = contrast(images, photos)
    np.testing.assert_allclose(found.scores, expit(0.5))
    assert found.auc == 0
    assert contrast(images, np.full((15, 1), 0.3)).auc == 0.5
    assert contrast(random.random((10, 1)), 1 + random.random((10, 1))).auc == 1


def test_constant_features_tell_nothing() -> None:
    images, photos = clouds(20, 4, 3.0)
    wide = [
        np.concatenate([one, np.full((20, 2), 0.1, np.float32)], axis=1) for one in (images, photos)
    ]
    np.testing.assert_allclose(contrast(*wide).scores, contrast(images, photos).scores, atol=1e-4)


def test_the_auc_by_hand() -> None:
    assert auc(np.array([3.0, 1.0]), np.array([2.0, 0.0])) == 0.75
    assert auc(np.array([1.0, 1.0]), np.array([1.0])) == 0.5
    assert auc(np.array([0.0]), np.array([1.0, 2.0, 3.0])) == 0


def test_too_few_images_are_refused() -> None:
    images, photos = clouds(FEWEST, 3, 1.0)
    contrast(images, photos)
    for some in ((images[1:], photos), (images, photos[1:])):
        with pytest.raises(ValueError, match=f"{FEWEST} or more of images and photos, got"):
            contrast(*some)
