"""Devices and a case of the comparison tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tools.dev.operators.comparison import Case, Results, on_device

SQUARE = Case("square", (np.float32([1, -2, 3]),), lambda x: [x * x])
ON_CPU = on_device("cpu")


def wrong_by(factor: float, which: int) -> Callable[[Case], Results]:
    """A device that multiplies one of its arrays by `factor`."""

    def run(case: Case) -> Results:
        arrays, seconds = ON_CPU(case)
        arrays[which] = arrays[which] * factor
        return arrays, seconds

    return run
