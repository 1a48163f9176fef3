"""Checkpoints: the state that a training resumes from. Snapshots are in weights.snapshots.

    checkpoints/state-00001200/                state.safetensors, progress.json
    checkpoints/state                          the name of the state to resume from

Every file is written under a temporary name and renamed, and a pointer changes last: the pointers
name a complete state whenever the process dies. Each change is synced to the disk before the next
one, so that also holds after a power cut.

The previous state is kept too: a disk may damage a file long after it was written, and the older
state then saves the run. The user decides to resume from it, never the program: an error of a
network disk may pass, and the newer state is good again.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.files import write_text
from options.errors import UserError
from options.json_text import parse_json
from options.paths import read_bytes
from options.train import RunOptions
from training.plan import Progress
from training.run_folder import check_space
from weights.finite import require_finite
from weights.safetensors_file import (
    Tensor,
    file_checksum,
    read_metadata,
    read_tensors,
    stored_size,
    write_tensors,
)
from weights.snapshots import (
    entries,
    latest_snapshot,
    read_pointer,
    require_pointer,
    save_snapshot,
    sync_folder,
)

if TYPE_CHECKING:  # errors of a run's folder are reported before Jittor is imported
    from training.trainer import Trainer
    from training.training_state import TrainingState

STATE_FORMAT = "jittor-landscape state 1"
KEPT_STATES = 2  # the newest, and one in case its file is damaged
STATE = "state"
TENSORS = "state.safetensors"
PROGRESS = "progress.json"
# The names that training gives: only files with such names are ever removed.
STATE_NAME = re.compile(r"state-(\d{8,})")
UNFINISHED_STATE = re.compile(r"\.state-\d{8,}\.tmp")
UNFINISHED_FILE = re.compile(
    r"\.(latest|state|generator-[\d-]{4,}\.safetensors|state\.safetensors|progress\.json)\.\d+\.tmp"
)


def save_generator(
    folder: Path,
    trainer: Trainer,
    options: RunOptions,
    progress: Progress,
    phase_ends: Collection[int],
) -> Path:
    """Write the snapshot of the last epoch begun; those of `phase_ends` are kept."""
    return save_snapshot(
        folder,
        dict(trainer.snapshot()),
        options,
        epoch=progress.last_epoch,
        step=progress.step,
        phase=progress.phases[-1].name if progress.phases else "",
        kept_epochs=phase_ends,
    )


def save_state(
    folder: Path, trainer: TrainingState, progress: Progress, extra: Mapping[str, Any]
) -> Path:
    """Write the state as a new folder, point `state` to it, and keep the previous one.

    `extra` is JSON that the loop wants to remember. An existing state of this step is kept as it
    is. Raises OSError if the disk refuses; `state` then names the old one.
    """
    path = folder / f"state-{progress.step:08d}"
    if path.is_dir() and read_pointer(folder / STATE) == path.name:
        return path
    temporary = folder / f".{path.name}.tmp"
    _remove_state(temporary)
    temporary.mkdir(exist_ok=True)
    try:
        tensors: dict[str, Tensor] = dict(trainer.variables())
        checksum = write_tensors(temporary / TENSORS, tensors, {"format": STATE_FORMAT})
        content = {
            "format": STATE_FORMAT,
            "bytes": (temporary / TENSORS).stat().st_size,
            "crc32": checksum,
            "progress": progress.to_dict(),
            "counts": trainer.counts(),
            "extra": dict(extra),
        }
        write_text(temporary / PROGRESS, json.dumps(content, indent=2) + "\n")
        sync_folder(temporary)
        _remove_state(path)
        if path.is_dir() and not path.is_symlink():  # the user's notes are in it
            for name in (TENSORS, PROGRESS):
                os.replace(temporary / name, path / name)
            sync_folder(path)
            temporary.rmdir()
        else:
            os.replace(temporary, path)
        sync_folder(folder)
        write_text(folder / STATE, path.name + "\n")
        sync_folder(folder)
    except BaseException:
        _remove_state(temporary)
        raise
    # The state is saved: the next checkpoint removes what cannot be removed now.
    with contextlib.suppress(OSError):
        clean(folder)
    return path


def check_checkpoint_space(folder: Path, trainer: TrainingState) -> None:
    """Check that the disk has space for the next checkpoint; UserError if not."""
    # A new state is written before the oldest of the kept ones is removed; so are two snapshots.
    existing = folder.glob("state-*/state.safetensors")
    states = max(1, KEPT_STATES + 1 - len(list(existing)))
    needed = states * stored_size(trainer.variables()) + 2 * stored_size(trainer.snapshot())
    check_space(folder, needed)


def clean(folder: Path) -> None:
    """Remove unfinished files of an earlier process, and all states but the newest two.

    Only files with names that training gives: a copy called state-00001200-backup stays.
    """
    kept = _kept_states(folder)
    for path in entries(folder):
        if STATE_NAME.fullmatch(path.name):
            if path not in kept and not _is_copy(path):
                _remove_state(path)
        elif UNFINISHED_STATE.fullmatch(path.name):
            _remove_state(path)
        elif UNFINISHED_FILE.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class State:
    """A saved state: its folder, its progress, its counts, and the loop's own notes."""

    path: Path
    progress: Progress
    counts: dict[str, int]
    extra: dict[str, Any]
    checksum: int

    def load_into(self, trainer: TrainingState) -> None:
        """Load the values into the trainer.

        Raises UserError that lists every mismatch, or the ways to resume if values are damaged.
        """
        path = self.path / TENSORS
        try:
            arrays = self.read()
        except (OSError, UserError) as error:
            raise UserError(_describe_damage(self.path.parent, self.path.name, error)) from None
        try:
            trainer.load(arrays, self.counts, str(path))
        except KeyError as error:
            missing = KeyError(f"{PROGRESS} lacks the count {error}")
            raise UserError(_describe_damage(self.path.parent, self.path.name, missing)) from None

    def read(self) -> dict[str, np.ndarray]:
        """The values; UserError or OSError if they are damaged or not finite."""
        path = self.path / TENSORS
        if file_checksum(path) != self.checksum:
            raise UserError(f"{path}: its checksum does not match")
        arrays = read_tensors(path)[0]
        require_finite(arrays, path)
        return arrays


def find_state(folder: Path) -> State | None:
    """The state to resume from, None if training has not saved one yet.

    Raises UserError with the ways to resume if the pointer is damaged, or names a state that is
    missing or incomplete.
    """
    name = require_pointer(folder / STATE)
    if name is None:
        # The process died before it wrote the pointer: a folder of that name is complete.
        states = _states(folder)
        if not states:
            return None
        name = states[-1].name
    try:
        if not STATE_NAME.fullmatch(name):
            raise ValueError("no name of a state")
        return _read_state(folder / name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(_describe_damage(folder, name, error)) from None


def _read_state(path: Path) -> State:
    """Read a state without its values; raises one of many exceptions if it is damaged."""
    content = parse_json(read_bytes(path / PROGRESS))
    if content["format"] != STATE_FORMAT:
        raise ValueError(f"format {content['format']!r}")
    progress = Progress.from_dict(content["progress"])
    size = (path / TENSORS).stat().st_size
    if size != content["bytes"]:
        raise ValueError(f"{TENSORS} has {size} of {content['bytes']} bytes")
    read_metadata(path / TENSORS)
    counts, extra = dict(content["counts"]), dict(content["extra"])
    for name, count in counts.items():
        if type(count) not in (int, float) or not 0 <= count < math.inf:
            raise ValueError(f"the count {name} is {count!r:.40}")
    return State(path, progress, counts, extra, int(content["crc32"]))


def _describe_damage(folder: Path, name: str, error: Exception) -> str:
    """Describe a damaged state, and list the ways to resume."""
    pointer = folder / STATE
    ways = []
    for other in reversed(_states(folder)):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            if other.name != name:
                state = _read_state(other)
                state.read()
                ways.append(
                    f"to resume from step {state.progress.step}, run: echo {other.name} > "
                    f"{shlex.quote(str(pointer))}"
                )
                break
    with contextlib.suppress(OSError, UserError):
        snapshot = latest_snapshot(folder)
        step = read_metadata(snapshot).get("step")
        ways.append(
            f"{snapshot.name}, of step {step}, still generates images: see --checkpoint of test.sh"
        )
    fault = error.strerror if isinstance(error, OSError) else f"{error}"
    shown = name if STATE_NAME.fullmatch(name) else repr(name[:40])
    return (
        f"{pointer} names {shown}, which cannot be read ({fault}). Restore it, or "
        f"{'; or '.join([*ways, 'start a new run with another --name'])}"
    )


def _states(folder: Path) -> list[Path]:
    """The folders of states, the newest last."""
    found = [path for path in folder.glob("state-*") if STATE_NAME.fullmatch(path.name)]
    return sorted(found, key=_step_of)


def _kept_states(folder: Path) -> list[Path]:
    """The state to resume from and the previous one; all states if the pointer names none."""
    states = _states(folder)
    name = read_pointer(folder / STATE)
    if name is None:
        return states[-KEPT_STATES:]
    current = folder / name
    if current not in states:
        return states
    end = states.index(current) + 1
    return states[max(0, end - KEPT_STATES) : end]


def _step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _is_copy(path: Path) -> bool:
    """Whether a state's folder holds the state of another step: the user has copied it there."""
    try:
        content = parse_json(read_bytes(path / PROGRESS))
        return f"state-{content['progress']['step']:08d}" != path.name
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _remove_state(path: Path) -> None:
    """Remove the folder of a state, complete or not; files of the user in it stay."""
    if path.is_symlink():
        return
    for entry in entries(path):
        if entry.name in (TENSORS, PROGRESS) or UNFINISHED_FILE.fullmatch(entry.name):
            with contextlib.suppress(OSError):
                entry.unlink()
    with contextlib.suppress(OSError):
        path.rmdir()
