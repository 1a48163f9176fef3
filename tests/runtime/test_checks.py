"""Requirements of Jittor that are not met."""

from __future__ import annotations

import importlib.metadata
import sys
import sysconfig
from pathlib import Path

import pytest

from options.errors import UserError
from runtime import checks
from runtime.settings import INHERITED


def test_problems_of_a_start_are_known_before_other_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(INHERITED, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    checks.check_machine()
    assert (tmp_path / ".cache/jittor/landscape").is_dir()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="expected a writable folder"):
        checks.check_machine()
    monkeypatch.setenv("cc_path", "/nowhere/g++")
    with pytest.raises(UserError, match=r"^C\+\+ compiler: expected /nowhere/g\+\+, got none"):
        checks.check_machine()


def test_numpy_2_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.1.0")
    problem = checks.check_packages({})
    assert problem and str(problem).startswith("numpy: expected a version below 2")
    assert "got 2.1.0. Run `bash train.sh`" in str(problem)


def test_missing_headers_name_their_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    problem = checks.check_headers({})
    assert problem and problem.fix.endswith(f"apt-get install python3.{sys.version_info[1]}-dev")


def test_a_missing_compiler_names_its_package() -> None:
    problem = checks.check_compiler({"PATH": "/nowhere"})
    assert problem and str(problem).startswith("C++ compiler: expected g++, got none. Run ")
    assert problem.fix.endswith("apt-get install g++")
