"""A bar on a terminal, lines in a log file."""

from __future__ import annotations

import sys

import pytest

from runtime import progress
from runtime.progress import ProgressBar


def test_a_log_file_gets_a_line_per_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressBar("rendering", "images") as show:
        for done in range(100):
            show(done, 100)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "SECONDS_PER_LINE", 0)
    with ProgressBar("rendering", "images") as show:
        show(3, 100)
    assert capsys.readouterr().err == "rendering: 3 of 100 images\n"


def test_a_terminal_gets_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "DELAY", 0)
    with ProgressBar("rendering", "images") as show:
        show(1, 4)
        show(4, 4)
    bar = capsys.readouterr().err
    assert "rendering:" in bar and "4/4" in bar
