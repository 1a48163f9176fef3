"""The comparison of two devices: the CPU with itself, and with a device that computes wrongly."""

from __future__ import annotations

import json

import jittor as jt
import numpy as np
import pytest

from tests.tools.dev.operators.devices import ON_CPU, SQUARE, wrong_by
from tools.dev.operators.comparison import Case, compare


def test_a_device_agrees_with_itself_forward_and_backward() -> None:
    arrays, seconds = ON_CPU(SQUARE)
    weights = np.random.default_rng(2).standard_normal(3).astype(np.float32)
    np.testing.assert_allclose(arrays[0], [1, 4, 9])
    np.testing.assert_allclose(arrays[1], weights * [2, -4, 6], rtol=1e-6)
    (result,) = compare([SQUARE], ON_CPU, ON_CPU)
    assert result.agrees and result.difference == 0 and seconds >= 0


@pytest.mark.parametrize(("factor", "which"), [(1.01, 0), (1.01, 1), (np.nan, 0), (np.inf, 1)])
def test_a_wrong_output_or_gradient_is_found(factor: float, which: int) -> None:
    (result,) = compare([SQUARE], ON_CPU, wrong_by(factor, which))
    assert not result.agrees
    assert not json.loads(json.dumps(result.to_dict(), allow_nan=False))["agrees"]


def test_a_case_that_fails_does_not_hide_the_others() -> None:
    def fails(x: jt.Var) -> list[jt.Var]:
        raise RuntimeError("no kernel for this")

    broken = Case("broken", SQUARE.inputs, fails)
    first, second = compare([broken, SQUARE], ON_CPU, ON_CPU)
    assert first.fault == "no kernel for this" and not first.agrees
    assert second.agrees
