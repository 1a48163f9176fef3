"""Contrastive scorer: how probably an image is preferred to a photo, learned from both.

    found = contrast(image_features, photo_features)
    found.mean, found.auc

A linear scorer f of features is trained on all pairs of a photo and a generated image, so that the
photo has the higher score: Bradley and Terry 1952, P(photo preferred) = sigmoid(f(photo) -
f(image)). It is trained and applied by cross-fitting: images and photos are split into folds, and
the scorer of a fold has seen neither the images nor the photos of that fold.

It knows no beauty. It finds whatever tells the two sets apart: blur, textures, colors, and also
compression or a resize that only one of them went through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

FOLDS = 5
FEWEST = 10  # images, and photos: two per fold
MOST_TRAINED = 1000  # images, and photos, that a scorer is trained on: a million pairs
# Standard deviation of f over images before any is seen: a normal prior of the weights. Of 1, 3 and
# 10 it gave the mean scores nearest to 1 - AUC, for photos with blur, noise and JPEG artifacts.
PRIOR = 10.0
STEPS = 500

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Contrast:
    """Scores of images in 0..1, (N,), and the accuracy of the scorer.

    A score is the mean probability that the image is preferred to a photo of its fold: 0.5 if the
    scorer cannot tell them apart, near 0 if it always can. auc: the share of pairs of a fold in
    which the photo has the higher score, averaged over folds.
    """

    scores: NDArray[np.float64]
    auc: float
    photos: int

    @property
    def mean(self) -> float:
        """The mean score of the images."""
        return float(self.scores.mean())


@dataclass(frozen=True, eq=False)
class Scorer:
    """f(x) = weights . (x - mean) / deviation."""

    mean: Matrix
    deviation: Matrix
    weights: Matrix

    def __call__(self, features: NDArray[np.floating]) -> Matrix:
        """Features (N, D) -> scores (N,) of any size; only their differences have a meaning."""
        scores: Matrix = ((features - self.mean) / self.deviation) @ self.weights
        return scores


def contrast(
    images: NDArray[np.floating], photos: NDArray[np.floating], *, seed: int = 0
) -> Contrast:
    """Score images by features (N, D) of images and (M, D) of photos, by cross-fitting.

    `seed` decides the folds, and the sample of a scorer that would be trained on more than
    `MOST_TRAINED` images or photos. Raises ValueError if there are fewer than `FEWEST` of either.
    """
    if min(len(images), len(photos)) < FEWEST:
        raise ValueError(
            f"features: expected {FEWEST} or more of images and photos, got {len(images)} and "
            f"{len(photos)}."
        )
    random = np.random.default_rng(seed)
    image_folds, photo_folds = (_folds(len(one), random) for one in (images, photos))
    scores = np.zeros(len(images))
    aucs = []
    for image_fold, photo_fold in zip(image_folds, photo_folds, strict=True):
        scorer = fit(_others(images, image_fold, random), _others(photos, photo_fold, random))
        made, real = scorer(images[image_fold]), scorer(photos[photo_fold])
        scores[image_fold] = expit(made[:, None] - real).mean(axis=1)
        aucs.append(auc(real, made))
    return Contrast(scores, float(np.mean(aucs)), len(photos))


def fit(images: NDArray[np.floating], photos: NDArray[np.floating]) -> Scorer:
    """Train a scorer on features (N, D) of images and (M, D) of photos.

    Minimizes the mean over all pairs of softplus(f(image) - f(photo)) + c / 2 |weights|^2, which is
    convex, on features standardized by these images and photos. With c = D / (min(N, M) PRIOR^2)
    the weights are the most probable ones given min(N, M) pairs and a normal prior. D counts the
    features that vary.
    """
    both = np.concatenate([images, photos]).astype(np.float64)
    mean, deviation = both.mean(axis=0), both.std(axis=0)
    varies = both.min(axis=0) < both.max(axis=0)
    deviation = np.where(varies, deviation, 1)  # a constant feature tells nothing
    both = (both - mean) / deviation
    made, real = both[: len(images)], both[len(images) :]
    decay = regularization(len(images), len(photos), int(varies.sum()))

    def loss(weights: Matrix) -> tuple[float, Matrix]:
        margins = (made @ weights)[:, None] - real @ weights  # (N, M)
        wrong = expit(margins)
        value = np.logaddexp(0, margins).mean() + decay / 2 * weights @ weights
        gradient = made.T @ wrong.sum(axis=1) - real.T @ wrong.sum(axis=0)
        return float(value), gradient / margins.size + decay * weights

    start = np.zeros(both.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
    return Scorer(mean, deviation, found.x)


def regularization(images: int, photos: int, dimensions: int) -> float:
    """Return the factor c of `fit` for these numbers of images, photos and features."""
    return dimensions / (min(images, photos) * PRIOR**2)


def auc(higher: Matrix, lower: Matrix) -> float:
    """Return the share of pairs whose first score is higher; equal ones count as half a pair.

    Mann and Whitney 1947: the area under the ROC curve. Scores (N,) and (M,).
    """
    ordered = np.sort(lower)
    below = np.searchsorted(ordered, higher, side="left")
    up_to = np.searchsorted(ordered, higher, side="right")
    return float((below + up_to).mean() / (2 * len(lower)))


def _folds(count: int, random: np.random.Generator) -> list[NDArray[np.intp]]:
    """The indices 0..count-1 in `FOLDS` random parts of about equal size."""
    return [np.sort(part) for part in np.array_split(random.permutation(count), FOLDS)]


def _others(
    features: NDArray[np.floating], fold: NDArray[np.intp], random: np.random.Generator
) -> NDArray[np.floating]:
    """The features outside of a fold, or a sample of them."""
    others = np.setdiff1d(np.arange(len(features)), fold)
    if len(others) > MOST_TRAINED:
        others = random.choice(others, MOST_TRAINED, replace=False)
    return features[others]
