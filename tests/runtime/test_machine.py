"""The folders of Jittor and of the set-up, and their files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from options.errors import UserError
from runtime.machine import first_line, jittor_home, write_atomically


def test_jittor_home_is_found_as_jittor_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert jittor_home({}) == tmp_path
    config = tmp_path / ".cache/jittor/config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"JITTOR_HOME": "/elsewhere"}))
    assert jittor_home({}) == Path("/elsewhere")
    assert jittor_home({"JITTOR_HOME": "/third"}) == Path("/third")
    assert json.loads(config.read_text()) == {"JITTOR_HOME": "/elsewhere"}
    config.write_text("{")
    with pytest.raises(UserError, match=r"config\.json: expected a JSON object"):
        jittor_home({})


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_atomically(tmp_path / "note", "old")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "note", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_the_first_line_of_a_command() -> None:
    assert first_line(["sh", "-c", "echo one; echo two"]) == "one"
    assert first_line(["/nowhere/program"]) == ""
