"""The comparison of two devices, here the CPU with itself and with a wrong one."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable

import jittor as jt
import numpy as np
import pytest

from options.run import Precision
from tools import doctor, gpu_check
from tools.gpu_check import Case, Results, cases_in, compare, on_device

SQUARE = Case("square", (np.float32([1, -2, 3]),), lambda x: [x * x])
ON_CPU = on_device("cpu")
# the names of cases that convolve maps of a size of their own
SIZED = re.compile(" x |picture")


def wrong_by(factor: float, which: int) -> Callable[[Case], Results]:
    """A device that is off in one of its arrays."""

    def run(case: Case) -> Results:
        arrays, seconds = ON_CPU(case)
        arrays[which] = arrays[which] * factor
        return arrays, seconds

    return run


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


def test_a_case_that_cannot_be_computed_does_not_hide_the_others() -> None:
    def fails(x: jt.Var) -> list[jt.Var]:
        raise RuntimeError("no kernel for this")

    broken = Case("broken", SQUARE.inputs, fails)
    first, second = compare([broken, SQUARE], ON_CPU, ON_CPU)
    assert first.fault == "no kernel for this" and not first.agrees
    assert second.agrees


def test_every_kind_of_operator_is_there_once() -> None:
    names = [case.name for case in cases_in("float32")]
    assert len(set(names)) == len(names)
    for word in (
        "convolution 3 x 3",
        "convolution 1 x 1",
        "convolution 4 x 4",
        "spectral norm",
        "batch norm, modulated by a feature map",
        "instance norm, modulated by the layout",
        "layout gather",
        "bilinear",
        "nearest",
        "mean and variance",
        "GAN loss, hinge",
        "perceptual loss, cosine",
        "Adam",
        "TSIT",
        "SPADE",
    ):
        assert any(word in name for name in names), word


@pytest.mark.parametrize(("precision", "least"), [("bfloat16", 1e-3), ("float16", 1e-4)])
def test_16_bits_are_compared_with_16_bits(
    precision: Precision, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = {case.name.removeprefix(f"{precision}: "): case for case in cases_in(precision)}
    shapes = {case.inputs[0].shape for case in cases_in("float32") if SIZED.search(case.name)}
    assert not shapes & {case.inputs[0].shape for name, case in cases.items() if SIZED.search(name)}
    assert "TSIT: picture and losses" in cases and "SPADE: picture and losses" in cases
    assert ("Adam with a scaled loss" in cases) == (precision == "float16")
    short = cases["transposed convolution"]

    # what a device gives that takes no notice of the precision is off
    def in_float32(case: Case) -> Results:
        with monkeypatch.context() as patch:
            patch.setattr(gpu_check, "computing_in", lambda precision: contextlib.nullcontext())
            return ON_CPU(case)

    (result,) = compare([short], ON_CPU, in_float32)
    assert least < result.difference
    (result,) = compare([short], ON_CPU, ON_CPU)
    assert result.difference == 0


@pytest.mark.parametrize(("second", "code"), [(ON_CPU, 0), (wrong_by(1.01, 0), 1)])
def test_the_doctor_says_what_is_off_and_by_how_much(
    second: Callable[[Case], Results],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    devices = iter([ON_CPU, second])
    monkeypatch.setattr(gpu_check, "on_device", lambda device: next(devices))
    monkeypatch.setattr(
        gpu_check, "cases_in", lambda precision: [SQUARE] if precision == "float32" else []
    )
    monkeypatch.setattr(doctor, "examine", lambda machine: [])
    assert doctor.main(["--gpu", "--device", "cpu", "--json"]) == code
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["name"] == "square"
    assert finding["status"] == ("fault" if code else "ok")
    assert ("1.0e-02" if code else "0.0e+00") in finding["value"]
