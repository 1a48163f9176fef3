"""What a run says: lines and a bar for people, stats.jsonl for programs, TensorBoard events."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from training.run_folder import RunFolder, cut_stats


class Log:
    """Writes a run's log; one that is `silent` (every process but the first) writes nothing."""

    def __init__(self, folder: RunFolder | None, *, silent: bool = False) -> None:
        self.folder = folder
        self.silent = silent
        self._bar: tqdm[Any] | None = None
        self._events: Any = None
        self._files: dict[Path, TextIO] = {}

    def say(self, text: str) -> None:
        """Print lines, above the progress bar where there is one, and add them to log.txt."""
        if self.silent:
            return
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()
        if self.folder is not None and self.folder.path.is_dir():
            now = datetime.now().isoformat(" ", "seconds")
            lines = "".join(f"{now}  {line}\n" for line in text.splitlines())
            self._append(self.folder.log_path, lines)

    def start(self, step: int, images: int, last_images: int) -> None:
        """Begin after `step` steps, `images` of `last_images`: later stats go, the bar appears.

        The bar counts images, as the time that is left does: phases differ in their batches.
        """
        if self.silent or self.folder is None:
            return
        cut_stats(self.folder.stats_path, step)
        self._events = _open_events(self.folder.path, step, self)
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=last_images,
                initial=images,
                unit=" images",
                dynamic_ncols=True,
                smoothing=0.1,
            )

    def tick(self, place: str, images: int, losses: Mapping[str, float]) -> None:
        """Count one step of `images` on the progress bar; `place` is where training stands."""
        if self._bar is not None:
            self._bar.set_description_str(place, refresh=False)
            self._bar.set_postfix_str(describe_losses(losses), refresh=False)
            self._bar.update(images)

    def stats(self, place: str, record: Mapping[str, Any], seconds_left: float) -> None:
        """Write a step's record to stats.jsonl and TensorBoard; without a bar, a line."""
        if self.silent or self.folder is None:
            return
        line = json.dumps(record, allow_nan=False, separators=(",", ":"))
        self._append(self.folder.stats_path, line + "\n")
        if self._events is not None:
            step = record["step"]
            for name, value in record["losses"].items():
                self._events.add_scalar(f"loss/{name}", value, step)
            for name in ("learning_rate", "images_per_second", "memory_mb"):
                self._events.add_scalar(f"run/{name}", record[name], step)
        if self._bar is None:
            print(
                f"{place}  step {record['step']}  {describe_losses(record['losses'])}  "
                f"{record['images_per_second']:.2f} images/s  {describe_time(seconds_left)} left",
                flush=True,
            )

    def close(self) -> None:
        """End the bar and close the files."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._events is not None:
            self._events.close()
            self._events = None
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _append(self, path: Path, text: str) -> None:
        if path not in self._files:
            self._files[path] = open(path, "a", encoding="utf-8")  # noqa: SIM115 until close
        self._files[path].write(text)
        self._files[path].flush()


class Speed:
    """Images a second over the last fifty steps of this start."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=50)
        self._compiling = True

    def add(self, images: int) -> None:
        """Count the images of a step that has just ended."""
        self._marks.append((time.monotonic(), self._marks[-1][1] + images))
        if self._compiling and len(self._marks) == 3:
            # The first step compiles the operators; the second shows how fast they are.
            self._marks.popleft()
            self._compiling = False

    @property
    def images_per_second(self) -> float:
        """0 before the first step has ended."""
        (begin, before), (end, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - begin) if end > begin else 0.0


def memory_mb() -> int:
    """The most memory that this process has held so far, in MB (2^20 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def describe_losses(losses: Mapping[str, float]) -> str:
    """The losses in one short line."""
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


def _open_events(folder: Path, step: int, log: Log) -> Any:
    try:
        from tensorboardX import SummaryWriter  # takes half a second
    except ImportError:
        log.say(
            "TensorBoard events: tensorboardX is not installed; stats.jsonl has the same numbers"
        )
        return None
    # purge_step hides what an earlier start wrote beyond the step that it is resumed from.
    return SummaryWriter(str(folder), purge_step=step + 1, flush_secs=30)
