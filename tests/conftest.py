"""Prepares Jittor on the CPU before any test module imports it."""

from __future__ import annotations

import signal
import sys

import pytest

from options.errors import UserError
from runtime.set_up import prepare

# Programs that tests start inherit ignored signals: under nohup, or as a script's job with &, they
# would not receive the signals that tests send.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
    if signal.getsignal(number) == signal.SIG_IGN:
        is_interrupt = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)

try:
    prepare("cpu")
except UserError as error:
    pytest.exit(f"error: {error}", returncode=2)


def pytest_runtest_setup() -> None:
    """Restores the handlers of signals at which Jittor ends the whole process.

    Jittor exits, without a summary, at Ctrl-C and when a signal kills a child, as some tests do to
    theirs.
    """
    if "jittor" in sys.modules:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
