"""Dynamic loss scaling."""

from __future__ import annotations

import pytest

from training.loss_scale import LARGEST, START, GradientOverflow, LossScale


def test_it_shrinks_at_once_and_grows_after_many_good_steps() -> None:
    scale = LossScale()
    for _ in range(LossScale.GROW_AFTER - 1):
        scale.update(True)
    scale.update(False)
    assert (scale.value, scale.good_steps) == (START // 2, 0)
    for _ in range(LossScale.GROW_AFTER - 1):
        scale.update(True)
    assert scale.value == START // 2
    scale.update(True)
    assert (scale.value, scale.good_steps) == (START, 0)


def test_it_has_a_maximum_and_a_minimum() -> None:
    scale = LossScale()
    scale.value, scale.good_steps = LARGEST, LossScale.GROW_AFTER - 1
    scale.update(True)
    assert scale.value == LARGEST
    while scale.value > 1:
        scale.update(False)
    with pytest.raises(GradientOverflow):
        scale.update(False)
