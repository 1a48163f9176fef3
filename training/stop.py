"""Signals as requests: the first asks a program to stop in order, a second one kills.

The rules of every program and process here:

- A signal that was ignored at the start stays ignored. nohup, `trap '' HUP` and a script that
  starts a job with & mean it so.
- SIGINT, SIGTERM and SIGHUP ask for the same thing. After SIGINT or SIGTERM, one of them kills.
- SIGHUP never kills: kernel, shell and session manager each send one when a terminal closes.
- To a forked helper a signal means what it says: it ends at once, whatever it waits for.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Those that this process catches now.
_taken: set[signal.Signals] = set()


def _let_go() -> None:
    """In a forked helper, let signals end it: Python's handlers may never run while it waits.

    Jittor's compile helpers get SIGTERM once at the exit, which then waits for them without end.
    """
    for number in _taken:
        signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_let_go)


def is_ignored(number: int) -> bool:
    """Whether a signal does nothing to this process, as its starter wished."""
    return signal.getsignal(number) == signal.SIG_IGN


def exit_code_of(number: int) -> int:
    """The exit code of a program that a signal has stopped: 130, or 143 for SIGTERM and SIGHUP."""
    return 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


class Stopped(Exception):
    """Training was stopped by a signal; what could be saved is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = exit_code_of(number)


class Interrupted(KeyboardInterrupt):
    """A signal has stopped a program that has nothing to finish first."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = exit_code_of(number)


class StopRequest:
    """Whether a signal has asked this process to stop; `number` is the first one's."""

    def __init__(self) -> None:
        self.number: int | None = None

    @property
    def asked(self) -> bool:
        return self.number is not None

    def take(self, number: int, frame: FrameType | None) -> None:
        """The signals' handler."""
        if self.number is None:
            self.number = number
        if number != signal.SIGHUP:
            for killer in (signal.SIGINT, signal.SIGTERM):
                if not is_ignored(killer):
                    signal.signal(killer, signal.SIG_DFL)


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Catch SIGINT, SIGTERM and SIGHUP for the length of a `with` block.

    Python runs handlers between two of its instructions, and a step of Jittor is one instruction:
    a request is seen when the step has ended, and only then does the second signal kill.
    tools.supervise, which is another process, does not wait for that.
    """
    request = StopRequest()
    with _caught(request.take):
        yield request


@contextmanager
def interrupt_on_signal() -> Iterator[None]:
    """Raise Interrupted inside a `with` block at the first of the signals."""
    request = StopRequest()

    def take(number: int, frame: FrameType | None) -> None:
        first = not request.asked
        request.take(number, frame)
        if first:
            raise Interrupted(number)

    with _caught(take):
        yield


@contextmanager
def _caught(take: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS if not is_ignored(number)}
    taken = set(_taken)
    _taken.update(before)
    for number in before:
        signal.signal(number, take)
    try:
        yield
    finally:
        _taken.intersection_update(taken)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
