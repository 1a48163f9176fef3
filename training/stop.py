"""Ctrl-C as a request: the step under way is finished and saved; a second one kills at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM for the length of a `with` block.

    Python runs handlers between two of its instructions, and a step of Jittor is one instruction:
    a request is seen when the step has ended, and only then does the second signal kill.
    tools.supervise, which is another process, does not wait for that.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, request.take)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
