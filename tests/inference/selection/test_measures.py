"""Which of two sets of images a choice prefers."""

from __future__ import annotations

import numpy as np
import pytest

from inference.selection.measures import Quality

SHARES = np.array([0.5, 0.6, 0.7, 0.8])


def quality(shift: float | list[float], distance: float, *, is_fid: bool = False) -> Quality:
    return Quality(SHARES + np.array(shift), distance, len(SHARES), is_fid)


def test_the_gain_has_the_standard_error_of_paired_differences() -> None:
    changes = [0.1, 0.0, 0.2, 0.1]
    gain, error = quality(changes, 1.0).gain_over(quality(0.0, 1.0))
    assert gain == pytest.approx(0.1)
    assert error == pytest.approx(np.std(changes, ddof=1) / 2)


def test_a_difference_above_the_standard_error_decides_whatever_the_distance() -> None:
    better, base = quality([0.1, 0.11, 0.1, 0.11], 90.0), quality(0.0, 10.0)
    assert better.is_better_than(base) and not base.is_better_than(better)


def test_within_the_standard_error_the_distance_decides() -> None:
    noise = [0.1, -0.1, 0.1, -0.08]
    near, far = quality(noise, 10.0), quality(0.0, 90.0)
    assert near.is_better_than(far) and not far.is_better_than(near)
    near, far = quality(0.0, 10.0), quality(noise, 90.0)
    assert near.is_better_than(far) and not far.is_better_than(near)


def test_no_set_is_better_than_itself() -> None:
    for is_fid in (False, True):
        one = quality(0.0, 10.0, is_fid=is_fid)
        assert not one.is_better_than(one)


def test_with_fid_the_score_decides_and_above_100_the_mask_accuracy() -> None:
    # 0.65 * 45 / 100 against 0.66 * 40 / 100
    low, high = quality(0.0, 10.0, is_fid=True), quality(0.01, 20.0, is_fid=True)
    assert low.is_better_than(high) and not high.is_better_than(low)
    low, high = quality(0.0, 110.0, is_fid=True), quality(0.01, 120.0, is_fid=True)
    assert high.is_better_than(low) and not low.is_better_than(high)


def test_without_mask_accuracy_there_is_no_choice() -> None:
    unmeasured = Quality(None, 1.0, 4, False)
    assert unmeasured.mask_accuracy is None and unmeasured.objective is None
    with pytest.raises(ValueError, match="mask accuracy: expected a number, got none"):
        unmeasured.is_better_than(quality(0.0, 1.0))
