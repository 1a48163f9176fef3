"""Checkpoints: the light snapshot that draws, and the heavy state that training goes on from.

    checkpoints/generator-0012.safetensors     raw and averaged weights, the options inside
    checkpoints/latest                         the name of the newest snapshot
    checkpoints/state-00001200/                state.safetensors, progress.json
    checkpoints/state                          the name of the state to go on from

Everything is written beside its place and then renamed, and a pointer is changed last: whenever the
process dies, the pointers name something whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.files import write_text
from options.errors import UserError
from options.run import RunOptions
from training.phases import Progress
from training.tensor_file import Tensor, read_metadata, read_tensors, write_tensors
from training.variables import assign_arrays, name_variables

if TYPE_CHECKING:  # what is wrong with a run's folder is said before Jittor is imported
    from training.learner import Learner

SNAPSHOT_FORMAT = "jittor-landscape generator 1"
STATE_FORMAT = "jittor-landscape state 1"
PICKLES = (".pth", ".pt", ".ckpt", ".pkl", ".pickle")
KEPT_SNAPSHOTS = 2  # the newest; those at the end of a phase are kept besides
LATEST = "latest"
STATE = "state"
STATE_FILES = ("state.safetensors", "progress.json")
# The names of our making, the only ones under which anything is ever removed.
SNAPSHOT_NAME = re.compile(r"generator-(\d{4,})\.safetensors")
STATE_NAME = re.compile(r"state-\d{8,}")
UNFINISHED_STATE = re.compile(r"\.state-\d{8,}\.tmp")
UNFINISHED_FILE = re.compile(
    r"\.(latest|state|generator-\d{4,}\.safetensors|state\.safetensors|progress\.json)\.\d+\.tmp"
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
    write_text(folder / LATEST, path.name + "\n")
    for old, epoch in _own_snapshots(folder)[:-KEPT_SNAPSHOTS]:
        if epoch not in phase_ends and old != path:
            old.unlink()
    return path


def latest_snapshot(folder: Path) -> Path:
    """The newest snapshot of a run; UserError where there is none."""
    pointer = folder / LATEST
    if not pointer.is_file():
        raise UserError(
            f"a run has a generator after its first checkpoint: {folder} holds none; train the run "
            "first, or see --name and --checkpoint"
        )
    path = folder / pointer.read_text(encoding="utf-8").strip()
    if not path.is_file():
        raise UserError(f"{pointer} names {path.name}, which is gone; name another --checkpoint")
    return path


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot. Raises UserError where the file is none, or its options are off."""
    if path.is_file() and path.suffix in PICKLES:
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
    return Snapshot(path, options, epoch, step, read_tensors(path)[0])


def load_strict(
    networks: Mapping[str, Any], arrays: Mapping[str, np.ndarray], source: str | Path
) -> None:
    """Load networks by name; every missing, unexpected and misshapen name is in one UserError."""
    assign_arrays(name_variables(networks), arrays, str(source))


def save_state(
    folder: Path, learner: Learner, progress: Progress, extra: Mapping[str, Any]
) -> Path:
    """Write the whole state as a new folder, point `state` to it, and drop the old one.

    `extra` is what the loop wants to remember; JSON. A state of this step that is there already is
    left as it is.
    """
    path = folder / f"state-{progress.step:08d}"
    if path.is_dir() and _pointed(folder) == path.name:
        return path
    temporary = folder / f".{path.name}.tmp"
    _remove_state(temporary)
    temporary.mkdir(exist_ok=True)
    try:
        tensors: dict[str, Tensor] = dict(learner.variables())
        write_tensors(temporary / STATE_FILES[0], tensors, {"format": STATE_FORMAT})
        content = {
            "format": STATE_FORMAT,
            "progress": progress.to_dict(),
            "counts": learner.counts(),
            "extra": dict(extra),
        }
        write_text(temporary / STATE_FILES[1], json.dumps(content, indent=2) + "\n")
        _remove_state(path)
        if path.is_dir() and not path.is_symlink():  # a person's notes are in it
            for name in STATE_FILES:
                os.replace(temporary / name, path / name)
            temporary.rmdir()
        else:
            os.replace(temporary, path)
        _sync_folder(folder)
        write_text(folder / STATE, path.name + "\n")
        _sync_folder(folder)
    except BaseException:
        _remove_state(temporary)
        raise
    clean(folder)
    return path


def clean(folder: Path) -> None:
    """Remove what an earlier process left unfinished, and states that nothing points to.

    Only under names that training itself gives: a copy called state-00001200-backup stays.
    """
    current = _pointed(folder)
    for path in _entries(folder):
        if STATE_NAME.fullmatch(path.name):
            if path.name != current and not _is_copy(path):
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

    def load_into(self, learner: Learner) -> None:
        """Give the learner the state's values; UserError lists every name that does not fit."""
        path = self.path / "state.safetensors"
        learner.load(read_tensors(path)[0], self.counts, str(path))


def find_state(folder: Path) -> State | None:
    """The state to go on from, None where training has not saved one yet.

    Raises UserError where the pointer names a state that is not there or not whole.
    """
    name = _pointed(folder)
    if name is None:
        return None
    path = folder / name
    try:
        content = json.loads((path / "progress.json").read_text(encoding="utf-8"))
        if content["format"] != STATE_FORMAT:
            raise ValueError(f"format {content['format']!r}")
        progress = Progress.from_dict(content["progress"])
        return State(path, progress, dict(content["counts"]), dict(content["extra"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder / STATE} names {name}, which cannot be read ({error}); restore it, or remove "
            "the run's folder to start anew"
        ) from None


def state_size(learner: Learner) -> int:
    """Bytes of one state."""
    return sum(_bytes(var) for var in learner.variables().values())


def snapshot_size(learner: Learner) -> int:
    """Bytes of one snapshot."""
    return sum(_bytes(var) for var in learner.snapshot().values())


def _bytes(var: Any) -> int:
    return int(np.prod(var.shape, dtype=np.int64)) * np.dtype(str(var.dtype)).itemsize


def _pointed(folder: Path) -> str | None:
    pointer = folder / STATE
    return pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else None


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _is_copy(path: Path) -> bool:
    """Whether a state's folder holds the state of another step: a person has copied it there."""
    try:
        content = json.loads((path / STATE_FILES[1]).read_bytes())
        return f"state-{content['progress']['step']:08d}" != path.name
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _remove_state(path: Path) -> None:
    """Remove the folder of a state, whole or not; if a person has put something there, it stays."""
    if path.is_symlink():
        return
    for entry in _entries(path):
        if entry.name in STATE_FILES or UNFINISHED_FILE.fullmatch(entry.name):
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
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
