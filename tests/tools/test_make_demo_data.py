"""python -m tools.make_demo_data: flags, exit codes, and what train.py calls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.make_demo_data import main, make

ROOT = Path(__file__).resolve().parents[2]


def test_make_draws_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    assert make(root, count=2, height=32, width=48, progress=False) == 3
    assert len(list((root / "train" / "imgs").iterdir())) == 2
    assert len(list((root / "val" / "labels").iterdir())) == 1
    assert make(str(root), count=2, height=32, width=48, progress=False) == 0


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--count", "11", "--size", "32", "40", "--seed", "3", "--workers", "1"]
    flags += ["--output-path", str(tmp_path / "demo"), "--test_count", "2"]
    assert main(flags) == 0
    assert "drawn: 13" in capsys.readouterr().out
    assert (tmp_path / "demo" / "train" / "imgs" / "demo_3_000010.jpg").is_file()
    assert main(flags) == 0
    assert "complete already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--count", "0"], "count must be 1 or more: 0"),
        (["--count", "many"], "'many' is no whole number"),
        (["--size", "16", "16"], "32 to 4096 pixels: 16 x 16"),
        (["--workers", "-1"], "workers must be 0 or more: -1"),
        (["--colour"], "--colour"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    assert main(["--output_path", str(tmp_path / "demo"), *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert words in captured.err
    assert not (tmp_path / "demo").exists()


def test_the_output_path_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "--output_path" in capsys.readouterr().err


def test_as_a_program(tmp_path: Path) -> None:
    """Also with helper processes, which must not need the main program."""
    command = [sys.executable, "-m", "tools.make_demo_data", "--output_path", str(tmp_path)]
    command += ["--count", "28", "--size", "32", "32", "--workers", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [f"drawn: 30 pairs and test layouts in {tmp_path}"],
    )
    assert done.stderr == ""  # no terminal: no bar
    foreign = tmp_path / "train"
    command[4] = str(foreign)
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ") and refused.stderr.count("\n") == 1
