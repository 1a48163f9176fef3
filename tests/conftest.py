"""Makes Jittor ready on the CPU before any test module imports it."""

from __future__ import annotations

import signal
import sys

import pytest

from options.errors import UserError
from tools.set_up import prepare

# The programs that tests start inherit what is ignored: where the tests run under nohup or as a
# script's job with &, they would not hear the signals that they are sent.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
    if signal.getsignal(number) == signal.SIG_IGN:
        ours = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if ours else signal.SIG_DFL)

try:
    prepare("cpu")
except UserError as error:
    pytest.exit(f"error: {error}", returncode=2)


def pytest_runtest_setup() -> None:
    """Takes back the signals with which Jittor ends the whole process.

    It quits, without a summary, at Ctrl-C and when a child was killed by a signal, as some tests do
    to theirs.
    """
    if "jittor" in sys.modules:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
