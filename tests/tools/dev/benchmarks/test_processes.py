"""Seconds and memory of a program in a process of its own."""

from __future__ import annotations

import sys

import pytest

from options.errors import UserError
from tools.dev.benchmarks.processes import run_measured


def test_a_program_is_measured() -> None:
    code = "import time; x = bytearray(200 << 20); time.sleep(0.2)"
    measured = run_measured([sys.executable, "-c", code])
    assert measured["seconds"] >= 0.2 and measured["peak_mb"] >= 200
    with pytest.raises(UserError, match="expected exit code 0, got 3: no"):
        run_measured([sys.executable, "-c", "print('no'); raise SystemExit(3)"])
