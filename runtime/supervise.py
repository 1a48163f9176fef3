"""Runs the program in a child process: forwards Ctrl-C once and restarts it after a crash.

A terminal sends Ctrl-C to all processes of its foreground group, which would end Jittor's compilers
in the middle of a step. So the work runs in a child process in its own group, and this process
stays in the foreground and forwards the signal to that child alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from runtime.process import prepare_process
from runtime.stop import exit_code_of, is_ignored

PR_SET_PDEATHSIG = 1
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
RESTARTS = 3
# Jittor may corrupt the heap when it compiles an operator, and exits with 1 if it notices. With
# several compile threads the cause is known and fixed (runtime.compilers); one crash with a single
# thread is unexplained (docs/reliability.md). SIGKILL is not a crash, but a lack of memory or a
# deliberate kill.
CRASHES = (1, *(128 + n for n in (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV)))


def supervise(work: Callable[[], int]) -> int:
    """Runs `work` in a child process; returns its exit code, in child and parent alike.

    The first SIGINT, SIGTERM or SIGHUP is forwarded to the child, which stops gracefully. After
    SIGINT or SIGTERM, another one kills the child and its own children. Ctrl-Z suspends them.
    Signals that were ignored at the start stay ignored (see runtime.stop). If signal N ends the
    child, the exit code is 128 + N. A child that crashes, and was not asked to stop, is restarted
    up to RESTARTS times; training resumes from the last checkpoint.

    Under mpirun, which manages processes and signals itself, `work` runs in this process.
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
        # Blocked until each process has its own handlers.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        child = supervisor.child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            supervisor.restore_signals()
            # This group is in the background, where `stty tostop` would suspend its output.
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            _die_with(parent)
            try:
                return work()
            finally:  # Python exits in an orderly way: this is no crash
                os.write(writer, b".")
        with contextlib.suppress(OSError):  # the child may have done it, or may have ended
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
            f"crashed with exit code {code}, in Jittor or a library; starting again from the last "
            f"saved state ({left} of {RESTARTS} restarts left)",
            file=sys.stderr,
        )
    supervisor.ignore_signals()
    if code == 128 + signal.SIGKILL:
        print(
            f"killed (exit code {code}), not by this program, usually because memory ran out; "
            "saved files are kept",
            file=sys.stderr,
        )
    return code


def _read(reader: int) -> bytes:
    """The child's mark; empty, too, if a process that it started still holds the pipe open."""
    try:
        return os.read(reader, 1)
    except BlockingIOError:
        return b""


class _Supervisor:
    """Forwards signals to a child process until it ends; ignored ones stay ignored.

    Attributes:
        asked: whether a signal asked the child to stop.
        killer: the signal that killed it.
    """

    def __init__(self) -> None:
        self.child = 0
        self.asked = False
        self.killer: int | None = None
        self._may_kill = False
        self.before = {
            number: signal.signal(number, self._suspend if number == signal.SIGTSTP else self._ask)
            for number in FORWARDED
            if not is_ignored(number)
        }

    def restore_signals(self) -> None:
        """Restores the handlers of the start, in the child."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def ignore_signals(self) -> None:
        """Ignores signals after the child has ended, so that a late one cannot change the code."""
        for number in self.before:
            signal.signal(number, signal.SIG_IGN)

    def wait(self) -> int:
        """Waits for the child; returns its exit code."""
        _, status = os.waitpid(self.child, 0)
        if self.killer is not None:
            print("killed; saved files are kept", file=sys.stderr)
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
        # `fg` continues this process here.
        os.killpg(self.child, signal.SIGCONT)


def _die_with(parent: int) -> None:
    """Sends this process a stop request when `parent` is killed; Linux only."""
    requests = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    number = next((one for one in requests if not is_ignored(one)), signal.SIGKILL)
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
