"""Cases in which the fault campaign once found a failure, each by its number under seed 0."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOUND = {
    23: "a pipe in the place of a snapshot was waited for",
    63: "a pipe in the place of drop.txt was waited for",
    204: "a style photograph of 40 GB, all holes, was hashed for minutes",
    401: "a PNG that says it has 3.6 gigapixels was decoded to look for its EXIF",
    505: "a photograph of 40 GB, all holes, was read into memory to be hashed",
    525: "a state whose progress.json had no step was resumed from",
    603: "a style photograph that says it has 3.6 gigapixels was decoded likewise",
    640: "a pipe in the place of a run's command.txt was waited for",
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first case makes the sound files, a short training's among them."""
    return tmp_path_factory.mktemp("campaign")


@pytest.mark.parametrize("number", FOUND)
def test_what_failed_once_passes(work: Path, number: int) -> None:
    # A process of its own: threads of the tests' process would not survive the campaign's forks.
    words = ["inputs", "--output_path", str(work), "--seed", "0", "--case", str(number)]
    done = subprocess.run(
        [sys.executable, "-m", "tools.dev.fault_campaign", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, FOUND[number] + done.stdout
