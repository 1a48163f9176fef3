"""Child processes with a time limit, and the files that a training process writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runtime import ROOT


class Done:
    """The result of a process: exit code (None at the time limit), stdout and stderr."""

    def __init__(self, code: int | None, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr

    def text(self) -> str:
        """The end of its output."""
        end = (self.stderr.strip() or self.stdout.strip())[-1000:]
        return end if self.code is not None else f"stopped at the time limit. {end}"


def run_limited(command: Sequence[str], seconds: float) -> Done:
    """Run a program of the project; at the limit kill it and its children."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=max(1.0, seconds))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            return Done(None, stdout, stderr)
        return Done(process.returncode, stdout, stderr)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for the condition or for the end of the process."""
    while process.poll() is None and not condition():
        time.sleep(0.05)


def read_stats(path: Path) -> list[dict[str, Any]]:
    """The complete lines of stats.jsonl; a process may still be writing the last one."""
    if not path.is_file():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def tail_of(path: Path) -> str:
    """The end of a log."""
    return path.read_text(errors="replace")[-1000:] if path.is_file() else ""
