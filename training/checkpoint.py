"""Checkpoints: the light snapshot that draws, and the heavy state that training goes on from.

    checkpoints/generator-0012.safetensors     raw and averaged weights, the options inside
    checkpoints/latest                         the name of the newest snapshot
    checkpoints/state-00001200/                state.safetensors, progress.json
    checkpoints/state                          the name of the state to go on from

Everything is written beside its place and then renamed, and a pointer is changed last: whenever the
process dies, the pointers name something whole. Each step is on the disk before the next begins, so
that a power cut is no worse.

The state before the newest is kept too: a disk may damage a file long after it was written well,
and then the older state saves the run for the price of its own size. A person decides to resume
from it, never the program: the fault of a network disk may pass, and the newer state is good again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.files import write_text
from options.errors import UserError
from options.json_text import parse_json
from options.paths import read_bytes
from options.run import RunOptions
from training.file_kind import weights_kind
from training.finite import require_finite
from training.phases import Progress
from training.tensor_file import (
    Tensor,
    file_checksum,
    read_metadata,
    read_tensors,
    write_tensors,
)
from training.variables import assign_arrays, name_variables

if TYPE_CHECKING:  # what is wrong with a run's folder is said before Jittor is imported
    from training.learner import Learner

SNAPSHOT_FORMAT = "jittor-landscape generator 1"
STATE_FORMAT = "jittor-landscape state 1"
PICKLES = (".pth", ".pt", ".ckpt", ".pkl", ".pickle")
KEPT_SNAPSHOTS = 2  # the newest; those at the end of a phase are kept besides
KEPT_STATES = 2  # the newest, and one for the day that its file is damaged
LATEST = "latest"
STATE = "state"
TENSORS = "state.safetensors"
PROGRESS = "progress.json"
# The names of our making, the only ones under which anything is ever removed.
SNAPSHOT_NAME = re.compile(r"generator-(\d{4,})(?:-\d{8,})?\.safetensors")
STATE_NAME = re.compile(r"state-(\d{8,})")
UNFINISHED_STATE = re.compile(r"\.state-\d{8,}\.tmp")
UNFINISHED_FILE = re.compile(
    r"\.(latest|state|generator-[\d-]{4,}\.safetensors|state\.safetensors|progress\.json)\.\d+\.tmp"
)


@dataclass(frozen=True)
class Snapshot:
    """A generator's weights as read from a file; `step` and `epoch` say when it was written."""

    path: Path
    options: RunOptions
    epoch: int
    step: int
    arrays: dict[str, np.ndarray]

    @property
    def averaged(self) -> bool:
        """Whether the file holds an average beside the raw weights."""
        return any(name.startswith("ema.") for name in self.arrays)

    @property
    def has_encoder(self) -> bool:
        """Whether the file holds a style encoder; a converted generator may lack its own."""
        return any(name.startswith("raw.encoder.") for name in self.arrays)

    @property
    def takes_photograph(self) -> bool:
        """Whether the generator's style may come from a photograph."""
        generator = self.options.generator
        return self.has_encoder or (generator.generator == "tsit" and generator.style_stream)

    def weights(self, kind: str) -> dict[str, np.ndarray]:
        """The arrays by the networks' own names: the raw ones, overlaid by the average for 'ema'.

        Where no average was kept, 'ema' gives the raw weights.
        """
        chosen = {n.removeprefix("raw."): a for n, a in self.arrays.items() if n[:4] == "raw."}
        if kind == "ema":
            chosen |= {n.removeprefix("ema."): a for n, a in self.arrays.items() if n[:4] == "ema."}
        return chosen


def save_snapshot(
    folder: Path,
    learner: Learner,
    options: RunOptions,
    progress: Progress,
    phase_ends: Sequence[int],
) -> Path:
    """Write the generator's snapshot, point `latest` to it, and drop older ones.

    Kept are the newest two and those of the epochs in `phase_ends`. Where it is written in the
    middle of an epoch, it has that epoch's number, and the next one of that epoch replaces it.
    """
    epoch = progress.epoch if progress.step_in_epoch else progress.epoch - 1
    path = folder / f"generator-{epoch:04d}.safetensors"
    if os.path.lexists(path) and (path, epoch) not in _own_snapshots(folder):
        path = path.with_stem(f"{path.stem}-{progress.step:08d}")  # a person's has that name
    metadata = {
        "format": SNAPSHOT_FORMAT,
        "options": options.to_json(),
        "epoch": str(epoch),
        "step": str(progress.step),
        "phase": progress.phases[-1].name if progress.phases else "",
        "classes": str(options.data.layout_classes),
    }
    write_tensors(path, learner.snapshot(), metadata)
    _sync_folder(folder)
    write_text(folder / LATEST, path.name + "\n")
    _sync_folder(folder)
    for old, epoch in _own_snapshots(folder)[:-KEPT_SNAPSHOTS]:
        if epoch not in phase_ends and old != path:
            old.unlink()
    return path


def latest_snapshot(folder: Path) -> Path:
    """The newest snapshot of a run; UserError if there is none, or the pointer is damaged."""
    pointer = folder / LATEST
    name = _require_pointer(pointer)
    found = sorted(folder.glob("generator-*.safetensors"), key=_epoch_of)
    if name is None and found:  # the process died before it pointed to its first
        return found[-1]
    if name is None:
        raise UserError(
            f"a run has a generator after its first checkpoint: {folder} holds none; train the run "
            "first, or see --name and --checkpoint"
        )
    others = f"for example --checkpoint {found[-1]}" if found else "no other is there"
    if not SNAPSHOT_NAME.fullmatch(name):
        raise UserError(
            f"{pointer}: expected the name of a snapshot, got {name[:40]!r}. Name one: {others}"
        )
    path = folder / name
    if not path.is_file():
        raise UserError(f"{pointer} names {name}, which is gone. Name another: {others}")
    return path


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot.

    Raises UserError if the file is none, or cut short, its options are damaged, or its weights are
    not finite.
    """
    if path.is_dir():
        folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
        found = sorted(folder.glob("generator-*.safetensors"), key=_epoch_of)
        what = f"Name the file, for example {found[-1]}" if found else "It holds no snapshot"
        raise UserError(f"--checkpoint: expected a file, got the folder {path}. {what}")
    if weights_kind(path) != "safetensors":
        raise UserError(
            f"--checkpoint is a snapshot of a generator: {path} is a file of PyTorch or Jittor; "
            f"convert it: python -m tools.convert_checkpoint {path} "
            f"{path.with_suffix('.safetensors').name}"
        )
    metadata = read_metadata(path)
    if metadata.get("format") != SNAPSHOT_FORMAT:
        raise UserError(
            f"--checkpoint is a snapshot of a generator, as training writes it: {path} is of "
            f"format {metadata.get('format', 'unknown')!r}; name a generator-*.safetensors"
        )
    try:
        epoch, step = int(metadata["epoch"]), int(metadata["step"])
        options = RunOptions.from_json(metadata["options"], f"the options in {path}")
    except (KeyError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: its metadata lacks {error}; write it again") from None
    arrays = read_tensors(path)[0]
    require_finite(arrays, path)
    return Snapshot(path, options, epoch, step, arrays)


def load_strict(
    networks: Mapping[str, Any], arrays: Mapping[str, np.ndarray], source: str | Path
) -> None:
    """Load networks by name; every missing, unexpected and misshapen name is in one UserError."""
    assign_arrays(name_variables(networks), arrays, str(source))


def save_state(
    folder: Path, learner: Learner, progress: Progress, extra: Mapping[str, Any]
) -> Path:
    """Write the whole state as a new folder, point `state` to it, and keep the one before.

    `extra` is what the loop wants to remember; JSON. A state of this step that is there already is
    left as it is. Raises OSError if the disk refuses; `state` then names the old one.
    """
    path = folder / f"state-{progress.step:08d}"
    if path.is_dir() and _read_pointer(folder / STATE) == path.name:
        return path
    temporary = folder / f".{path.name}.tmp"
    _remove_state(temporary)
    temporary.mkdir(exist_ok=True)
    try:
        tensors: dict[str, Tensor] = dict(learner.variables())
        checksum = write_tensors(temporary / TENSORS, tensors, {"format": STATE_FORMAT})
        content = {
            "format": STATE_FORMAT,
            "bytes": (temporary / TENSORS).stat().st_size,
            "crc32": checksum,
            "progress": progress.to_dict(),
            "counts": learner.counts(),
            "extra": dict(extra),
        }
        write_text(temporary / PROGRESS, json.dumps(content, indent=2) + "\n")
        _sync_folder(temporary)
        _remove_state(path)
        if path.is_dir() and not path.is_symlink():  # a person's notes are in it
            for name in (TENSORS, PROGRESS):
                os.replace(temporary / name, path / name)
            _sync_folder(path)
            temporary.rmdir()
        else:
            os.replace(temporary, path)
        _sync_folder(folder)
        write_text(folder / STATE, path.name + "\n")
        _sync_folder(folder)
    except BaseException:
        _remove_state(temporary)
        raise
    # The state is saved: what cannot be removed now is removed at the next checkpoint.
    with contextlib.suppress(OSError):
        clean(folder)
    return path


def clean(folder: Path) -> None:
    """Remove what an earlier process left unfinished, and all states but the newest two.

    Only under names that training itself gives: a copy called state-00001200-backup stays.
    """
    kept = _kept_states(folder)
    for path in _entries(folder):
        if STATE_NAME.fullmatch(path.name):
            if path not in kept and not _is_copy(path):
                _remove_state(path)
        elif UNFINISHED_STATE.fullmatch(path.name):
            _remove_state(path)
        elif UNFINISHED_FILE.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class State:
    """A saved state: its folder, how far it was, and what else was to be remembered."""

    path: Path
    progress: Progress
    counts: dict[str, int]
    extra: dict[str, Any]
    checksum: int

    def load_into(self, learner: Learner) -> None:
        """Give the learner the state's values.

        Raises UserError that names what does not fit, or says how to resume from damaged values.
        """
        path = self.path / TENSORS
        try:
            arrays = self.read()
        except (OSError, UserError) as error:
            raise UserError(_say_damaged(self.path.parent, self.path.name, error)) from None
        try:
            learner.load(arrays, self.counts, str(path))
        except KeyError as error:
            missing = KeyError(f"{PROGRESS} lacks the count {error}")
            raise UserError(_say_damaged(self.path.parent, self.path.name, missing)) from None

    def read(self) -> dict[str, np.ndarray]:
        """The values; UserError or OSError if they are not those that were written, or finite."""
        path = self.path / TENSORS
        if file_checksum(path) != self.checksum:
            raise UserError(f"{path}: its checksum does not match")
        arrays = read_tensors(path)[0]
        require_finite(arrays, path)
        return arrays


def find_state(folder: Path) -> State | None:
    """The state to go on from, None if training has not saved one yet.

    Raises UserError that says how to resume if the pointer names nothing, or a state that is not
    there or not whole.
    """
    name = _require_pointer(folder / STATE)
    if name is None:
        # The process died before it pointed to its first: a folder of that name is whole.
        states = _states(folder)
        if not states:
            return None
        name = states[-1].name
    try:
        if not STATE_NAME.fullmatch(name):
            raise ValueError("no name of a state")
        return _read_state(folder / name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(_say_damaged(folder, name, error)) from None


def _read_state(path: Path) -> State:
    """A state without its values; one of many exceptions if it is damaged."""
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


def _say_damaged(folder: Path, name: str, error: Exception) -> str:
    """What is wrong with the state `name`, and from what a person can resume."""
    pointer = folder / STATE
    ways = []
    for other in reversed(_states(folder)):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            if other.name != name:
                state = _read_state(other)
                state.read()
                ways.append(
                    f"to train on from step {state.progress.step}, run: echo {other.name} > "
                    f"{shlex.quote(str(pointer))}"
                )
                break
    with contextlib.suppress(OSError, UserError):
        snapshot = latest_snapshot(folder)
        step = read_metadata(snapshot).get("step")
        ways.append(f"{snapshot.name}, of step {step}, still draws: see --checkpoint of test.sh")
    fault = error.strerror if isinstance(error, OSError) else f"{error}"
    shown = name if STATE_NAME.fullmatch(name) else repr(name[:40])
    return (
        f"{pointer} names {shown}, which cannot be read ({fault}). Restore it, or "
        f"{'; or '.join([*ways, 'start anew with another --name'])}"
    )


def state_size(learner: Learner) -> int:
    """Bytes of one state."""
    return sum(_bytes(var) for var in learner.variables().values())


def snapshot_size(learner: Learner) -> int:
    """Bytes of one snapshot."""
    return sum(_bytes(var) for var in learner.snapshot().values())


def _bytes(var: Any) -> int:
    return int(np.prod(var.shape, dtype=np.int64)) * np.dtype(str(var.dtype)).itemsize


def _read_pointer(pointer: Path) -> str | None:
    """What a pointer names, None if there is none; OSError if it cannot be read."""
    try:
        return read_bytes(pointer).decode("utf-8", "replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _require_pointer(pointer: Path) -> str | None:
    """The same for a program that cannot do without; UserError if it cannot be read."""
    try:
        return _read_pointer(pointer)
    except OSError as error:
        raise UserError(f"{pointer}: cannot be read: {error.strerror or error}") from None


def _states(folder: Path) -> list[Path]:
    """The folders of states, the newest last."""
    found = [path for path in folder.glob("state-*") if STATE_NAME.fullmatch(path.name)]
    return sorted(found, key=_step_of)


def _kept_states(folder: Path) -> list[Path]:
    """The state to go on from and the one before it; all if the pointer names none."""
    states = _states(folder)
    name = _read_pointer(folder / STATE)
    if name is None:
        return states[-KEPT_STATES:]
    current = folder / name
    if current not in states:
        return states
    end = states.index(current) + 1
    return states[max(0, end - KEPT_STATES) : end]


def _step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _epoch_of(path: Path) -> int:
    found = SNAPSHOT_NAME.fullmatch(path.name)
    return int(found[1]) if found else -1


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _is_copy(path: Path) -> bool:
    """Whether a state's folder holds the state of another step: a person has copied it there."""
    try:
        content = parse_json(read_bytes(path / PROGRESS))
        return f"state-{content['progress']['step']:08d}" != path.name
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _remove_state(path: Path) -> None:
    """Remove the folder of a state, whole or not; if a person has put something there, it stays."""
    if path.is_symlink():
        return
    for entry in _entries(path):
        if entry.name in (TENSORS, PROGRESS) or UNFINISHED_FILE.fullmatch(entry.name):
            with contextlib.suppress(OSError):
                entry.unlink()
    with contextlib.suppress(OSError):
        path.rmdir()


def _own_snapshots(folder: Path) -> list[tuple[Path, int]]:
    """The snapshots that training wrote here, each with its epoch, the newest last.

    A person's copy has another name, or under such a name another epoch's weights.
    """
    found = []
    for path in _entries(folder):
        name = SNAPSHOT_NAME.fullmatch(path.name)
        if name is None or path.is_symlink() or not path.is_file():
            continue
        try:
            metadata = read_metadata(path)
        except UserError:
            continue
        own = metadata.get("format") == SNAPSHOT_FORMAT and "converted" not in metadata
        if own and metadata.get("epoch") == str(int(name[1])):
            found.append((path, int(name[1])))
    return sorted(found, key=lambda one: one[1])


def _sync_folder(folder: Path) -> None:
    """Have the renames in a folder on the disk; a file system that cannot is taken as it is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
