"""The folder of a run, results/<run>/: what is in it, who may write to it, and what it remembers.

options.json      the options of the last start       command.txt       every start
environment.json  versions and machine                log.txt           what was printed
stats.jsonl       one JSON object a logged step       events.*          TensorBoard's
check.txt         the report on the pairs             samples/          sheets of pictures
checkpoints/      see training.checkpoint             submission/       see tools.submission
selections/       see data.selections
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
from data.locks import is_held, warn_of_no_locks
from data.ownership import check_claim, claim_folder
from options.errors import UserError
from options.json_text import parse_json
from options.paths import open_file, open_to_append, read_bytes, read_file
from options.run import RUN_GROUPS, RunOptions

# May differ from one start of a run to the next without a word.
FREE = {
    "bad_pair_limit",
    "list_miss_limit",
    "workers",
    "vgg_weights",
    "vgg_required",
    "name",
    "schedule",
    "phase",
    "device",
    "log_every",
    "sample_every",
    "checkpoint_minutes",
    "results_path",
    "dry_run",
}
# May differ, and is said: networks and data stay the same, what is learnt from them changes.
SAID = {
    "input_path",
    "gan_loss",
    "lambda_gan",
    "lambda_l1",
    "lambda_feature",
    "lambda_vgg",
    "vgg_distance",
    "lambda_kl",
    "beta2",
    "ttur",
    "precision",
}
KIND = "run"  # as the folder's marker calls it
FIX = "give another --name, or another --results-path"
PACKAGES = ("jittor", "numpy", "pillow", "opencv-python-headless", "opencv-python", "scikit-image")


class RunFolder:
    """The paths of one run. Nothing is written before `open`."""

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
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def selections(self) -> Path:
        """Only there where the dataset's own folder cannot be written."""
        return self.path / "selections"

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
        """Raise UserError if there is a folder of that name which is no run. Nothing is written.

        The selections may have come first, and a copy may have lost the hidden marker.
        """
        if not self._has_options():
            check_claim(self.path, KIND, FIX, besides=["selections"])

    def open(self) -> None:
        """Make the folder and take its lock, which ends with this process.

        Raises UserError as `check` does, and if the folder cannot be written, or another process
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
                f"the run's folder must be writable: {self.path}: {error.strerror}; see "
                "--results-path"
            ) from None
        try:
            # Not flock: Jittor's compiling helpers, which outlive a kill, would inherit that.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not is_held(error):
                warn_of_no_locks(self.path, error, "start no second training of this run")
                return
            self._lock.close()
            raise UserError(
                f"one process trains a run: another one is training {self.path}; wait for it, "
                "stop it, or give another --name"
            ) from None

    def _has_options(self) -> bool:
        try:
            found = parse_json(read_bytes(self.options_path))
        except (OSError, ValueError):
            return False
        return isinstance(found, dict) and found.keys() == RUN_GROUPS.keys()

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def saved_options(self) -> RunOptions | None:
        """The options of the last start, None where there was none."""
        if not self.options_path.is_file():
            return None
        text = read_file(self.options_path, "the options of the run").decode("utf-8", "replace")
        return RunOptions.from_json(text, str(self.options_path))

    def record_start(self, options: RunOptions, argv: Sequence[str], environment: Any) -> None:
        """Write down what is started, and on what."""
        write_text(self.options_path, options.to_json())
        write_text(self.path / "environment.json", json.dumps(environment, indent=2) + "\n")
        with os.fdopen(open_to_append(self.path / "command.txt"), "a", encoding="utf-8") as file:
            now = datetime.now().astimezone().isoformat(timespec="seconds")
            file.write(f"{now}  {shlex.join(argv)}\n")


def compare_options(saved: RunOptions, now: RunOptions) -> list[str]:
    """What has changed since the run's last start and is worth saying, as `name: old -> new`.

    Raises UserError that lists every change that a run cannot take: of networks, data, optimizers.
    """
    refused: list[str] = []
    said: list[str] = []
    before = saved.to_dict()
    for group, values in now.to_dict().items():
        for name, value in values.items():
            if name in FREE or before[group][name] == value:
                continue
            change = f"{name}: {_show(before[group][name])} -> {_show(value)}"
            (said if name in SAID else refused).append(change)
    if refused:
        raise UserError(
            f"a run keeps its networks, data, optimizers and seed: {now.training.name} would "
            f"change {'; '.join(refused)}; give the run's own values, or another --name"
        )
    return said


def check_space(folder: Path, needed: int) -> None:
    """Check that `needed` bytes are free where `folder` is; UserError says how many are."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"checkpoints need {_size(needed)} on the disk of {folder}: {_size(free)} are free; "
            "free some, or write elsewhere with --results-path"
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
    """Drop the lines of stats.jsonl that come after `step`, and a torn last one."""
    if not path.is_file():
        return
    kept = []
    with open_file(path) as file:
        for line in file:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                if line.endswith(b"\n") and parse_json(line)["step"] <= step:
                    kept.append(line)
    write_bytes(path, b"".join(kept))


def newest_run(results_path: str | Path) -> str:
    """The name of the run whose generator was written last; UserError where there is none."""
    root = Path(results_path).expanduser()
    pointers = sorted(root.glob("*/checkpoints/latest"), key=lambda path: path.stat().st_mtime)
    if not pointers:
        raise UserError(
            f"no run in {root} has a generator yet; train one (bash train.sh), or see "
            "--results-path and --checkpoint"
        )
    return pointers[-1].parent.parent.name


def _show(value: Any) -> str:
    return (
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


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
