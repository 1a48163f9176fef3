"""Numbered cases, and the rules by which a program fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from data.synthetic.dataset import make_demo_dataset
from tools.dev.faults import processes
from tools.dev.faults.cases import Case, prepare_case
from tools.dev.faults.inputs import run_case
from tools.dev.faults.training import COLUMNS, FLAGS


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose base needs no training: a dataset, its selections, a schedule."""
    work = tmp_path_factory.mktemp("campaign")
    base = work / "base"
    make_demo_dataset(base / "data", count=12, test_count=2, height=32, width=48, progress=False)
    (base / "data/selections").mkdir()
    for name in ("total", "selection_1"):
        stems = sorted(path.stem for path in (base / "data/train/imgs").iterdir())
        (base / f"data/selections/{name}.txt").write_text("\n".join(stems) + "\n")
    (base / "schedule.txt").write_text("\n".join([FLAGS, COLUMNS, "I 1 4 total 1e-3", ""]))
    (base / "vgg.safetensors").write_bytes(b"")
    (base / "ready").touch()
    return work


def test_seed_and_number_define_a_case(work: Path) -> None:
    case, place = prepare_case(work, 3, seed=5, kind="schedules")
    again, _ = prepare_case(work, 3, seed=5, kind="schedules")
    other, _ = prepare_case(work, 4, seed=5, kind="schedules")
    assert (case.arguments, case.damages) == (again.arguments, again.damages)
    assert other != case and (place / "in/data").is_dir()


def test_a_normal_case_passes(work: Path) -> None:
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
def test_forbidden_behavior_is_found(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    shutil.copy(work / "base/schedule.txt", tmp_path)
    monkeypatch.setattr(processes, "HANG_SECONDS", 2.0)
    (tmp_path / "bad.py").write_text(BAD_PROGRAMS[fault])
    monkeypatch.setitem(processes.PROGRAMS, "bad", str(tmp_path / "bad.py"))
    _, place = prepare_case(work, 0, seed=0, kind="flags")
    (place / "mine").write_text("the user's")
    case = Case(0, "flags", "bad", user_files=["mine"])
    run_case(case, place)
    assert fault in case.fault
