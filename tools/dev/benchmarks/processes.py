"""Runs the programs that measure, each in a process of its own.

torch_python = find_torch(None)
result = run_timer([sys.executable, "-m", "tools.dev.benchmarks.time_network", *flags])
measured = run_measured([sys.executable, "-m", "tools.evaluate", *flags])
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from options.errors import UserError
from runtime import ROOT

Row = dict[str, Any]


def median_seconds(result: Row) -> float:
    """Return the median of a timing program's passes."""
    return statistics.median(result["seconds"])


def run_timer(command: Sequence[str]) -> Row:
    """Run a timing program; return the JSON on its last line. Raises UserError if it fails."""
    row: Row = json.loads(run_process(command).strip().splitlines()[-1])
    return row


def run_process(command: Sequence[str]) -> str:
    """Run a program and return its output. Raises UserError if it fails."""
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    _check_exit(command, result.returncode, result.stderr or result.stdout)
    return result.stdout


def find_torch(wanted: str | None) -> str | None:
    """A Python that has torch; None if the user named none and this one lacks it."""
    python = wanted or sys.executable
    if shutil.which(python) is None:
        raise UserError(f"--torch-python: expected a Python program, got {python}.")
    probe = [python, "-c", "import importlib.util as u; raise SystemExit(not u.find_spec('torch'))"]
    if subprocess.run(probe, check=False).returncode == 0:
        return python
    if wanted:
        raise UserError(
            f"--torch-python: expected a Python with torch, got {python}. Run: {python} -m pip "
            "install torch"
        )
    return None


def run_measured(command: Sequence[str]) -> Row:
    """Run a program; return its seconds and its peak memory in MB.

    The peak is that of its largest process; Linux counts this process's own for a new one, so it
    must be smaller. Raises UserError if the program fails.
    """
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        child = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        # of this child alone; getrusage would add those before it
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        _check_exit(command, child.returncode, output.read())
    return {"seconds": seconds, "peak_mb": round(usage.ru_maxrss / 1024)}


def _check_exit(command: Sequence[str], code: int, text: str) -> None:
    if code:
        last = (text.strip().splitlines() or ["no output"])[-1]
        raise UserError(f"{' '.join(command[:3])}: expected exit code 0, got {code}: {last}")
