"""Compares the --help output of every program with docs/help.

python -m tests.test_help       writes docs/help again
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs/help"
COLUMNS = "100"


class _Captured(Exception):
    """Carries the parser of a program, which then does not run."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def programs() -> list[str]:
    """The modules of train.py, test.py and of every program with a ToolParser."""
    found = {"train", "test"}
    for folder in ("runtime", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            found.update(re.findall(r"\bToolParser\(\s*\"([\w.]+)\"", path.read_text("utf-8")))
    return sorted(found - {"tools.name"})  # the example of ToolParser's documentation


def help_of(program: str, patch: pytest.MonkeyPatch) -> str:
    """The --help output of a program at a width of 100 columns, with that of its subcommands."""

    def capture(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise _Captured(parser)

    patch.setenv("COLUMNS", COLUMNS)
    patch.setattr(argparse.ArgumentParser, "parse_known_args", capture)
    main: Callable[[list[str]], int] = importlib.import_module(program).main
    with pytest.raises(_Captured) as caught:
        main([])
    return "\n".join(parser.format_help() for parser in _with_subcommands(caught.value.parser))


def _with_subcommands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    parsers = [parser]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            parsers += action.choices.values()
    return parsers


@pytest.mark.parametrize("program", programs())
def test_docs_show_the_help_of(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = FOLDER / f"{program}.txt"
    recorded = path.read_text("utf-8") if path.is_file() else ""
    current = help_of(program, monkeypatch)
    fix = f"{path.relative_to(ROOT)} is out of date: run python -m tests.test_help"
    assert recorded == current, fix


def test_docs_show_no_other_help() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(programs())


def write() -> None:
    """Writes the help of every program and removes other files."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        path.unlink()
    for program in programs():
        with pytest.MonkeyPatch.context() as patch:
            (FOLDER / f"{program}.txt").write_text(help_of(program, patch), "utf-8")
    print(f"{FOLDER.relative_to(ROOT)}: {len(programs())} files")


if __name__ == "__main__":
    write()
