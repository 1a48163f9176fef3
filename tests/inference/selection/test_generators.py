"""The snapshots of a run, and their averages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from inference.selection.generators import find_generators, make_average
from options.errors import UserError
from tests.inference.selection.fakes import load, write_run
from weights.safetensors_file import read_metadata, read_tensors, write_tensors
from weights.snapshots import read_snapshot


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    return write_run(tmp_path / "results", tmp_path, "run", [0.25, 0.5, 1.0])


def test_snapshots_by_age(checkpoints: Path) -> None:
    # training keeps the best one with its measure
    tensors, metadata = read_tensors(checkpoints / "generator-0002.safetensors")
    write_tensors(checkpoints / "best.safetensors", tensors, metadata | {"value": "0.5"})
    tensors, metadata = read_tensors(checkpoints / "generator-0001.safetensors")
    tensors["ema.generator.skill"] += 0.125
    write_tensors(checkpoints / "mine.safetensors", tensors, metadata)
    write_tensors(checkpoints / "other.safetensors", tensors, {"format": "other"})
    (checkpoints / "latest").write_text("generator-0002.safetensors")
    found = find_generators("run", checkpoints)
    labels = ["generator-0001", "mine", "generator-0003", "generator-0002"]
    assert [one.label for one in found] == labels  # best is a copy; the latest one is last
    assert [(one.epoch, one.step) for one in found] == [(1, 10), (1, 10), (3, 30), (2, 20)]
    write_tensors(checkpoints / "mine.safetensors", tensors, metadata | {"step": "x"})
    with pytest.raises(UserError, match=r"mine\.safetensors: expected options, epoch and step"):
        find_generators("run", checkpoints)
    (checkpoints / "mine.safetensors").unlink()
    other = write_run(checkpoints.parent, checkpoints, "other", [0.5], height=64)
    shutil.copy(other / "generator-0001.safetensors", checkpoints / "other.safetensors")
    with pytest.raises(UserError, match=r"other\.safetensors: expected the classes and the size"):
        find_generators("run", checkpoints)


def test_an_average_is_a_snapshot_and_is_made_once(tmp_path: Path, checkpoints: Path) -> None:
    members = find_generators("run", checkpoints)
    made = make_average(members, 5, tmp_path / "cache", load)
    assert made.members == ("generator-0001", "generator-0002", "generator-0003")
    assert made.label == "average of generator-0001, generator-0002, generator-0003"
    snapshot = read_snapshot(made.path)
    mean = np.float32((0.25 + 0.5 + 1.0) / 3)
    np.testing.assert_array_equal(snapshot.weights("ema")["generator.skill"], np.full(4, mean))
    assert not snapshot.averaged and (snapshot.epoch, snapshot.step) == (3, 30)
    metadata = read_metadata(made.path)
    assert json.loads(metadata["average"]) == list(made.members)
    assert metadata["batch_norm"] == "none"  # the fake has no batch norm
    before = made.path.stat().st_mtime_ns
    assert make_average(members, 5, tmp_path / "cache", load) == made
    assert made.path.stat().st_mtime_ns == before
    for other in (
        make_average(members, 6, tmp_path / "cache", load),
        make_average(members[:2], 5, tmp_path / "cache", load),
    ):
        assert other.path != made.path and other.path.is_file()
