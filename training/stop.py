"""Ctrl-C as a request: the step under way is finished and saved; a second one kills at once."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """Training was stopped by a signal; what could be saved is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class StopRequest:
    """Whether a signal has asked this process to stop; `number` is the signal's."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.process = os.getpid()

    @property
    def asked(self) -> bool:
        return self.number is not None

    def take(self, number: int, frame: FrameType | None) -> None:
        """The signals' handler."""
        if os.getpid() != self.process:
            # A forked helper inherits this handler; to it the signal means what it says.
            os._exit(128 + number)
        self.number = number
        # Where the C library could not be asked to do it (see _once), the second one must kill.
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM for the length of a `with` block.

    Python runs handlers between two of its instructions, and a step of Jittor is one instruction
    of up to minutes. So the second signal is left to the operating system, which needs no turn.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, request.take)
        _once(number)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _once(number: int) -> None:
    """Have the C library drop this signal's handler when it is first called."""
    with suppress(AttributeError, OSError):  # a C library without System V's signals
        library = ctypes.CDLL(None)
        library.signal.restype = library.sysv_signal.restype = ctypes.c_void_p
        library.sysv_signal.argtypes = library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
        handler = library.signal(int(number), None)
        library.sysv_signal(int(number), handler)
