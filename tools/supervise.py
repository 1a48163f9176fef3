"""Ctrl-C for a program whose child processes must not get it.

A terminal sends Ctrl-C to all processes of its foreground group. The compilers that Jittor starts
would die of it in the middle of a step. So the work is done in a child process in a group of its
own, and this process, which stays in the foreground, hands the signal to that child alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

PR_SET_PDEATHSIG = 1


def supervise(work: Callable[[], int]) -> int:
    """Do `work` in a child process and return its exit code, in child and parent alike.

    The first SIGINT, SIGTERM or SIGHUP asks the child to stop, the second kills it and what it has
    started; Ctrl-Z suspends it. A child that dies of signal N gives 128 + N. Under mpirun, which
    has processes and signals in its own hands, the work is done right here.
    """
    if "OMPI_COMM_WORLD_SIZE" in os.environ:
        return work()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        _die_with(parent)
        return work()
    with contextlib.suppress(OSError):  # the child may have done it, and even have ended
        os.setpgid(child, child)
    return _Supervisor(child).wait()


class _Supervisor:
    """Hands signals to a child process until it ends."""

    def __init__(self, child: int) -> None:
        self.child = child
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)
        signal.signal(signal.SIGTSTP, self._suspend)

    def wait(self) -> int:
        """The child's exit code."""
        _, status = os.waitpid(self.child, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _ask(self, number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.asked:
                os.killpg(self.child, signal.SIGKILL)
            else:
                # To a child that has lost its terminal, SIGHUP is no more than a wish to stop.
                os.kill(self.child, signal.SIGTERM if number == signal.SIGHUP else number)
        self.asked = True

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        os.killpg(self.child, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        # Continued here, by `fg`.
        os.killpg(self.child, signal.SIGCONT)


def _die_with(parent: int) -> None:
    """Have this process asked to stop when `parent` is killed; Linux only."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
