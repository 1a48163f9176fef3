"""The comparison of a resumed run with an unbroken one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tools.dev.faults.training import differences
from training.checkpoint import PROGRESS, STATE, STATE_FORMAT, TENSORS
from training.plan import Progress
from weights.safetensors_file import write_tensors


def write_run(results: Path, steps: dict[int, int], value: float) -> None:
    """Write a run's checkpoints and losses; `steps` gives the step of each epoch's snapshot."""
    folder = results / "r/checkpoints"
    state = folder / "state-00000009"
    state.mkdir(parents=True)
    arrays = {"x": np.full(3, value, np.float32)}
    for epoch, step in steps.items():
        write_tensors(folder / f"generator-{epoch:04d}.safetensors", arrays, {"step": str(step)})
    checksum = write_tensors(state / TENSORS, arrays, {})
    content = {
        "format": STATE_FORMAT,
        "bytes": (state / TENSORS).stat().st_size,
        "crc32": checksum,
        "progress": Progress(step=9).to_dict(),
        "counts": {},
        "extra": {},
    }
    (state / PROGRESS).write_text(json.dumps(content))
    (folder / STATE).write_text(state.name)
    (results / "r/stats.jsonl").write_text('{"step": 1, "losses": {"gan": 0.5}}\n')


def test_differences_of_runs_are_found(tmp_path: Path) -> None:
    write_run(tmp_path / "one", {1: 4, 2: 7, 3: 9}, 1.0)
    write_run(tmp_path / "same", {1: 4, 2: 8, 3: 9}, 1.0)
    write_run(tmp_path / "other", {1: 4, 2: 7}, 2.0)
    assert differences(tmp_path / "same", tmp_path / "one") == []
    found = differences(tmp_path / "other", tmp_path / "one")
    assert [text.split(":")[0] for text in found] == [
        *(f"generator-000{n}.safetensors" for n in (1, 2)),
        "generator-0003.safetensors is missing",
        "state.safetensors",
    ]
    (tmp_path / "same/r/stats.jsonl").write_text("")
    assert differences(tmp_path / "same", tmp_path / "one") == ["stats.jsonl: losses differ"]
