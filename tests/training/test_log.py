from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from training.log import Log, Speed, describe_losses, describe_time
from training.run_folder import RunFolder

RECORD = {
    "phase": "I",
    "epoch": 1,
    "step": 5,
    "losses": {"gan": 0.25, "fake": 1.0},
    "learning_rate": 1e-3,
    "seconds": 1.0,
    "images_per_second": 2.0,
    "memory_mb": 100,
}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path, "run")
    folder.open()
    return folder


def test_lines_and_stats(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(folder)
    log.say("two\nlines")
    log.start(0, 0, 100)
    log.tick("phase I  epoch 1/2", 2, RECORD["losses"])
    log.stats("phase I  epoch 1/2", RECORD, 75.0)
    log.close()
    assert [line[21:] for line in folder.log_path.read_text().splitlines()] == ["two", "lines"]
    assert json.loads(folder.stats_path.read_text()) == RECORD
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "two",
        "lines",
        "phase I  epoch 1/2  step 5  gan 0.250  fake 1.000  2.00 images/s  75 s left",
    ]


def test_events_are_written(folder: RunFolder) -> None:
    pytest.importorskip("tensorboardX")
    log = Log(folder)
    log.start(0, 0, 100)
    log.stats("", RECORD, 0.0)
    log.close()
    events = list(folder.path.glob("events.*"))
    assert len(events) == 1
    assert b"loss/gan" in events[0].read_bytes()


def test_a_silent_log_writes_nothing(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(folder, silent=True)
    log.say("a")
    log.start(0, 0, 100)
    log.tick("", 2, {})
    log.stats("", RECORD, 0.0)
    log.close()
    assert not folder.log_path.exists() and not folder.stats_path.exists()
    assert capsys.readouterr().out == ""


def test_speed_leaves_the_compilation_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    speed = Speed()
    assert speed.images_per_second == 0
    now += 60
    speed.add(4)
    assert speed.images_per_second == pytest.approx(4 / 60)
    for _ in range(100):
        now += 2
        speed.add(4)
        assert speed.images_per_second == pytest.approx(2)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4.2, "4 s"),
        (99, "99 s"),
        (120, "2 min"),
        (5900, "98 min"),
        (12000, "3 h 20 min"),
        (200000, "2 d 7 h"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert describe_time(seconds) == text


def test_losses() -> None:
    assert describe_losses({"gan": 1.23456, "vgg": 10.0}) == "gan 1.235  vgg 10.000"
