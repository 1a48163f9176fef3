"""Consistency of a pair's classes with the rest of its dataset.

A random forest (Breiman 2001; OpenCV's RTrees) predicts the class of a segment from its color,
texture, position, shape and neighbors (data.cleaning.segments). Cross-validation: the forest that
predicts a pair is trained on other pairs only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from data.cleaning.segments import APPEARANCE, Segments

TREES = 60
_FOLDS = 4
_DEPTH = 16
# More training segments make a forest slower and hardly better.
_MOST_SAMPLES = 30_000
# Fewer training segments are too few to predict a class.
_FEWEST_SAMPLES = 40


@dataclass(frozen=True)
class ClassConsistency:
    """Predictions of the forests for M pairs with S segments in all, in the order of the pairs.

    label_outlier_score, outlier_segment: float64 (M,). log_odds: float64 (S,), see
    `label_log_odds`. predicted: int32 (S,), classes.
    """

    label_outlier_score: NDArray[np.float64]
    outlier_segment: NDArray[np.float64]
    log_odds: NDArray[np.float64]
    predicted: NDArray[np.int32]


@dataclass(frozen=True)
class ClassStatistics:
    """Appearance of one class in the dataset, from its large segments.

    area: mean share of the image, 0..1. lab, spread: mean and deviation in L*a*b*. agreement: share
    of the segments that the forests predict as this class, 0..1. confused_with: the most frequent
    other prediction.
    """

    class_id: int
    segments: int
    images: int
    area: float
    lab: Sequence[float]
    spread: Sequence[float]
    texture: float
    agreement: float
    confused_with: int | None


def label_log_odds(segments: Segments, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log odds of the likeliest class against the layout's class per segment, (S,).

    log(max_c p_c / p_label), natural logarithm, 0 and more; 0 if the layout's class is the
    likeliest. probabilities: (S, K), above 0.
    """
    own = probabilities[np.arange(len(segments.classes)), segments.classes]
    return np.log(probabilities.max(axis=1, initial=1e-9) / own)


def label_outlier_score(segments: Segments, log_odds: NDArray[np.float64]) -> float:
    """Mean log odds against the layout's classes, segments weighted by sqrt(area); 0 and more.

    sum_s sqrt(area_s) log_odds_s / sum_s sqrt(area_s), natural logarithm. NaN without segments.
    """
    weights = np.sqrt(segments.areas.astype(np.float64))
    return float((weights * log_odds).sum() / weights.sum()) if len(weights) else float("nan")


def outlier_segment(segments: Segments, log_odds: NDArray[np.float64]) -> float:
    """Highest log odds of one segment, weighted by sqrt(area); 0 and more.

    max_s sqrt(area_s) log_odds_s, with areas as shares of the image. NaN without segments.
    """
    if not len(log_odds):
        return float("nan")
    return float((np.sqrt(segments.areas.astype(np.float64)) * log_odds).max())


def score_classes(
    described: Sequence[Segments], classes: int, progress: Callable[[int, int], None] | None = None
) -> ClassConsistency:
    """Score each pair's classes by forests trained on the other pairs of the dataset.

    Pair i is in fold i mod 4; its forest is trained on the other three folds. Scores are NaN if
    those have under 40 segments. `progress(done, total)` counts forests.
    """
    counts = [len(one.classes) for one in described]
    total = sum(counts)
    log_odds = np.full(total, np.nan)
    predicted = np.zeros(total, dtype=np.int32)
    if total:
        samples = np.concatenate([one.features for one in described]).astype(np.float32)
        labels = np.concatenate([one.classes for one in described]).astype(np.int32)
        fold = np.repeat(np.arange(len(described)), counts) % _FOLDS
        for number in range(_FOLDS):
            inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
            if len(outside) < _FEWEST_SAMPLES or not len(inside):
                continue
            if len(outside) > _MOST_SAMPLES:
                choose = np.random.default_rng(number).choice
                outside = np.sort(choose(outside, _MOST_SAMPLES, replace=False))
            probabilities = _predict(samples[outside], labels[outside], samples[inside], classes)
            part = Segments(labels[inside], np.zeros(len(inside), np.float32), samples[inside])
            log_odds[inside] = label_log_odds(part, probabilities)
            predicted[inside] = probabilities.argmax(axis=1)
            if progress is not None:
                progress(number + 1, _FOLDS)
    ends = np.cumsum([0, *counts])
    of_pair = list(
        zip(described, (log_odds[start:end] for start, end in pairwise(ends)), strict=True)
    )
    return ClassConsistency(
        np.array([label_outlier_score(*one) for one in of_pair]),
        np.array([outlier_segment(*one) for one in of_pair]),
        log_odds,
        predicted,
    )


def class_statistics(
    described: Sequence[Segments], consistency: ClassConsistency, classes: int
) -> list[ClassStatistics]:
    """Return the statistics of each class that has a large segment, in the order of the ids."""
    if not sum(len(one.classes) for one in described):
        return []
    ids = np.concatenate([one.classes for one in described])
    areas = np.concatenate([one.areas for one in described]).astype(np.float64)
    features = np.concatenate([one.features for one in described])
    image = np.repeat(np.arange(len(described)), [len(one.classes) for one in described])
    texture = APPEARANCE.index("fine texture")
    scored = np.isfinite(consistency.log_odds)
    statistics = []
    for class_id in np.unique(ids):
        mine = ids == class_id
        weights = areas[mine] / areas[mine].sum()
        colors = features[mine, :3].astype(np.float64)
        mean = weights @ colors
        spread = np.sqrt(weights @ (colors - mean) ** 2)
        known = mine & scored
        others = consistency.predicted[known & (consistency.predicted != class_id)]
        statistics.append(
            ClassStatistics(
                class_id=int(class_id),
                segments=int(mine.sum()),
                images=len(np.unique(image[mine])),
                area=float(areas[mine].sum() / len(described)),
                lab=(float(mean[0]), float(mean[1]), float(mean[2])),
                spread=(float(spread[0]), float(spread[1]), float(spread[2])),
                texture=float(weights @ features[mine, texture]),
                agreement=1 - len(others) / known.sum() if known.any() else float("nan"),
                confused_with=int(np.bincount(others).argmax()) if len(others) else None,
            )
        )
    return statistics


def _predict(
    samples: NDArray[np.float32],
    labels: NDArray[np.int32],
    queries: NDArray[np.float32],
    classes: int,
) -> NDArray[np.float64]:
    """Return the share of trees that vote for each class, (S, K), smoothed by 1/10 of a vote."""
    votes = np.zeros((len(queries), classes))
    if labels.min() == labels.max():
        votes[:, labels[0]] = TREES
    else:
        cv2.setRNGSeed(0)
        forest = cv2.ml.RTrees_create()  # type: ignore[attr-defined]
        forest.setMaxDepth(_DEPTH)
        forest.setMinSampleCount(4)
        forest.setActiveVarCount(10)
        forest.setTermCriteria((cv2.TERM_CRITERIA_MAX_ITER, TREES, 0))
        forest.train(samples, cv2.ml.ROW_SAMPLE, labels)
        counted = forest.getVotes(queries, 0)  # the first row holds the classes
        votes[:, counted[0]] = counted[1:]
    return (votes + 0.1) / (TREES + 0.1 * classes)
