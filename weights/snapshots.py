"""Snapshots of a generator: written by training, read by test.py.

    checkpoints/generator-0012.safetensors     raw and averaged weights, the options inside
    checkpoints/latest                         the name of the newest snapshot
    checkpoints/best.safetensors               the best one of --evaluate-every, with its measure

A snapshot is written atomically, and the pointer changes last: it never names an unfinished file.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.files import write_text
from options.errors import UserError, cut
from options.paths import read_bytes
from options.train import RunOptions
from weights.file_kind import weights_kind
from weights.finite import require_finite
from weights.safetensors_file import Tensor, read_metadata, read_tensors, write_tensors

SNAPSHOT_FORMAT = "jittor-landscape generator 1"
KEPT_SNAPSHOTS = 2  # the newest; those at the end of a phase are kept too
LATEST = "latest"
BEST = "best.safetensors"
SEGMENTER = "segmenter.safetensors"  # of a run with --task segmentation
# The names that training gives; a file of any other name is never removed.
SNAPSHOT_NAME = re.compile(r"generator-(\d{4,})(?:-\d{8,})?\.safetensors")


@dataclass(frozen=True)
class Snapshot:
    """Weights of a generator, read from a file; `step` and `epoch` are those of their training."""

    path: Path
    options: RunOptions
    epoch: int
    step: int
    arrays: dict[str, np.ndarray]

    @property
    def averaged(self) -> bool:
        """Whether the file holds averaged weights next to the raw ones."""
        return any(name.startswith("ema.") for name in self.arrays)

    @property
    def has_encoder(self) -> bool:
        """Whether the file holds a style encoder; a converted generator may lack its own."""
        return any(name.startswith("raw.encoder.") for name in self.arrays)

    @property
    def takes_photo(self) -> bool:
        """Whether the generator's style may come from a photo."""
        return self.has_encoder or self.options.generator.style == "photo"

    def weights(self, kind: str) -> dict[str, np.ndarray]:
        """Return the arrays by the networks' own names.

        kind: 'raw', or 'ema' for the averaged weights, and the raw ones that have no average.
        """
        chosen = {n.removeprefix("raw."): a for n, a in self.arrays.items() if n[:4] == "raw."}
        if kind == "ema":
            chosen |= {n.removeprefix("ema."): a for n, a in self.arrays.items() if n[:4] == "ema."}
        return chosen


def snapshot_metadata(options: RunOptions, *, epoch: int, step: int, phase: str) -> dict[str, str]:
    """Return the metadata of a snapshot's file."""
    return {
        "format": SNAPSHOT_FORMAT,
        "options": options.to_json(),
        "epoch": str(epoch),
        "step": str(step),
        "phase": phase,
        "classes": str(options.data.layout_classes),
    }


def save_snapshot(
    folder: Path,
    tensors: Mapping[str, Tensor],
    options: RunOptions,
    *,
    epoch: int,
    step: int,
    phase: str = "",
    kept_epochs: Collection[int] = (),
) -> Path:
    """Write a generator's snapshot, point `latest` to it, and remove older ones.

    The newest two stay, and those of `kept_epochs`. A snapshot written in the middle of an epoch
    has the number of that epoch, and the next one of that epoch replaces it.
    """
    path = folder / f"generator-{epoch:04d}.safetensors"
    if os.path.lexists(path) and (path, epoch) not in _own_snapshots(folder):
        path = path.with_stem(f"{path.stem}-{step:08d}")  # a user's file has the first name
    metadata = snapshot_metadata(options, epoch=epoch, step=step, phase=phase)
    write_tensors(path, tensors, metadata)
    sync_folder(folder)
    write_text(folder / LATEST, path.name + "\n")
    sync_folder(folder)
    for old, old_epoch in _own_snapshots(folder)[:-KEPT_SNAPSHOTS]:
        if old_epoch not in kept_epochs and old != path:
            old.unlink()
    return path


def save_best(
    folder: Path,
    tensors: Mapping[str, Tensor],
    options: RunOptions,
    *,
    epoch: int,
    step: int,
    measure: str,
    value: float,
) -> Path:
    """Write the best generator with the value of its measure, in place of the one before."""
    metadata = snapshot_metadata(options, epoch=epoch, step=step, phase="")
    path = folder / BEST
    write_tensors(path, tensors, {**metadata, "measure": measure, "value": repr(value)})
    return path


def read_best(folder: Path, measure: str) -> float | None:
    """Return the value of the best generator's measure; None if there is none, or of another."""
    try:
        metadata = read_metadata(folder / BEST)
        return float(metadata["value"]) if metadata["measure"] == measure else None
    except (UserError, KeyError, ValueError):
        return None


def latest_snapshot(folder: Path) -> Path:
    """Return the newest snapshot of a run.

    Raises UserError if there is none, or if the pointer is damaged.
    """
    pointer = folder / LATEST
    name = require_pointer(pointer)
    found = sorted(folder.glob("generator-*.safetensors"), key=_epoch_of)
    if name is None and found:  # the process died before it pointed to its first
        return found[-1]
    if name is None and os.path.isfile(folder.parent / SEGMENTER):
        raise UserError(
            f"{folder.parent}: expected a generator, got a segmenter, which generates no images. "
            "Name another run"
        )
    if name is None:
        raise UserError(
            f"{folder}: expected a snapshot, got none; a run has one after its first checkpoint. "
            "Train first, or see --name and --checkpoint"
        )
    fix = f"Name one, for example --checkpoint {found[-1]}" if found else "The folder has no other"
    if not SNAPSHOT_NAME.fullmatch(name):
        raise UserError(f"{pointer}: expected the name of a snapshot, got {name[:40]!r}. {fix}")
    path = folder / name
    if not path.is_file():
        raise UserError(
            f"{pointer}: expected the name of a snapshot, got {name}, which is gone. {fix}"
        )
    return path


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot.

    Raises UserError if the file is no snapshot or cut short, if its options are damaged, or if its
    weights are not finite.
    """
    if path.is_dir():
        folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
        found = sorted(folder.glob("generator-*.safetensors"), key=_epoch_of)
        fix = f"Name the file, for example {found[-1]}" if found else "It holds no snapshot"
        raise UserError(f"--checkpoint: expected a file, got the folder {path}. {fix}")
    if weights_kind(path) != "safetensors":
        raise UserError(
            f"--checkpoint: expected a generator snapshot, got {path}, a file of PyTorch or "
            f"Jittor. Convert it: python -m tools.convert_checkpoint {path} "
            f"{path.with_suffix('.safetensors').name}"
        )
    metadata = read_metadata(path)
    if metadata.get("format") != SNAPSHOT_FORMAT:
        raise UserError(
            f"--checkpoint: expected a generator snapshot, got {path} of format "
            f"{metadata.get('format', 'unknown')!r}. Name a generator-*.safetensors"
        )
    try:
        epoch, step = int(metadata["epoch"]), int(metadata["step"])
        options = RunOptions.from_json(metadata["options"], f"the options in {path}")
    except UserError:
        raise
    except KeyError as error:
        raise UserError(
            f"{path}: expected metadata with {error}, got none. Write it again"
        ) from None
    except ValueError as error:
        raise UserError(
            f"{path}: expected integers as epoch and step, got others ({cut(str(error))}). "
            "Write it again"
        ) from None
    arrays = read_tensors(path)[0]
    require_finite(arrays, path)
    return Snapshot(path, options, epoch, step, arrays)


def newest_run(results_path: str | Path) -> str:
    """Return the name of the run with the newest generator; UserError if there is none."""
    root = Path(results_path).expanduser()
    pointers = sorted(root.glob("*/checkpoints/latest"), key=lambda path: path.stat().st_mtime)
    if not pointers:
        raise UserError(
            f"--results-path: no run in {root} has a generator. Train one first (bash train.sh), "
            "or see --checkpoint"
        )
    return pointers[-1].parent.parent.name


def read_pointer(pointer: Path) -> str | None:
    """Return the name in a pointer, None if there is no pointer; OSError if it cannot be read."""
    try:
        return read_bytes(pointer).decode("utf-8", "replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def require_pointer(pointer: Path) -> str | None:
    """Return the same; UserError if the pointer cannot be read."""
    try:
        return read_pointer(pointer)
    except OSError as error:
        raise UserError(f"{pointer}: cannot be read: {error.strerror or error}") from None


def sync_folder(folder: Path) -> None:
    """Flush the renames in a folder to the disk, on file systems that can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def entries(folder: Path) -> list[Path]:
    """Return the entries of a folder, sorted; none if there is no folder."""
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _epoch_of(path: Path) -> int:
    found = SNAPSHOT_NAME.fullmatch(path.name)
    return int(found[1]) if found else -1


def _own_snapshots(folder: Path) -> list[tuple[Path, int]]:
    """Return the snapshots that training wrote into a folder, with their epochs, newest last.

    A user's copy has another name, or under such a name the weights of another epoch.
    """
    found = []
    for path in entries(folder):
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
