"""The exit code of a child process."""

from __future__ import annotations

import signal
import sys

from tools.dev.acceptance.processes import run_limited


def test_a_killed_process_has_the_signal_as_exit_code() -> None:
    done = run_limited([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], 10)
    assert done.code == -signal.SIGKILL
