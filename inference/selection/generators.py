"""The generators of a run: its snapshots, and averages of some of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from data.content import find_dataset
from data.loader import BatchLoader
from data.ownership import stamp_of
from data.seeds import derive_seed
from options.errors import UserError
from options.train import RunOptions
from runtime.progress import ProgressBar
from weights.averaging import ITERATIONS, average_weights
from weights.safetensors_file import read_metadata, write_tensors
from weights.snapshots import (
    SNAPSHOT_FORMAT,
    SNAPSHOT_NAME,
    Snapshot,
    latest_snapshot,
    read_snapshot,
    snapshot_metadata,
)

if TYPE_CHECKING:
    from inference.synthesizer import Synthesizer

BATCH_SIZE = 4  # of the batches that batch-norm statistics are estimated from
WEIGHTS = "ema"

Load: TypeAlias = "Callable[[Snapshot, str], Synthesizer]"


@dataclass(frozen=True)
class Generator:
    """A generator of a run in a snapshot's file.

    members: labels of the snapshots that it averages; empty for a snapshot of training.
    """

    run: str
    label: str
    path: Path
    epoch: int
    step: int
    members: tuple[str, ...] = ()


def find_generators(run: str, folder: Path) -> list[Generator]:
    """Find the snapshots in a run's folder of checkpoints, the latest one last.

    Of files with equal weights one is taken, first those that training numbers. Other files are
    skipped. Raises UserError if there is no snapshot, a damaged one, or one of other layouts than
    the latest.
    """
    latest = latest_snapshot(folder)
    files = sorted(folder.glob("*.safetensors"))
    files.sort(key=lambda path: (path != latest, SNAPSHOT_NAME.fullmatch(path.name) is None))
    found: dict[str, Generator] = {}
    shapes: dict[tuple[int, int, int], Path] = {}
    for path in files:
        metadata = read_metadata(path)
        if metadata.get("format") != SNAPSHOT_FORMAT:
            continue
        try:
            epoch, step = int(metadata["epoch"]), int(metadata["step"])
            data = RunOptions.from_json(metadata["options"], f"the options in {path}").data
        except UserError:
            raise
        except (KeyError, ValueError):
            raise UserError(
                f"{path}: expected options, epoch and step in its metadata, got others. Move the "
                "file away"
            ) from None
        shape = (data.layout_classes, data.height, data.width)
        shapes.setdefault(shape, path)
        if len(shapes) > 1:
            raise UserError(
                f"{path}: expected the classes and the size of {latest.name}, got others. Move "
                "the file away"
            )
        found.setdefault(_weights_digest(path), Generator(run, path.stem, path, epoch, step))
    by_age = sorted(found.values(), key=lambda one: (one.path == latest, one.step, one.label))
    return by_age


def _weights_digest(path: Path) -> str:
    """A digest of the numbers in a safetensors file: its metadata may differ in a copy."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(int.from_bytes(file.read(8), "little"), os.SEEK_CUR)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def make_average(members: Sequence[Generator], batches: int, cache: Path, load: Load) -> Generator:
    """Average snapshots of a run and estimate the batch-norm statistics of the average again.

    The file is a snapshot. It is kept in `cache`, under a digest of all that it depends on, and not
    computed twice. Raises UserError if the snapshots are those of different networks.
    """
    stamps = [stamp_of(member.path) for member in members]
    recipe = json.dumps([stamps, WEIGHTS, batches, BATCH_SIZE, ITERATIONS])
    key = hashlib.sha256(recipe.encode()).hexdigest()[:24]
    newest = max(members, key=lambda member: member.step)
    labels = tuple(member.label for member in members)
    path = cache / f"average-{key}.safetensors"
    made = Generator(
        newest.run, f"average of {', '.join(labels)}", path, newest.epoch, newest.step, labels
    )
    if path.is_file():
        return made
    arrays = average_weights(_read_weights(members))
    options = read_snapshot(newest.path).options
    raw = {f"raw.{name}": array for name, array in arrays.items()}
    averaged = Snapshot(path, options, newest.epoch, newest.step, raw)
    statistics = estimate_statistics(averaged, batches, load)
    raw |= {f"raw.{name}": array for name, array in statistics.items()}
    metadata = snapshot_metadata(options, epoch=newest.epoch, step=newest.step, phase="")
    metadata |= {
        "average": json.dumps(labels),
        "batch_norm": f"{batches} batches of {BATCH_SIZE}" if statistics else "none",
    }
    cache.mkdir(parents=True, exist_ok=True)
    write_tensors(path, raw, metadata)
    return made


def estimate_statistics(snapshot: Snapshot, batches: int, load: Load) -> dict[str, np.ndarray]:
    """Return the batch-norm statistics of a generator over batches of its training data, by name.

    The batches are those of training: in the photos' own styles, flipped as the options say. Their
    order and their noise depend on no flag. Empty without batch norm.
    """
    from inference.batch_norm import batch_norms, reestimate

    synthesizer = load(snapshot, "raw")
    method = synthesizer.method
    networks = {name: one for name, one in method.networks.items() if name != "discriminator"}
    if not batch_norms(networks):
        return {}
    import jittor as jt

    from inference.synthesizer import to_content

    dataset = find_dataset(snapshot.options.data)
    loader = dataset.loader(dataset.items, dataset.styles, batch_size=BATCH_SIZE, seed=0)
    with loader, ProgressBar("batch-norm statistics", "batches") as show:
        endless = _endless(loader)

        def forward(number: int) -> object:
            batch = next(endless)
            jt.set_global_seed(derive_seed(0, "batch norm", number))
            content = to_content(batch.content, batch.edges, synthesizer.classes)
            return method.reconstruct(content, jt.array(batch.image))

        return reestimate(networks, forward, batches, show)


def _read_weights(members: Sequence[Generator]) -> Iterator[dict[str, np.ndarray]]:
    for member in members:
        yield read_snapshot(member.path).weights(WEIGHTS)


def _endless(loader: BatchLoader) -> Iterator[Any]:
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1
