"""Computes one case on two devices and compares its outputs and gradients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import jittor as jt
import numpy as np
from numpy.typing import NDArray

from runtime.core import telling_line

Function = Callable[..., Sequence[jt.Var]]
Device = Literal["cpu", "cuda"]
# The arrays of a case, and the seconds of its second run. The first run compiles.
Results = tuple[list[NDArray], float]

# Limit for sums in another order, and for CUDA's fast division and roots.
SUM_LIMIT = 2e-4


@dataclass(frozen=True)
class Case:
    """A function of arrays, and the largest relative difference allowed between devices."""

    name: str
    inputs: tuple[NDArray, ...]
    function: Function
    limit: float = SUM_LIMIT


@dataclass(frozen=True)
class Comparison:
    """The result of a case on two devices; `fault` is the error if it could not be computed.

    `difference` is the largest difference over the largest value. `seconds` are those of each
    device.
    """

    name: str
    difference: float
    limit: float
    seconds: tuple[float, float]
    fault: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the devices agree."""
        return not self.fault and self.difference <= self.limit

    def to_dict(self) -> dict[str, object]:
        """JSON form; `difference` is None if it is not finite."""
        return {
            "name": self.name,
            "agrees": self.agrees,
            "difference": self.difference if np.isfinite(self.difference) else None,
            "limit": self.limit,
            "seconds": list(self.seconds),
            "fault": self.fault,
        }


def on_device(device: Device) -> Callable[[Case], Results]:
    """A function that computes a case on `device`."""

    def run(case: Case) -> Results:
        with jt.flag_scope(use_cuda=int(device == "cuda")):
            compute(case)
            jt.sync_all(True)
            started = time.perf_counter()
            arrays = compute(case)
            return arrays, time.perf_counter() - started

    return run


def compute(case: Case) -> list[NDArray]:
    """The outputs of a case, then the gradients of their weighted sum by its float inputs."""
    jt.set_global_seed(1)
    inputs = [jt.array(array) for array in case.inputs]
    outputs = list(case.function(*inputs))
    random = np.random.default_rng(2)
    total = None
    for output in outputs:
        weights = random.standard_normal(output.shape).astype(np.float32)
        term = (output * jt.array(weights)).sum()
        total = term if total is None else total + term
    floats = [
        var for var, array in zip(inputs, case.inputs, strict=True) if array.dtype.kind == "f"
    ]
    gradients = jt.grad(total, floats) if floats else []
    return [array.astype(np.float64) for array in jt.fetch_sync([*outputs, *gradients])]


def compare(
    cases: Iterable[Case], first: Callable[[Case], Results], second: Callable[[Case], Results]
) -> Iterator[Comparison]:
    """Compute every case with both functions and compare the second result with the first."""
    for case in cases:
        try:
            expected, seconds = first(case)
            got, other_seconds = second(case)
            difference = max(_difference(a, b) for a, b in zip(expected, got, strict=True))
        except Exception as error:
            # one operator that fails must not hide the others
            message = telling_line(str(error) or type(error).__name__)
            yield Comparison(case.name, float("inf"), case.limit, (0, 0), message)
            continue
        yield Comparison(case.name, difference, case.limit, (seconds, other_seconds))


def _difference(expected: NDArray, got: NDArray) -> float:
    if expected.shape != got.shape or not np.isfinite(got).all():
        return float("inf")
    scale = max(float(np.abs(expected).max(initial=0)), 1e-6)
    return float(np.abs(expected - got).max(initial=0)) / scale
