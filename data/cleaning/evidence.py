"""How the classes of a pair look against the rest of its dataset.

A random forest (Breiman 2001; OpenCV's RTrees) learns to tell a segment's class from its colour,
texture, place, shape and neighbours (data.cleaning.segments). Each pair is judged by a forest that
was grown on other pairs, so that no layout vouches for itself.
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
# More segments than this make a forest slower and hardly better.
_MOST_SAMPLES = 30_000
# Fewer segments than this teach no class.
_FEWEST_SAMPLES = 40


@dataclass(frozen=True)
class Evidence:
    """What the forests say. `oddness` and `odd_segment`: float64 (M,), a value a pair.

    `odds`: float64 (S,) of all segments in the pairs' order; `likeliest`: int32 (S,).
    """

    oddness: NDArray[np.float64]
    odd_segment: NDArray[np.float64]
    odds: NDArray[np.float64]
    likeliest: NDArray[np.int32]


@dataclass(frozen=True)
class ClassStatistics:
    """How one class looks in the dataset: shares 0..1, L*a*b* of its large segments."""

    class_id: int
    segments: int
    pictures: int
    area: float
    lab: Sequence[float]
    spread: Sequence[float]
    texture: float
    confirmed: float
    taken_for: int | None


def odds_against(segments: Segments, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log odds of the likeliest class against the layout's, of each segment; 0 and more.

    log(max_c p_c / p_label), natural logarithm; probabilities (S, K) > 0. 0 where the segment looks
    most like the class that the layout says.
    """
    own = probabilities[np.arange(len(segments.classes)), segments.classes]
    return np.log(probabilities.max(axis=1, initial=1e-9) / own)


def oddness(segments: Segments, odds: NDArray[np.float64]) -> float:
    """Mean log odds against the layout's classes, segments weighted by sqrt(area); 0 and more.

    sum_s sqrt(area_s) odds_s / sum_s sqrt(area_s). Natural logarithm of odds. NaN without segments.
    """
    weights = np.sqrt(segments.areas.astype(np.float64))
    return float((weights * odds).sum() / weights.sum()) if len(weights) else float("nan")


def odd_segment(segments: Segments, odds: NDArray[np.float64]) -> float:
    """Log odds against the class of the segment that fits its class worst; 0 and more.

    max_s sqrt(area_s) odds_s, with areas as shares of the picture. NaN without segments.
    """
    if not len(odds):
        return float("nan")
    return float((np.sqrt(segments.areas.astype(np.float64)) * odds).max())


def weigh_classes(
    found: Sequence[Segments], classes: int, progress: Callable[[int, int], None] | None = None
) -> Evidence:
    """Judge each pair's classes by forests grown on the other pairs of the dataset.

    Pair i is judged by the forest of the folds that do not hold it, fold i mod 4. Where the other
    pairs have under 40 segments, nothing is judged: NaN. `progress(done, total)` counts forests.
    """
    counts = [len(one.classes) for one in found]
    total = sum(counts)
    odds = np.full(total, np.nan)
    likeliest = np.zeros(total, dtype=np.int32)
    if total:
        samples = np.concatenate([one.features for one in found]).astype(np.float32)
        answers = np.concatenate([one.classes for one in found]).astype(np.int32)
        fold = np.repeat(np.arange(len(found)), counts) % _FOLDS
        for number in range(_FOLDS):
            inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
            if len(outside) < _FEWEST_SAMPLES or not len(inside):
                continue
            if len(outside) > _MOST_SAMPLES:
                choose = np.random.default_rng(number).choice
                outside = np.sort(choose(outside, _MOST_SAMPLES, replace=False))
            probabilities = _probabilities(
                samples[outside], answers[outside], samples[inside], classes
            )
            part = Segments(answers[inside], np.zeros(len(inside), np.float32), samples[inside])
            odds[inside] = odds_against(part, probabilities)
            likeliest[inside] = probabilities.argmax(axis=1)
            if progress is not None:
                progress(number + 1, _FOLDS)
    ends = np.cumsum([0, *counts])
    parts = [odds[start:end] for start, end in pairwise(ends)]
    return Evidence(
        np.array([oddness(one, part) for one, part in zip(found, parts, strict=True)]),
        np.array([odd_segment(one, part) for one, part in zip(found, parts, strict=True)]),
        odds,
        likeliest,
    )


def class_statistics(
    found: Sequence[Segments], evidence: Evidence, classes: int
) -> list[ClassStatistics]:
    """Describe each class that has a large segment somewhere, in the order of the ids."""
    if not sum(len(one.classes) for one in found):
        return []
    ids = np.concatenate([one.classes for one in found])
    areas = np.concatenate([one.areas for one in found]).astype(np.float64)
    features = np.concatenate([one.features for one in found])
    picture = np.repeat(np.arange(len(found)), [len(one.classes) for one in found])
    texture = APPEARANCE.index("fine texture")
    known = np.isfinite(evidence.odds)
    described = []
    for class_id in np.unique(ids):
        mine = ids == class_id
        weights = areas[mine] / areas[mine].sum()
        colours = features[mine, :3].astype(np.float64)
        mean = weights @ colours
        spread = np.sqrt(weights @ (colours - mean) ** 2)
        judged = mine & known
        others = evidence.likeliest[judged & (evidence.likeliest != class_id)]
        described.append(
            ClassStatistics(
                class_id=int(class_id),
                segments=int(mine.sum()),
                pictures=len(np.unique(picture[mine])),
                area=float(areas[mine].sum() / len(found)),
                lab=(float(mean[0]), float(mean[1]), float(mean[2])),
                spread=(float(spread[0]), float(spread[1]), float(spread[2])),
                texture=float(weights @ features[mine, texture]),
                confirmed=1 - len(others) / judged.sum() if judged.any() else float("nan"),
                taken_for=int(np.bincount(others).argmax()) if len(others) else None,
            )
        )
    return described


def _probabilities(
    samples: NDArray[np.float32],
    answers: NDArray[np.int32],
    asked: NDArray[np.float32],
    classes: int,
) -> NDArray[np.float64]:
    """Return the share of trees that vote for each class, (S, K), smoothed by 1/10 of a vote."""
    votes = np.zeros((len(asked), classes))
    if answers.min() == answers.max():
        votes[:, answers[0]] = TREES
    else:
        cv2.setRNGSeed(0)
        forest = cv2.ml.RTrees_create()  # type: ignore[attr-defined]
        forest.setMaxDepth(_DEPTH)
        forest.setMinSampleCount(4)
        forest.setActiveVarCount(10)
        forest.setTermCriteria((cv2.TERM_CRITERIA_MAX_ITER, TREES, 0))
        forest.train(samples, cv2.ml.ROW_SAMPLE, answers)
        counted = forest.getVotes(asked, 0)
        votes[:, counted[0]] = counted[1:]
    return (votes + 0.1) / (TREES + 0.1 * classes)
