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

from tools.process import prepare_process
from training.stop import exit_code_of, is_ignored

PR_SET_PDEATHSIG = 1
HANDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
RESTARTS = 3
# Jittor may corrupt the heap when it compiles an operator, and exits with 1 if it notices. With
# several compile threads the cause is known and fixed (tools.compilers); one crash with a single
# thread is not explained (docs/reliability.md). SIGKILL is no crash: it is a lack of memory, or a
# deliberate kill.
CRASHES = (1, *(128 + n for n in (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV)))


def supervise(work: Callable[[], int]) -> int:
    """Do `work` in a child process and return its exit code, in child and parent alike.

    The first SIGINT, SIGTERM or SIGHUP is handed to the child, which is to stop; after SIGINT or
    SIGTERM, one of them kills it and what it has started; Ctrl-Z suspends it. What was ignored at
    the start stays ignored (training.stop has the rules). A child that dies of signal N gives
    128 + N. One that crashes, and was not asked to stop, is started again, RESTARTS times at most:
    a training goes on from what it has saved. Under mpirun, which has processes and signals in its
    own hands, the work is done right here.
    """
    prepare_process()
    if "OMPI_COMM_WORLD_SIZE" in os.environ:
        return work()
    supervisor = _Supervisor()
    for left in reversed(range(RESTARTS + 1)):
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        reader, writer = os.pipe()
        # A signal waits until it is clear whose it is.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, HANDED)
        child = supervisor.child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            supervisor.leave()
            # In a group of its own it writes from the background: `stty tostop` would hold it up.
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            _die_with(parent)
            try:
                return work()
            finally:  # whichever way Python leaves, and no other
                os.write(writer, b".")
        with contextlib.suppress(OSError):  # the child may have done it, and even have ended
            os.setpgid(child, child)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
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
    supervisor.rest()
    if code == 128 + signal.SIGKILL:
        print(
            f"killed (exit code {code}), not by this program: most often memory has run out; what "
            "was saved before stays",
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
    """Hands signals to a child process until it ends; those that were ignored stay so.

    `asked`: a signal has asked the child to stop; `killer` is the one that has killed it.
    """

    def __init__(self) -> None:
        self.child = 0
        self.asked = False
        self.killer: int | None = None
        self._may_kill = False
        self.before = {
            number: signal.signal(number, self._suspend if number == signal.SIGTSTP else self._ask)
            for number in HANDED
            if not is_ignored(number)
        }

    def leave(self) -> None:
        """In the child: signals are what they were."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def rest(self) -> None:
        """With the child gone there is nothing to stop; a late signal shall not change the code."""
        for number in self.before:
            signal.signal(number, signal.SIG_IGN)

    def wait(self) -> int:
        """The child's exit code."""
        _, status = os.waitpid(self.child, 0)
        if self.killer is not None:
            print("killed; what was saved before stays", file=sys.stderr)
            return exit_code_of(self.killer)
        code = os.waitstatus_to_exitcode(status)
        if -code in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            return exit_code_of(-code)
        return code if code >= 0 else 128 - code

    def _ask(self, number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._may_kill and number != signal.SIGHUP:
                self.killer = number
                os.killpg(self.child, signal.SIGKILL)
            else:
                os.kill(self.child, number)
        self.asked = True
        self._may_kill = self._may_kill or number != signal.SIGHUP

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        os.killpg(self.child, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        # Continued here, by `fg`.
        os.killpg(self.child, signal.SIGCONT)


def _die_with(parent: int) -> None:
    """Have this process asked to stop when `parent` is killed; Linux only."""
    asking = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    number = next((one for one in asking if not is_ignored(one)), signal.SIGKILL)
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
