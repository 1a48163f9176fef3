"""The machine scores: published breakdowns, the cap of FID, and measures that are missing."""

from __future__ import annotations

import math

import pytest

from metrics.scores import score_2022, score_2023


@pytest.mark.parametrize(
    ("mask", "aesthetic", "fid", "published", "digits"),
    [(0.8334, 5.0361, 37.98, 0.4683, 4), (0.8479, 5.0436, 43.82, 0.452, 3)],
)
def test_the_published_breakdowns_of_2022(
    mask: float, aesthetic: float, fid: float, published: float, digits: int
) -> None:
    total = score_2022(mask, aesthetic, fid).total
    assert total is not None and round(total, digits) == published


def test_the_score_of_2023_by_hand() -> None:
    score = score_2023(0.8, 0.5, 0.2, 30)
    assert score.terms == pytest.approx({"aesthetic": 0.1, "style similarity": 0.18, "FID": 0.35})
    assert score.total == pytest.approx(0.8 * 0.63)
    assert score.without_aesthetic == pytest.approx(0.8 * 0.53)


def test_the_best_measures_give_1() -> None:
    assert score_2022(1, 10, 0).total == pytest.approx(1)
    assert score_2023(1, 1, 1, 0).total == pytest.approx(1)


def test_no_correlation_of_styles_is_half_of_the_term() -> None:
    assert score_2023(1, 0, 0, 100).total == pytest.approx(0.15)
    assert score_2023(1, 0, -1, 100).total == pytest.approx(0)


def test_an_fid_above_100_counts_as_100() -> None:
    for fid in (100, 100.5, 4000):
        assert score_2022(0.5, 6, fid).total == pytest.approx(0.15)
        assert score_2023(0.5, 0.6, 0, fid).terms["FID"] == 0


def test_without_a_measure_there_is_no_score() -> None:
    score = score_2022(0.8, None, 40)
    assert score.total is None and score.missing == ["aesthetic"]
    assert score.without_aesthetic == pytest.approx(0.8 * 0.3)
    blind = score_2023(None, None, 0.5, 40)
    assert blind.total is blind.without_aesthetic is None
    assert blind.missing == ["mask accuracy", "aesthetic"]
    assert blind.terms["style similarity"] == pytest.approx(0.225)
    no_fid = score_2023(0.8, 0.5, 0.5, None)
    assert no_fid.total is no_fid.without_aesthetic is None and no_fid.missing == ["FID"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((85.0, 5, 30), "mask accuracy: expected 0 to 1"),
        ((0.8, 11, 30), "aesthetic: expected 0 to 10"),
        ((0.8, 5, -1), "FID: expected 0 to inf"),
        ((0.8, 5, math.nan), "FID: expected"),
    ],
)
def test_a_measure_outside_its_range_is_refused_in_2022(
    arguments: tuple[float, float, float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        score_2022(*arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((1.2, 0.5, 0, 30), "mask accuracy: expected 0 to 1"),
        ((0.8, 5.04, 0, 30), "aesthetic: expected 0 to 1, got 5.04"),
        ((0.8, 0.5, -1.1, 30), "style similarity: expected -1 to 1"),
        ((0.8, 0.5, 0, -3), "FID"),
    ],
)
def test_a_measure_outside_its_range_is_refused_in_2023(
    arguments: tuple[float, float, float, float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        score_2023(*arguments)
