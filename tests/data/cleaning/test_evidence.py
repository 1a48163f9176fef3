"""What the forests say of segments, and how segments are described."""

from __future__ import annotations

import numpy as np
import pytest

from data.cleaning.evidence import (
    class_statistics,
    odd_segment,
    oddness,
    odds_against,
    weigh_classes,
)
from data.cleaning.segments import APPEARANCE, Segments, describe_segments
from data.cleaning.view import View
from tests.data.cleaning.scenes import HOUSE, LAKE, SKY, TREE, draw_scene

CLASSES = 29


def _described(index: int) -> Segments:
    image, layout = draw_scene(index, 192, 256)
    return describe_segments(View(image, layout), CLASSES)


def test_segments_are_described_as_drawn() -> None:
    layout = np.full((192, 256), 2, np.int32)
    layout[:96] = SKY
    layout[120:140, 100:140] = HOUSE
    image = np.zeros((192, 256, 3), np.uint8)
    image[layout == SKY] = 255
    image[layout == HOUSE] = 128
    found = describe_segments(View(image, layout), CLASSES)
    assert found.classes.tolist() == [SKY, 2, HOUSE]
    assert found.areas == pytest.approx([0.5, 0.5 - 800 / 49152, 800 / 49152], abs=1e-4)
    look = dict(zip(APPEARANCE, found.features[2, : len(APPEARANCE)], strict=True))
    assert look["mean L*"] == pytest.approx(53.6, abs=0.5)
    assert look["10th percentile of L*"] == pytest.approx(53.6, abs=1.6)
    assert (look["top"], look["bottom"]) == pytest.approx((120 / 192, 140 / 192))
    assert (look["height"], look["width"]) == pytest.approx((20 / 192, 40 / 256))
    assert look["share of its box"] == pytest.approx(1)
    assert look["sides of the picture touched"] == 0
    neighbours = found.features[:, len(APPEARANCE) :]
    assert neighbours[2, 2] == 1 and neighbours[2].sum() == 1
    assert neighbours[0, 2] == 1
    # The field's border: 256 with the sky, 120 with the house.
    assert neighbours[1, SKY] == pytest.approx(256 / 376) and neighbours[1].sum() == pytest.approx(
        1
    )


def test_small_and_unknown_segments_are_left_out() -> None:
    layout = np.full((192, 256), 2, np.int32)
    layout[:96] = 29
    layout[100:104, 100:104] = 3
    found = describe_segments(View(np.zeros((192, 256, 3), np.uint8), layout, unknown=29), 29)
    assert found.classes.tolist() == [2]
    nothing = describe_segments(
        View(np.zeros((192, 256, 3), np.uint8), np.full((192, 256), 29, np.int32), unknown=29), 29
    )
    assert nothing.features.shape == (0, len(APPEARANCE) + 29)
    assert np.isnan(oddness(nothing, np.zeros(0))) and np.isnan(odd_segment(nothing, np.zeros(0)))


def test_formulas() -> None:
    segments = Segments(
        np.array([0, 1], np.int32), np.array([0.25, 0.04], np.float32), np.zeros((2, 4), np.float32)
    )
    odds = odds_against(segments, np.array([[0.8, 0.2], [0.9, 0.1]]))
    assert odds == pytest.approx([0, np.log(9)])
    assert oddness(segments, odds) == pytest.approx(0.2 * np.log(9) / 0.7, rel=1e-5)
    assert odd_segment(segments, odds) == pytest.approx(0.2 * np.log(9), rel=1e-5)


def test_a_relabelled_segment_is_the_odd_one() -> None:
    found = [_described(index) for index in range(60)]
    image, layout = draw_scene(7, 192, 256)
    layout = np.where(layout == LAKE, HOUSE, layout).astype(np.int32)
    found[7] = describe_segments(View(image, layout), CLASSES)
    evidence = weigh_classes(found, CLASSES)
    assert evidence.odd_segment.argmax() == 7
    assert evidence.odd_segment[7] > 0.5
    assert np.median(evidence.oddness) < 0.05
    start = sum(len(one.classes) for one in found[:7])
    named = evidence.likeliest[start : start + len(found[7].classes)]
    wrong = np.flatnonzero(evidence.odds[start : start + len(named)] > 2)
    assert LAKE in named[wrong]
    again = weigh_classes(found, CLASSES)
    assert np.array_equal(evidence.odds, again.odds)

    statistics = {one.class_id: one for one in class_statistics(found, evidence, CLASSES)}
    assert statistics[SKY].pictures == 60 and statistics[SKY].confirmed > 0.95
    assert statistics[SKY].lab[0] > statistics[TREE].lab[0]
    assert statistics[TREE].texture > statistics[SKY].texture


def test_too_few_segments_are_not_judged() -> None:
    evidence = weigh_classes([_described(0), _described(1)], CLASSES)
    assert np.isnan(evidence.oddness).all()
    assert class_statistics([], weigh_classes([], CLASSES), CLASSES) == []
