"""python -m tools.make_demo_data: flags, exit codes, and the function that train.py calls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from data.synthetic.dataset import make_demo_dataset
from runtime import ROOT
from tools.make_demo_data import main


def test_the_dataset_is_rendered_once(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    assert make_demo_dataset(root, count=2, height=32, width=48, progress=False) == 3
    assert len(list((root / "train" / "imgs").iterdir())) == 2
    assert len(list((root / "val" / "labels").iterdir())) == 1
    assert make_demo_dataset(str(root), count=2, height=32, width=48, progress=False) == 0


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--count", "11", "--size", "32", "40", "--seed", "3", "--workers", "1"]
    flags += ["--output-path", str(tmp_path / "demo"), "--test_count", "2"]
    assert main(flags) == 0
    assert "rendered: 13" in capsys.readouterr().out
    assert (tmp_path / "demo" / "train" / "imgs" / "demo_3_000010.jpg").is_file()
    assert main(flags) == 0
    assert "already complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--count", "0"], "--count: expected 1 or more, got 0"),
        (["--count", "many"], "expected an integer, got 'many'"),
        (["--size", "16", "16"], "32 to 4096 pixels, got 16 x 16"),
        (["--workers", "-1"], "--workers: expected 0 or more, got -1"),
        (["--color"], "--color"),
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


def test_the_output_path_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "--output_path" in capsys.readouterr().err


def test_as_a_program(tmp_path: Path) -> None:
    """Helper processes must not need the main program."""
    command = [sys.executable, "-m", "tools.make_demo_data", "--output_path", str(tmp_path)]
    command += ["--count", "28", "--size", "32", "32", "--workers", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [f"rendered: 30 pairs and test layouts in {tmp_path}"],
    )
    assert done.stderr == ""  # no terminal: no bar
    command[4] = str(tmp_path / "train")
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ") and refused.stderr.count("\n") == 1
