"""The fault campaign's own parts: the preloaded shim, the damages, and what counts as a failure."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.dev.faults import damage, inputs
from tools.dev.faults.inputs import Case, prepare_case, run_case
from tools.dev.faults.shim import Deed, Shim
from tools.dev.faults.training import COLUMNS, FLAGS, differences
from tools.make_demo_data import make
from training.checkpoint import PROGRESS, STATE, STATE_FORMAT, TENSORS
from training.phases import Progress
from training.tensor_file import write_tensors
from training.torch_file import write_torch

# Changes below the folder: create x, write it, flush it to disk, rename it to y, remove y.
PROGRAM = """import os
with open("x", "wb", buffering=0) as file:
    file.write(bytes(100))
    os.fsync(file.fileno())
os.replace("x", "y")
os.unlink("y")
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Shim:
    return Shim(tmp_path_factory.mktemp("shim"))


def run_with(shim: Shim, folder: Path, at: int, deed: Deed) -> tuple[int, dict[str, int]]:
    """The exit code, and the files with their sizes, of the program with that fault."""
    environment = os.environ | shim.environment(folder, at, deed)
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, env=environment)
    return done.returncode, {path.name: path.stat().st_size for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("at", "deed", "code", "left"),
    [
        (0, "kill", 0, {}),
        (1, "kill", -9, {}),
        (2, "kill", -9, {"x": 0}),
        (4, "kill", -9, {"x": 100}),
        (5, "kill", -9, {"y": 100}),
        (2, "tear", -9, {"x": 50}),
        (4, "tear", -9, {"y": 100}),
        (5, "tear", -9, {}),
        (1, "full", 1, {}),
        (2, "full", 1, {"x": 0}),
        (4, "full", 0, {}),
        (4, "error", 1, {"x": 100}),
    ],
)
def test_a_chosen_change_of_the_file_system_goes_wrong(
    shim: Shim, tmp_path: Path, at: int, deed: Deed, code: int, left: dict[str, int]
) -> None:
    assert run_with(shim, tmp_path, at, deed) == (code, left)


def test_changes_are_counted_in_their_folder_alone(shim: Shim, tmp_path: Path) -> None:
    run_with(shim, tmp_path, 0, "kill")
    assert shim.calls() == 5
    environment = os.environ | shim.environment(tmp_path / "other", 1, "kill")
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment)
    assert (done.returncode, shim.calls()) == (0, 0)


def write_sound_file(folder: Path, kind: str) -> Path:
    if kind in ("label", "photo"):
        path = folder / "a.png"
        Image.fromarray(np.arange(48 * 32, dtype=np.uint8).reshape(32, 48) % 29).save(path)
    elif kind == "json":
        path = folder / "a.json"
        path.write_text('{"a.png": "b.jpg", "c.png": ["d.jpg", 3]}')
    elif kind == "tensors":
        path = folder / "a.safetensors"
        write_tensors(path, {"x": np.ones((2, 3), np.float32)}, {"options": "{}"})
    elif kind == "torch":
        path = folder / "a.pth"
        write_torch(path, {"x": np.ones((2, 3), np.float32)})
    else:
        path = folder / "a.txt"
        path.write_text("one\ntwo words\n")
    return path


def content_of(folder: Path) -> list[tuple[str, str]]:
    return sorted(inputs._fingerprints(folder).items())


@pytest.mark.parametrize("kind", sorted(damage.OWN))
def test_each_damage_does_something_and_the_seed_decides(tmp_path: Path, kind: str) -> None:
    for number, chosen in enumerate([*damage.ANY, *damage.OWN[kind]]):
        contents = []
        for copy in "ab":
            folder = tmp_path / f"{number}{copy}"
            folder.mkdir()
            path = write_sound_file(folder, kind)
            sound = content_of(folder)
            # Now and then a draw changes nothing, as zeros in the place of zeros.
            draw = random.Random(number)
            for _ in range(5):
                if content_of(folder) == sound:
                    chosen(path, draw)
            assert content_of(folder) != sound, chosen.__name__
            contents.append([(n, c.rsplit(" ", 1)[0]) for n, c in content_of(folder)])
        if chosen is not damage.zip_entry:  # which writes the time into the zip
            names = [[name for name, _ in content] for content in contents]
            assert names[0] == names[1], chosen.__name__


def write_run(results: Path, steps: dict[int, int], value: float) -> None:
    """A run's checkpoints and losses: of each epoch a snapshot after so many steps."""
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


def test_runs_that_differ_are_told_apart(tmp_path: Path) -> None:
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


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose base has what needs no training: a dataset, its selections, a schedule."""
    work = tmp_path_factory.mktemp("campaign")
    base = work / "base"
    make(base / "data", count=12, test_count=2, height=32, width=48, progress=False)
    (base / "data/selections").mkdir()
    for name in ("total", "selection_1"):
        stems = sorted(path.stem for path in (base / "data/train/imgs").iterdir())
        (base / f"data/selections/{name}.txt").write_text("\n".join(stems) + "\n")
    (base / "schedule.txt").write_text("\n".join([FLAGS, COLUMNS, "I 1 4 total 1e-3", ""]))
    (base / "vgg.safetensors").write_bytes(b"")
    (base / "ready").touch()
    return work


def test_a_case_is_drawn_from_its_seed_and_number(work: Path) -> None:
    case, place = prepare_case(work, 3, seed=5, kind="schedules")
    again, _ = prepare_case(work, 3, seed=5, kind="schedules")
    other, _ = prepare_case(work, 4, seed=5, kind="schedules")
    assert (case.arguments, case.damages) == (again.arguments, again.damages)
    assert other != case and (place / "in/data").is_dir()


def test_a_sound_case_passes(work: Path) -> None:
    case, place = prepare_case(work, 0, seed=0, kind="flags")
    case.program, case.arguments = "train", ["--help"]
    run_case(case, place)
    assert (case.code, case.fault) == (0, "")


BAD_PROGRAMS = {
    "a traceback": "raise ValueError('x')",
    "exit code 7": "import sys; print('error: x'); sys.exit(7)",
    "without a line `error: ...`": "import sys; sys.exit(2)",
    "changed 'schedule.txt'": "open('in/schedule.txt', 'a').write('x')",
    "changed 'mine'": "open('mine', 'a').write('x')",
    "wrote 'data/new' among the inputs": "open('in/data/new', 'w')",
    "ran code from a file": "open('out/pwned', 'w')",
    "hangs": "import time; time.sleep(60)",
}


@pytest.mark.parametrize("fault", BAD_PROGRAMS)
def test_what_a_program_must_not_do_is_seen(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    shutil.copy(work / "base/schedule.txt", tmp_path)
    monkeypatch.setattr(inputs, "HANG_SECONDS", 2.0)
    (tmp_path / "bad.py").write_text(BAD_PROGRAMS[fault])
    monkeypatch.setitem(inputs.PROGRAMS, "bad", str(tmp_path / "bad.py"))
    _, place = prepare_case(work, 0, seed=0, kind="flags")
    (place / "mine").write_text("a person's")
    case = Case(0, "flags", "bad", belongings=["mine"])
    run_case(case, place)
    assert fault in case.fault
