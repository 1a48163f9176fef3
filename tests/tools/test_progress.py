"""A bar on a terminal, lines in a log file."""

from __future__ import annotations

import sys

import pytest

from tools import progress
from tools.progress import ProgressBar


def test_without_a_terminal_it_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressBar("drawing", "images") as show:
        for done in range(100):
            show(done, 100)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "SECONDS_PER_LINE", 0)
    with ProgressBar("drawing", "images") as show:
        show(3, 100)
    assert capsys.readouterr().err == "drawing: 3 of 100 images\n"


def test_on_a_terminal_it_is_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "DELAY", 0)
    with ProgressBar("drawing", "images") as show:
        show(1, 4)
        show(4, 4)
    said = capsys.readouterr().err
    assert "drawing:" in said and "4/4" in said
