"""The log of a run: its files, and writes that fail."""

from __future__ import annotations

import errno
import io
import json
import re
import resource
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from training import log as log_module
from training.log import Log, Speed, describe_losses, describe_time
from training.run_folder import RunFolder

RECORD: dict[str, Any] = {
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
    log.info("two\nlines")
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


def read_records(path: Path) -> list[bytes]:
    """The complete records of a file of TensorBoard events."""
    content, records = path.read_bytes(), []
    while len(content) >= 12:
        (length,) = struct.unpack("<Q", content[:8])
        if len(content) < 16 + length:
            break
        records.append(content[12 : 12 + length])
        content = content[16 + length :]
    return records


def test_a_full_disk_raises_no_error(
    folder: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "RETRY_SECONDS", -1.0)
    threads = threading.active_count()
    log = Log(folder)
    log.info("before")
    log.start(0, 0, 100)
    log.stats("", RECORD, 0.0)
    # A file-size limit instead of a full disk: a write may still store half of its bytes.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    longest = max(p.stat().st_size for p in (folder.log_path, folder.stats_path))
    with monkeypatch.context() as patch:
        patch.setattr(log_module, "FLUSH_SECONDS", 0.0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (longest + 5, limits[1]))
        try:
            for step in (6, 7):
                log.info("x" * 300)
                log.stats("", {**RECORD, "step": step}, 0.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.info("after")
    log.stats("", {**RECORD, "step": 8}, 0.0)
    log.close()
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 3  # one line per file, however often it fails
    for name in ("log.txt", "stats.jsonl", "TensorBoard's events"):
        assert re.search(rf"{name}.*: cannot be written \(File too large\)", stderr)
    assert [line[21:] for line in folder.log_path.read_text().splitlines()] == ["before", "after"]
    stats = [json.loads(line) for line in folder.stats_path.read_text().splitlines()]
    assert [record["step"] for record in stats] == [5, 8]
    events = sorted(folder.path.glob("events.*"), key=lambda path: int(path.suffix[1:]))
    assert [sum(b"loss/gan" in r for r in read_records(p)) for p in (events[0], events[-1])] == [
        *(1, 1)
    ]
    assert all(path.stat().st_size for path in events)
    assert threading.active_count() == threads


@pytest.mark.parametrize("name", ["log.txt", "stats.jsonl"])
def test_a_file_that_refuses_every_byte(
    folder: RunFolder, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.path / name).symlink_to("/dev/full")
    log = Log(folder)
    for _ in range(3):
        log.info("a")
        log.stats("", RECORD, 0.0)
    assert capsys.readouterr().err.count(f"{name}: cannot be written (No space left") == 1
    (folder.path / name).unlink()  # space is free again
    log.info("b")
    log.stats("", RECORD, 0.0)
    log.close()
    assert len((folder.path / name).read_text().splitlines()) == 1
    assert capsys.readouterr().err == ""


def test_a_closed_terminal(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

    class Bar:
        def set_description_str(self, *_: Any, **__: Any) -> None:
            raise OSError(errno.EIO, "Input/output error")

    log = Log(folder)
    log._bar = Bar()
    monkeypatch.setattr(sys, "stdout", Closed())
    for _ in range(3):
        log.tick("phase I", 2, RECORD["losses"])
        log.info("a")
        log.stats("", RECORD, 0.0)
    assert capsys.readouterr().err.count("the terminal or its file: cannot be written") == 1
    monkeypatch.setattr(sys, "stderr", Closed())
    Log(folder).info("b")
    log.close()
    assert len(folder.log_path.read_text().splitlines()) == 4


def test_characters_that_the_terminal_lacks_are_escaped(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with open(tmp_path / "out", "w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        Log(folder).info("风景 \udcd6.png")
    assert (tmp_path / "out").read_text() == "\\u98ce\\u666f \\udcd6.png\n"
    assert folder.log_path.read_text(encoding="utf-8").endswith("风景 \\udcd6.png\n")


def test_a_failure_to_cut_the_stats_is_reported(
    folder: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, step: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(log_module, "cut_stats", refuse)
    log = Log(folder)
    log.start(5, 0, 100)
    log.close()
    assert "stats.jsonl: Read-only file system; later steps stay in it" in capsys.readouterr().err


def test_a_silent_log_writes_nothing(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(folder, silent=True)
    log.info("a")
    log.start(0, 0, 100)
    log.tick("", 2, {})
    log.stats("", RECORD, 0.0)
    log.close()
    assert not folder.log_path.exists() and not folder.stats_path.exists()
    assert capsys.readouterr().out == ""


def test_speed_excludes_the_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
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
