"""Graceful shutdown: the first signal requests a stop, the second one kills.

The rules of every program and process of this project:

- A signal that was ignored at the start stays ignored: nohup, `trap '' HUP` and a script that
  starts a job with & rely on it.
- SIGINT, SIGTERM and SIGHUP request the same stop. After SIGINT or SIGTERM, another one kills.
- SIGHUP never kills: kernel, shell and session manager each send one when a terminal closes.
- A forked helper ends at once at a signal, whatever it waits for.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The signals that this process catches now.
_caught_signals: set[signal.Signals] = set()


def _restore_defaults() -> None:
    """Lets signals end a forked helper: Python's handlers may never run while it waits.

    Jittor sends its compile helpers SIGTERM once at its exit, and then waits for them forever.
    """
    for number in _caught_signals:
        signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_restore_defaults)


def is_ignored(number: int) -> bool:
    """Whether this process ignores a signal, as requested by the program that started it."""
    return signal.getsignal(number) == signal.SIG_IGN


def exit_code_of(number: int) -> int:
    """The exit code of a program stopped by a signal: 130, or 143 for SIGTERM and SIGHUP."""
    return 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


class Stopped(Exception):
    """A signal stopped the training, after its state was saved if possible."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = exit_code_of(number)


class Interrupted(KeyboardInterrupt):
    """A signal stopped a program that has no work to finish first."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = exit_code_of(number)


class StopRequest:
    """Whether a signal requested a stop; `number` is that of the first one."""

    def __init__(self) -> None:
        self.number: int | None = None

    @property
    def asked(self) -> bool:
        return self.number is not None

    def take(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        if self.number is None:
            self.number = number
        if number != signal.SIGHUP:
            for killer in (signal.SIGINT, signal.SIGTERM):
                if not is_ignored(killer):
                    signal.signal(killer, signal.SIG_DFL)


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Catches SIGINT, SIGTERM and SIGHUP inside a `with` block.

    Python runs handlers between two of its instructions, and a training step in Jittor is one
    instruction: the request is seen after the step, and only then can the second signal kill.
    runtime.supervise, in another process, does not have to wait.
    """
    request = StopRequest()
    with _handled_by(request.take):
        yield request


@contextmanager
def interrupt_on_signal() -> Iterator[None]:
    """Raises Interrupted inside a `with` block at the first of these signals."""
    request = StopRequest()

    def take(number: int, frame: FrameType | None) -> None:
        first = not request.asked
        request.take(number, frame)
        if first:
            raise Interrupted(number)

    with _handled_by(take):
        yield


@contextmanager
def _handled_by(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS if not is_ignored(number)}
    outer = set(_caught_signals)
    _caught_signals.update(before)
    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        _caught_signals.intersection_update(outer)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
