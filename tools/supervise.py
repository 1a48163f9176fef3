"""Ctrl-C for a program whose child processes must not get it, and a new start after a crash.

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
HANDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
RESTARTS = 3
# Jittor's compiler now and then corrupts the heap at an operator's first use (twice in some thirty
# cold starts), and leaves with 1 where it catches that itself. Not here: SIGKILL, which is memory
# that does not suffice, or somebody's will.
CRASHES = (1, *(128 + n for n in (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV)))


def supervise(work: Callable[[], int]) -> int:
    """Do `work` in a child process and return its exit code, in child and parent alike.

    The first SIGINT, SIGTERM or SIGHUP asks the child to stop, the second kills it and what it has
    started; Ctrl-Z suspends it. A child that dies of signal N gives 128 + N. One that crashes, and
    was not asked to stop, is started again, RESTARTS times at most: a training goes on from what it
    has saved. Under mpirun, which has processes and signals in its own hands, the work is done
    right here.
    """
    if "OMPI_COMM_WORLD_SIZE" in os.environ:
        return work()
    supervisor = _Supervisor()
    for left in reversed(range(RESTARTS + 1)):
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        reader, writer = os.pipe()
        # A signal waits until it is clear whose it is.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDED)
        child = supervisor.child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            supervisor.leave()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED)
            _die_with(parent)
            try:
                return work()
            finally:  # whichever way Python leaves, and no other
                os.write(writer, b".")
        with contextlib.suppress(OSError):  # the child may have done it, and even have ended
            os.setpgid(child, child)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED)
        os.close(writer)
        code = supervisor.wait()
        os.set_blocking(reader, False)
        crashed = not _read(reader) and code in CRASHES and not supervisor.asked
        os.close(reader)
        if not crashed or not left:
            break
        print(
            f"crashed with exit code {code}, not through this program's own doing; starting again "
            f"from what is saved ({left} of {RESTARTS} times left)",
            file=sys.stderr,
        )
    return code


def _read(reader: int) -> bytes:
    """What the child has left; nothing, too, where one that it started holds the other end."""
    try:
        return os.read(reader, 1)
    except BlockingIOError:
        return b""


class _Supervisor:
    """Hands signals to a child process until it ends."""

    def __init__(self) -> None:
        self.child = 0
        self.asked = False
        self.before = {
            number: signal.signal(number, self._suspend if number == signal.SIGTSTP else self._ask)
            for number in HANDED
        }

    def leave(self) -> None:
        """In the child: signals are what they were."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

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
