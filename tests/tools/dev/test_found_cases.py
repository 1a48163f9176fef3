"""Cases of seed 0 in which the fault campaign once found a failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runtime import ROOT

FOUND = {
    23: "the program waited for a pipe in place of a snapshot",
    63: "the program waited for a pipe in place of drop.txt",
    204: "a sparse style photo of 40 GB was hashed for minutes",
    401: "a PNG that claims 3.6 gigapixels was decoded for its EXIF",
    505: "a sparse photo of 40 GB was read into memory for its hash",
    525: "training resumed from a state whose progress.json had no step",
    603: "a style photo that claims 3.6 gigapixels was decoded for its EXIF",
    640: "the program waited for a pipe in place of a run's command.txt",
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the first case makes intact files, with those of a short training."""
    return tmp_path_factory.mktemp("campaign")


@pytest.mark.parametrize("number", FOUND)
def test_a_failure_found_once_is_fixed(work: Path, number: int) -> None:
    # A child process: threads of the test process would not survive the campaign's forks.
    words = ["inputs", "--output_path", str(work), "--seed", "0", "--case", str(number)]
    done = subprocess.run(
        [sys.executable, "-m", "tools.dev.fault_campaign", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, FOUND[number] + done.stdout
