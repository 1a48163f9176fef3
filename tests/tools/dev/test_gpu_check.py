"""The comparison program: its report, its JSON file, and the kernels that it compiles."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import jittor as jt
import pytest

from tests.tools.dev.operators.devices import ON_CPU, SQUARE, wrong_by
from tools.dev import gpu_check
from tools.dev.operators import cases, comparison
from tools.dev.operators.comparison import Case, Results


@pytest.fixture(autouse=True)
def one_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        cases, "cases_in", lambda precision: [SQUARE] if precision == "float32" else []
    )


@pytest.mark.parametrize(("second", "code"), [(ON_CPU, 0), (wrong_by(1.01, 0), 1)])
def test_each_difference_is_reported(
    second: Callable[[Case], Results],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    devices = iter([ON_CPU, second])
    monkeypatch.setattr(comparison, "on_device", lambda device: next(devices))
    path = tmp_path / "comparisons.json"
    assert gpu_check.main(["--device", "cpu", "--json", str(path)]) == code
    (row,) = json.loads(path.read_text())
    assert row["name"] == "square" and row["agrees"] == (code == 0)
    assert row["difference"] == pytest.approx(0.01 if code else 0)
    printed = capsys.readouterr().out
    assert ("fault  square: 1.0e-02" if code else "ok     square: 0.0e+00") in printed
    assert f"{code} of 1 cases disagree" in printed


def test_a_file_of_the_user_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.json"
    path.write_text("mine")
    assert gpu_check.main(["--device", "cpu", "--json", str(path)]) == 2
    assert "--json" in capsys.readouterr().err and path.read_text() == "mine"


def test_a_case_that_does_not_compile_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # this machine may have no CUDA, which the flag needs
    monkeypatch.setattr(jt, "flag_scope", lambda use_cuda: contextlib.nullcontext())

    def fail(case: Case) -> None:
        raise RuntimeError("x.cc(3): error: no such name")

    for compute, code, text in (
        (lambda case: None, 0, "every kernel compiled"),
        (fail, 1, "FAILED square: x.cc(3): error: no such name"),
    ):
        monkeypatch.setattr(comparison, "compute", compute)
        assert gpu_check.main(["--compile-only"]) == code
        assert text in capsys.readouterr().out
