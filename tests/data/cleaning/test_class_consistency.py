"""Segment features, and the predictions of the forests."""

from __future__ import annotations

import numpy as np
import pytest

from data.cleaning.class_consistency import (
    class_statistics,
    label_log_odds,
    label_outlier_score,
    outlier_segment,
    score_classes,
)
from data.cleaning.segments import APPEARANCE, Segments, describe_segments
from data.cleaning.view import View
from tests.data.cleaning.scenes import HOUSE, LAKE, SKY, TREE, make_scene

CLASSES = 29


def _described(index: int) -> Segments:
    image, layout = make_scene(index, 192, 256)
    return describe_segments(View(image, layout), CLASSES)


def test_features_of_known_segments() -> None:
    layout = np.full((192, 256), 2, np.int32)
    layout[:96] = SKY
    layout[120:140, 100:140] = HOUSE
    image = np.zeros((192, 256, 3), np.uint8)
    image[layout == SKY] = 255
    image[layout == HOUSE] = 128
    found = describe_segments(View(image, layout), CLASSES)
    assert found.classes.tolist() == [SKY, 2, HOUSE]
    assert found.areas.shape == (3,) and found.features.shape == (3, len(APPEARANCE) + CLASSES)
    assert found.areas == pytest.approx([0.5, 0.5 - 800 / 49152, 800 / 49152], abs=1e-4)
    look = dict(zip(APPEARANCE, found.features[2, : len(APPEARANCE)], strict=True))
    assert look["mean L*"] == pytest.approx(53.6, abs=0.5)
    assert look["10th percentile of L*"] == pytest.approx(53.6, abs=1.6)
    assert (look["top"], look["bottom"]) == pytest.approx((120 / 192, 140 / 192))
    assert (look["height"], look["width"]) == pytest.approx((20 / 192, 40 / 256))
    assert look["share of its box"] == pytest.approx(1)
    assert look["sides of the image touched"] == 0
    neighbors = found.features[:, len(APPEARANCE) :]
    assert neighbors[2, 2] == 1 and neighbors[2].sum() == 1
    assert neighbors[0, 2] == 1
    # Border of the lower region: 256 pixels with the sky, 120 with the house.
    assert neighbors[1, SKY] == pytest.approx(256 / 376) and neighbors[1].sum() == pytest.approx(1)


def test_small_and_unknown_segments_are_skipped() -> None:
    layout = np.full((192, 256), 2, np.int32)
    layout[:96] = 29
    layout[100:104, 100:104] = 3
    found = describe_segments(View(np.zeros((192, 256, 3), np.uint8), layout, unknown=29), 29)
    assert found.classes.tolist() == [2]
    nothing = describe_segments(
        View(np.zeros((192, 256, 3), np.uint8), np.full((192, 256), 29, np.int32), unknown=29), 29
    )
    assert nothing.features.shape == (0, len(APPEARANCE) + 29)
    assert np.isnan(label_outlier_score(nothing, np.zeros(0))) and np.isnan(
        outlier_segment(nothing, np.zeros(0))
    )


def test_formulas() -> None:
    segments = Segments(
        np.array([0, 1], np.int32), np.array([0.25, 0.04], np.float32), np.zeros((2, 4), np.float32)
    )
    log_odds = label_log_odds(segments, np.array([[0.8, 0.2], [0.9, 0.1]]))
    assert log_odds.shape == (2,) and log_odds == pytest.approx([0, np.log(9)])
    expected = 0.2 * np.log(9)
    assert label_outlier_score(segments, log_odds) == pytest.approx(expected / 0.7, rel=1e-5)
    assert outlier_segment(segments, log_odds) == pytest.approx(expected, rel=1e-5)


def test_a_relabeled_segment_has_the_highest_score() -> None:
    found = [_described(index) for index in range(60)]
    image, layout = make_scene(7, 192, 256)
    layout = np.where(layout == LAKE, HOUSE, layout).astype(np.int32)
    found[7] = describe_segments(View(image, layout), CLASSES)
    consistency = score_classes(found, CLASSES)
    assert consistency.outlier_segment.shape == consistency.label_outlier_score.shape == (60,)
    assert consistency.outlier_segment.argmax() == 7
    assert consistency.outlier_segment[7] > 0.5
    assert np.median(consistency.label_outlier_score) < 0.05
    start = sum(len(one.classes) for one in found[:7])
    predicted = consistency.predicted[start : start + len(found[7].classes)]
    wrong = np.flatnonzero(consistency.log_odds[start : start + len(predicted)] > 2)
    assert LAKE in predicted[wrong]
    again = score_classes(found, CLASSES)
    assert np.array_equal(consistency.log_odds, again.log_odds)

    statistics = {one.class_id: one for one in class_statistics(found, consistency, CLASSES)}
    assert statistics[SKY].images == 60 and statistics[SKY].agreement > 0.95
    assert statistics[SKY].lab[0] > statistics[TREE].lab[0]
    assert statistics[TREE].texture > statistics[SKY].texture


def test_too_few_segments_have_no_score() -> None:
    consistency = score_classes([_described(0), _described(1)], CLASSES)
    assert np.isnan(consistency.label_outlier_score).all()
    assert class_statistics([], score_classes([], CLASSES), CLASSES) == []
