"""How far a program is: a bar on a terminal, in a log file a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

SECONDS_PER_LINE = 60.0
DELAY = 0.5  # seconds until a bar appears: quick work needs none


class ProgressBar:
    """Shows `what` of how many `unit`s is done; a context manager, called with (done, total).

    On a terminal it appears after half a second. In a log file a bar would leave hundreds of
    lines: there it says how far it is once a minute.
    """

    def __init__(self, what: str, unit: str) -> None:
        self._what, self._unit = what, unit
        self._bar: tqdm | None = None
        self._said = time.monotonic()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=total, desc=self._what, unit=f" {self._unit}", delay=DELAY)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._said >= SECONDS_PER_LINE:
            self._said = time.monotonic()
            print(f"{self._what}: {done} of {total} {self._unit}", file=sys.stderr, flush=True)
