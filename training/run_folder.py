"""The folder of a run, results/<run>/: its files, its lock and its record of options.

options.json      the options of the last start       command.txt       every start
environment.json  versions and machine                log.txt           the printed lines
stats.jsonl       one JSON object per logged step     events.*          TensorBoard
check.txt         the report on the dataset           samples/          sample sheets
checkpoints/      see training.checkpoint             submission/       see inference.submission
selections/       see data.selections           evaluation/       see tools.evaluate
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from data.files import write_bytes, write_text
from data.ownership import check_claim, claim_folder
from options.errors import UserError
from options.fields import show
from options.json_text import parse_json
from options.paths import open_file, open_to_append, read_bytes, read_file
from options.train import RUN_FIELDS, RUN_GROUPS, RunOptions
from runtime.locks import is_held, warn_of_no_locks
from weights.snapshots import SEGMENTER

KIND = "run"  # the folder's kind in its marker
FIX = "give another --name, or another --results-path"
PACKAGES = ("jittor", "numpy", "pillow", "opencv-python-headless", "opencv-python", "scikit-image")


class RunFolder:
    """The paths of one run. No file is written before `open`."""

    def __init__(self, results_path: str | Path, name: str) -> None:
        self.name = name
        self.path = Path(results_path).expanduser() / name
        self._lock: BinaryIO | None = None

    @property
    def options_path(self) -> Path:
        return self.path / "options.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def segmenter_path(self) -> Path:
        return self.path / SEGMENTER

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def selections(self) -> Path:
        """The selections, if the folder of the dataset is read-only."""
        return self.path / "selections"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation"

    @property
    def log_path(self) -> Path:
        return self.path / "log.txt"

    @property
    def stats_path(self) -> Path:
        return self.path / "stats.jsonl"

    @property
    def report_path(self) -> Path:
        return self.path / "check.txt"

    @property
    def check_cache_path(self) -> Path:
        return self.path / "check_cache.json"

    def check(self) -> None:
        """Raise UserError if the folder exists and is no run. Writes no file.

        The selections may exist before the run, and a copy may have lost the hidden marker.
        """
        if not self._has_options():
            check_claim(self.path, KIND, FIX, allowed=["selections"])

    def open(self) -> None:
        """Create the folder and lock it until this process ends.

        Raises UserError like `check`, and if the folder cannot be written, or another process
        trains in it.
        """
        self.check()
        try:
            claim_folder(self.path, KIND)
            for folder in (self.path, self.checkpoints, self.samples):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.fdopen(open_to_append(self.path / ".lock"), "ab")
        except OSError as error:
            raise UserError(
                f"{self.path}: the run's folder cannot be written ({error.strerror}). Name another "
                "one with --results-path"
            ) from None
        try:
            # Not flock: Jittor's compile processes would inherit that lock and outlive a kill.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not is_held(error):
                warn_of_no_locks(self.path, error, "start no second training of this run")
                return
            self._lock.close()
            raise UserError(
                f"{self.path}: another process trains this run. Wait for it, stop it, or give "
                "another --name"
            ) from None

    def _has_options(self) -> bool:
        try:
            found = parse_json(read_bytes(self.options_path))
        except (OSError, ValueError):
            return False
        return isinstance(found, dict) and found.keys() == RUN_GROUPS.keys()

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def saved_options(self) -> RunOptions | None:
        """The options of the last start, None before the first."""
        if not self.options_path.is_file():
            return None
        text = read_file(self.options_path, "the options of the run").decode("utf-8", "replace")
        return RunOptions.from_json(text, str(self.options_path))

    def record_start(self, options: RunOptions, argv: Sequence[str], environment: Any) -> None:
        """Record options, command and machine of a start."""
        write_text(self.options_path, options.to_json())
        write_text(self.path / "environment.json", json.dumps(environment, indent=2) + "\n")
        with os.fdopen(open_to_append(self.path / "command.txt"), "a", encoding="utf-8") as file:
            now = datetime.now().astimezone().isoformat(timespec="seconds")
            file.write(f"{now}  {shlex.join(argv)}\n")


def compare_options(saved: RunOptions, now: RunOptions) -> list[str]:
    """The logged changes since the run's last start, as `name: old -> new`.

    Raises UserError that lists every change with which the run cannot resume.
    """
    refused: list[str] = []
    logged: list[str] = []
    before = saved.to_dict()
    for group, values in now.to_dict().items():
        for name, value in values.items():
            resume = RUN_FIELDS[name].resume
            if resume == "free" or before[group][name] == value:
                continue
            change = f"{name}: {show(before[group][name])} -> {show(value)}"
            (logged if resume == "logged" else refused).append(change)
    if refused:
        raise UserError(
            f"run {now.training.name}: expected the networks, data, optimizers and seed that it "
            f"began with, got {'; '.join(refused)}. Give the run's own values, or another --name"
        )
    return logged


def check_space(folder: Path, needed: int) -> None:
    """Check that the disk of `folder` has `needed` bytes free; UserError if not."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: expected {_size(needed)} of free disk space for checkpoints, got "
            f"{_size(free)}. Free some, or name another folder with --results-path"
        )


def describe_environment(device: str, processes: int) -> dict[str, Any]:
    """Versions and machine, for environment.json."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "packages": versions,
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "device": device,
        "processes": processes,
        "executable": sys.executable,
    }


def cut_stats(path: Path, step: int) -> None:
    """Remove the lines of stats.jsonl after `step`, and an incomplete last one."""
    if not path.is_file():
        return
    kept = []
    with open_file(path) as file:
        for line in file:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                if line.endswith(b"\n") and parse_json(line)["step"] <= step:
                    kept.append(line)
    write_bytes(path, b"".join(kept))


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
