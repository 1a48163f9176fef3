"""Run logging: console, log.txt, stats.jsonl, TensorBoard.

Logging never ends a run. If the disk is full or the terminal is closed, one line on stderr says so,
and writing resumes when it is possible again.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from training.plan import Progress
from training.run_folder import RunFolder, cut_stats

FLUSH_SECONDS = 30.0  # between two flushes of TensorBoard events
RETRY_SECONDS = 60.0  # before a new file of events after a failure


class Log:
    """Writes the log of a run; a `silent` one (every process but the first) does not."""

    def __init__(self, folder: RunFolder | None, *, silent: bool = False) -> None:
        self.folder = folder
        self.silent = silent
        self._bar: tqdm[Any] | None = None
        self._events: _Events | None = None
        self._files: dict[Path, _Lines] = {}
        self._print_failure = _WriteFailure("the terminal or its file")

    def info(self, text: str) -> None:
        """Print lines above the progress bar, and append them to log.txt."""
        if self.silent:
            return
        self._print(text)
        if self.folder is not None and os.path.isdir(self.folder.path):
            now = datetime.now().isoformat(" ", "seconds")
            lines = "".join(f"{now}  {line}\n" for line in text.splitlines())
            self._append(self.folder.log_path, lines)

    def start(self, step: int, images: int, last_images: int) -> None:
        """Start after `step` steps: remove later stats, and show a bar of images.

        The bar counts images, as the remaining time does: the batch size differs between phases.
        """
        if self.silent or self.folder is None:
            return
        try:
            cut_stats(self.folder.stats_path, step)
        except OSError as error:
            _complain(f"{self.folder.stats_path}: {_reason(error)}; later steps stay in it")
        try:
            self._events = _Events(self.folder.path, step)
        except ImportError:
            self.info(
                "no TensorBoard events: tensorboardX is not installed; stats.jsonl has the same "
                "numbers"
            )
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=last_images,
                initial=images,
                unit=" images",
                dynamic_ncols=True,
                smoothing=0.1,
            )

    def tick(self, place: str, images: int, losses: Mapping[str, float]) -> None:
        """Advance the progress bar by one step of `images`; `place` is the phase and epoch."""
        if self._bar is None:
            return
        try:
            self._bar.set_description_str(place, refresh=False)
            self._bar.set_postfix_str(describe_losses(losses), refresh=False)
            self._bar.update(images)
        except (OSError, ValueError):  # the terminal is closed; a file may still get the lines
            self._bar = None

    def stats(self, place: str, record: Mapping[str, Any], seconds_left: float) -> None:
        """Write a step's record to stats.jsonl and TensorBoard, and print it if there is no bar."""
        if self.silent or self.folder is None:
            return
        line = json.dumps(record, allow_nan=False, separators=(",", ":"))
        self._append(self.folder.stats_path, line + "\n")
        if self._events is not None:
            values = {f"loss/{name}": value for name, value in record["losses"].items()}
            for name in ("learning_rate", "images_per_second", "memory_mb"):
                values[f"run/{name}"] = record[name]
            self._events.add(values, record["step"])
        if self._bar is None:
            self._print(
                f"{place}  step {record['step']}  {describe_losses(record['losses'])}  "
                f"{record['images_per_second']:.2f} images/s  {describe_time(seconds_left)} left"
            )

    def measures(self, progress: Progress, values: Mapping[str, float]) -> None:
        """Write measures of a step, by name, to stats.jsonl and TensorBoard."""
        if self.silent or self.folder is None:
            return
        record = {"epoch": progress.last_epoch, "step": progress.step, "measures": dict(values)}
        line = json.dumps(record, allow_nan=False, separators=(",", ":"))
        self._append(self.folder.stats_path, line + "\n")
        if self._events is not None:
            named = {f"measure/{name}": value for name, value in values.items()}
            self._events.add(named, progress.step)

    def close(self) -> None:
        """Close the bar and the files."""
        if self._bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self._bar.close()
            self._bar = None
        if self._events is not None:
            self._events.close()
            self._events = None
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _print(self, text: str) -> None:
        try:
            _write_above_bar(text, sys.stdout)
        except (OSError, ValueError) as error:
            self._print_failure.report(error)
        else:
            self._print_failure.clear()

    def _append(self, path: Path, text: str) -> None:
        self._files.setdefault(path, _Lines(path)).append(text)


class _WriteFailure:
    """A failure to write, reported once on stderr until it ends."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.reported = False

    def report(self, error: Exception) -> None:
        if not self.reported:
            self.reported = True
            _complain(
                f"{self.what}: cannot be written ({_reason(error)}). Training continues; lines are "
                "missing until it can"
            )

    def clear(self) -> None:
        self.reported = False


class _Lines:
    """A file that complete lines are appended to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None
        self._failure = _WriteFailure(str(path))

    def append(self, text: str) -> None:
        try:
            if self._handle is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                # O_NONBLOCK: a pipe without a reader fails instead of blocking
                self._handle = os.open(self.path, flags | os.O_NONBLOCK, 0o666)
            _append_all(self._handle, text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            self.close()  # the next line opens the file again, which may be another one
            self._failure.report(error)
        else:
            self._failure.clear()

    def close(self) -> None:
        if self._handle is not None:
            with contextlib.suppress(OSError):
                os.close(self._handle)
            self._handle = None


def _append_all(handle: int, content: bytes) -> None:
    """Append to a file; on failure restore its size and raise OSError."""
    size = os.fstat(handle).st_size
    left = memoryview(content)
    try:
        while left:
            left = left[os.write(handle, left) :]
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(handle, size)
        raise


class _Events:
    """TensorBoard events. Later steps of an earlier start are hidden.

    They are written synchronously: SummaryWriter has a thread for it, which ends with a traceback
    if the disk is full, and the next step would wait for that thread forever.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter  # takes half a second
        from tensorboardX.proto import event_pb2, summary_pb2

        self._create, self._protocol, self._summary = EventsWriter, event_pb2, summary_pb2
        self._folder = folder
        self._from_step: int | None = step + 1
        self._begun = 0
        self._writer: Any = None
        self._flushed_at = self._failed_at = -float("inf")
        self._failure = _WriteFailure(f"TensorBoard's events in {folder}")

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Write values by name."""
        now = time.monotonic()
        if self._writer is None and now - self._failed_at < RETRY_SECONDS:
            return
        try:
            if self._writer is None:
                self._begin()
            value = self._summary.Summary.Value
            numbers = [value(tag=name, simple_value=number) for name, number in values.items()]
            summary = self._summary.Summary(value=numbers)
            self._write(self._protocol.Event(step=step, summary=summary))
            if now - self._flushed_at >= FLUSH_SECONDS:
                self._writer.flush()
                self._flushed_at = now
        except OSError as error:
            self._failed_at = now
            self._abandon()
            self._failure.report(error)
        else:
            self._failure.clear()

    def close(self) -> None:
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as error:
                self._failure.report(error)
            self._writer = None

    def _begin(self) -> None:
        self._begun += 1
        self._writer = self._create(str(self._folder / "events"), self._suffix)
        if self._from_step is not None:
            start = self._protocol.SessionLog(status=self._protocol.SessionLog.START)
            self._write(self._protocol.Event(step=self._from_step, session_log=start))
        self._writer.flush()
        self._from_step = None

    @property
    def _suffix(self) -> str:
        # Two files created within a second need different names.
        return f".{os.getpid()}.{self._begun}"

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)

    def _abandon(self) -> None:
        """Give up a file that may be incomplete, and remove an empty one."""
        self._writer = None
        for path in self._folder.glob(f"events.out.tfevents.*{self._suffix}"):
            with contextlib.suppress(OSError):
                if not path.stat().st_size:
                    path.unlink()


def _write_above_bar(text: str, file: TextIO) -> None:
    # File names may hold characters that the terminal's encoding lacks.
    encoding = file.encoding or "utf-8"
    tqdm.write(text.encode(encoding, "backslashreplace").decode(encoding), file=file)
    file.flush()


def _complain(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        _write_above_bar(text, sys.stderr)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


class Speed:
    """Images per second over the last fifty steps of this start."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=50)
        self._compiling = True

    def add(self, images: int) -> None:
        """Count the images of a finished step."""
        self._marks.append((time.monotonic(), self._marks[-1][1] + images))
        if self._compiling and len(self._marks) == 3:
            # The first step compiles the operators and is not counted.
            self._marks.popleft()
            self._compiling = False

    @property
    def images_per_second(self) -> float:
        """0 before the first step ends."""
        (begin, before), (end, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - begin) if end > begin else 0.0


def memory_mb() -> int:
    """Peak memory of this process, in MB (2^20 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def describe_losses(losses: Mapping[str, float]) -> str:
    """Losses in one short line."""
    return "  ".join(f"{name} {value:.3f}" for name, value in losses.items())


def describe_time(seconds: float) -> str:
    """Seconds as 45 s, 12 min, 3 h 20 min or 2 d 7 h."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
