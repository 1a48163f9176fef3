"""The stages of the acceptance program on the CPU, at tiny sizes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from data.ownership import MARKER
from runtime.cuda import Driver, Unavailable
from tests.tiny import write_dataset, write_schedule
from tools.dev import gpu_acceptance
from tools.dev.acceptance.processes import Done, run_limited
from tools.dev.gpu_acceptance import compare_losses, main

TINY = ["--size", "32", "32", "--num-downsamples", "4", "--channels", "2"]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", pairs=4)
    write_schedule(tmp_path / "long.txt", "I 4000 2 total 1e-3")
    write_schedule(tmp_path / "short.txt", "I 8 2 total 1e-3")
    return tmp_path


def stage(name: str, folder: Path, *flags: str) -> int:
    folders = ["--output_path", str(folder / "out"), "--runs_path", str(folder / "runs")]
    return main([name, *folders, "--device", "cpu", *flags])


def report(folder: Path) -> dict:
    return json.loads((folder / "out/report.json").read_text())


def test_a_killed_run_resumes(dataset: Path) -> None:
    flags = ["--data", str(dataset / "data"), "--minutes", "3", "--"]
    assert stage("resume", dataset, *flags, "--schedule", str(dataset / "long.txt")) == 0
    found = report(dataset)["resume"]
    assert 0 < found["checkpoint"] < found["killed_after"]
    assert found["every_step_once"]
    # on the CPU repeated steps have bit-identical losses
    assert set(found["differences"].values()) == {0.0}


def test_a_training_run_leaves_curves_and_samples(dataset: Path) -> None:
    flags = ["--data", str(dataset / "data"), "--minutes", "3", "--"]
    assert stage("train", dataset, *flags, "--schedule", str(dataset / "short.txt")) == 0
    found = report(dataset)["train"]
    assert found["steps"] == 15 and found["code"] == 0
    # few small files, easy to copy from a machine without network
    assert {path.name for path in (dataset / "out").iterdir()} == {
        *("report.json", "train.log", "losses.png", "samples.png", MARKER)
    }
    for name in ("losses.png", "samples.png"):
        with Image.open(dataset / "out" / name) as image:
            assert image.width > 100


def test_a_folder_of_the_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_acceptance, "RUN", {"doctor": lambda plan: {"ok": True}})
    (tmp_path / "out").mkdir()
    (tmp_path / "out/report.json").write_text("my report")
    assert stage("doctor", tmp_path) == 2
    assert "holds report.json. Name another --output_path" in capsys.readouterr().err
    assert (tmp_path / "out/report.json").read_text() == "my report"
    (tmp_path / "out/report.json").unlink()
    for _ in range(2):
        assert stage("doctor", tmp_path) == 0
    assert report(tmp_path)["doctor"]["ok"]


def test_a_stage_reports_its_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never_ends(command: list[str], seconds: float) -> Done:
        return run_limited([sys.executable, "-c", "import time; time.sleep(60)"], 0.1)

    monkeypatch.setattr(gpu_acceptance, "run_limited", never_ends)
    assert stage("phases-tsit", tmp_path, *TINY) == 1
    rows = report(tmp_path)["phases-tsit"]["rows"]
    assert [row["batch"] for row in rows] == [2, 30, 5, 5]
    assert all("stopped at the time limit" in row["message"] for row in rows[:3])


def test_each_phase_is_timed_and_stages_share_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def answers(command: list[str], seconds: float) -> Done:
        commands.append(command)
        return Done(0, 'noise\n{"seconds": [3, 1, 2], "peak_gpu_mb": 7}\n', "")

    monkeypatch.setattr(gpu_acceptance, "run_limited", answers)
    assert stage("phases-tsit", tmp_path, *TINY) == stage("phases-spade", tmp_path, *TINY) == 0
    rows = report(tmp_path)["phases-spade"]["rows"]
    assert [row["phase"] for row in rows] == ["I", "II", "III", "IV"]
    assert [row["batch"] for row in rows] == [2, 30, 5, 5]
    assert {row["seconds"] for row in rows} == {2} and {row["peak_gpu_mb"] for row in rows} == {7}
    # III and IV are the same step
    assert len(commands) == 6 and all("--complete" in command for command in commands)
    assert set(report(tmp_path)) == {"phases-tsit", "phases-spade"}


def test_findings_of_the_doctor_are_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"ok": False, "findings": [{"name": "Adam", "status": "fault", "value": "wrong"}]}
    done = Done(1, json.dumps(found), "")
    monkeypatch.setattr(gpu_acceptance, "run_limited", lambda command, seconds: done)
    assert stage("doctor", tmp_path) == 1
    assert report(tmp_path)["doctor"]["findings"] == found["findings"]


def test_the_speed_stage_needs_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"model": "tsit", "seconds": 1.0}
    for ratio, code in (({}, 1), ({"ratio": 1.2}, 0)):

        def measures(command: list[str], seconds: float, ratio: dict = ratio) -> Done:
            assert "NVIDIA_TF32_OVERRIDE=0" in command
            Path(command[command.index("--json") + 1]).write_text(json.dumps([row | ratio]))
            return Done(0, "", "")

        monkeypatch.setattr(gpu_acceptance, "run_limited", measures)
        assert stage("speed", tmp_path, "--torch-python", sys.executable) == code
    # a failed measurement must not return the result of an earlier one
    failed = Done(2, "", "error: no torch")
    monkeypatch.setattr(gpu_acceptance, "run_limited", lambda command, seconds: failed)
    assert stage("speed", tmp_path) == 1
    assert report(tmp_path)["speed"]["message"] == "error: no torch"


def short_run(precision: str, seconds: float, *losses: float, **more: object) -> str:
    row = {"precision": precision, "steps": len(losses), "seconds": seconds}
    return json.dumps(row | {"losses": {"gan": losses, "l1": [0.0] * len(losses)}} | more)


@pytest.mark.parametrize(
    ("answers", "code", "drifts"),
    [
        (
            [
                Done(0, "x\n" + short_run("float32", 2.0, 4, 3, 2, 2), ""),
                Done(0, short_run("bfloat16", 1.0, 4, 3, 2, 2.2), ""),
                Done(2, "", "error: --precision float16 needs a newer GPU"),
            ],
            0,
            [0, 0.1],
        ),
        (
            [
                Done(0, short_run("float32", 2.0, 4, 3, 2, 2), ""),
                Done(0, short_run("bfloat16", 2.0, 4, 3, 2, 3), ""),
                Done(0, short_run("float16", 2.0, 4, 3, 2, 2), ""),
            ],
            1,
            [0, 0.5, 0],
        ),
        (
            [
                Done(0, short_run("float32", 2.0, 4, 3, 2, 2), ""),
                Done(0, short_run("bfloat16", 2.0, 4, 3, 2, 2), ""),
                Done(1, short_run("float16", 2.0, 4, 3, message="nan"), ""),
            ],
            1,
            [0, 0, 0],
        ),
        (
            [
                Done(2, "", "error: no GPU"),
                Done(2, "", "error: no GPU"),
                Done(2, "", "error: no GPU"),
            ],
            1,
            [],
        ),
    ],
)
def test_lower_precisions_are_compared_with_float32(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answers: list[Done],
    code: int,
    drifts: list[float],
) -> None:
    commands: list[list[str]] = []
    coming = iter(answers)

    def run(command: list[str], seconds: float) -> Done:
        commands.append(command)
        return next(coming)

    monkeypatch.setattr(gpu_acceptance, "run_limited", run)
    assert stage("precision", tmp_path, *TINY) == code
    assert [c[c.index("--precision") + 1] for c in commands] == ["float32", "bfloat16", "float16"]
    assert all(c[c.index("--steps") + 1] == "200" for c in commands)
    rows = report(tmp_path)["precision"]["rows"]
    assert [row["drift"] for row in rows if "drift" in row] == pytest.approx(drifts)
    assert (tmp_path / "out/precision.png").is_file() == bool(drifts)
    if len(drifts) == 2:
        assert rows[1]["float32_over_this"] == 2 and "newer GPU" in rows[2]["refused"]


def test_results_are_written_while_a_stage_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_so_far: list[int] = []

    def run(command: list[str], seconds: float) -> Done:
        path = tmp_path / "out/report.json"
        rows_so_far.append(len(report(tmp_path)["phases-tsit"]["so_far"]) if path.is_file() else 0)
        return Done(0, '{"seconds": [1.0]}', "")

    monkeypatch.setattr(gpu_acceptance, "run_limited", run)
    assert stage("phases-tsit", tmp_path, *TINY) == 0
    assert rows_so_far == [0, 1, 2] and "so_far" not in report(tmp_path)["phases-tsit"]


def test_a_missing_dataset_is_a_user_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stage("train", tmp_path) == 2
    assert "--data: expected a dataset for the stage train" in capsys.readouterr().err


def test_losses_are_compared_relative_to_the_largest() -> None:
    assert compare_losses({"a": 10.0, "b": 0.0}, {"a": 10.0, "b": 0.5}) == 0.05


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Driver((13, 0), ("a GPU", "another")), "a GPU, another"),
        (Unavailable("none", "fix"), None),
    ],
)
def test_the_gpu_is_named_without_nvidia_smi(
    answer: Driver | Unavailable, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(gpu_acceptance, "ask_driver", lambda: answer)
    assert gpu_acceptance.describe_gpu() == expected
