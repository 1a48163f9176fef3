"""Progress of a program: a bar on a terminal, an occasional line in a log file."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

SECONDS_PER_LINE = 60.0
DELAY = 0.5  # seconds until a bar appears: quick work needs no bar


class ProgressBar:
    """Shows how many `unit`s of `work` are done; call it with (done, total).

    On a terminal the bar appears after half a second. In a log file a bar would leave hundreds of
    lines; there it prints one line per minute. Use it as a context manager.
    """

    def __init__(self, work: str, unit: str) -> None:
        self._work, self._unit = work, unit
        self._bar: tqdm | None = None
        self._printed = time.monotonic()

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
                self._bar = tqdm(total=total, desc=self._work, unit=f" {self._unit}", delay=DELAY)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._printed >= SECONDS_PER_LINE:
            self._printed = time.monotonic()
            print(f"{self._work}: {done} of {total} {self._unit}", file=sys.stderr, flush=True)
