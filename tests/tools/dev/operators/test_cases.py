"""The table of cases: every operator once, and 16 bits compared with 16 bits."""

from __future__ import annotations

import contextlib
import re

import pytest

from options.groups import Precision
from tests.tools.dev.operators.devices import ON_CPU
from tools.dev.operators import cases as table
from tools.dev.operators.cases import cases_in
from tools.dev.operators.comparison import Case, Results, compare

# Names of cases that convolve maps whose size depends on the precision.
SIZED = re.compile(" x |image and losses")


def test_every_kind_of_operator_occurs_once() -> None:
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
    assert "TSIT: image and losses" in cases and "SPADE: image and losses" in cases
    assert ("Adam with a scaled loss" in cases) == (precision == "float16")
    short = cases["transposed convolution"]

    # a device that ignores the precision differs
    def in_float32(case: Case) -> Results:
        with monkeypatch.context() as patch:
            patch.setattr(table, "autocast", lambda precision: contextlib.nullcontext())
            return ON_CPU(case)

    (result,) = compare([short], ON_CPU, in_float32)
    assert least < result.difference
    (result,) = compare([short], ON_CPU, ON_CPU)
    assert result.difference == 0
