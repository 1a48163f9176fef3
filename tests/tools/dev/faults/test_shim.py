"""The preloaded shim: which change of the file system fails, and how."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.dev.faults.shim import FaultKind, Shim

# Its changes: create x, write it, flush it to disk, rename it to y, remove y.
PROGRAM = """import os
with open("x", "wb", buffering=0) as file:
    file.write(bytes(100))
    os.fsync(file.fileno())
os.replace("x", "y")
os.unlink("y")
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Shim:
    return Shim(tmp_path_factory.mktemp("shim"))


def run_with(shim: Shim, folder: Path, at: int, kind: FaultKind) -> tuple[int, dict[str, int]]:
    """The exit code and the file sizes of the program with that fault."""
    environment = os.environ | shim.environment(folder, at, kind)
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, env=environment)
    return done.returncode, {path.name: path.stat().st_size for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("at", "kind", "code", "left"),
    [
        (0, "kill", 0, {}),
        (1, "kill", -9, {}),
        (2, "kill", -9, {"x": 0}),
        (4, "kill", -9, {"x": 100}),
        (5, "kill", -9, {"y": 100}),
        (2, "tear", -9, {"x": 50}),
        (4, "tear", -9, {"y": 100}),
        (5, "tear", -9, {}),
        (1, "full", 1, {}),
        (2, "full", 1, {"x": 0}),
        (4, "full", 0, {}),
        (4, "error", 1, {"x": 100}),
    ],
)
def test_a_chosen_change_of_the_file_system_fails(
    shim: Shim, tmp_path: Path, at: int, kind: FaultKind, code: int, left: dict[str, int]
) -> None:
    assert run_with(shim, tmp_path, at, kind) == (code, left)


def test_only_changes_in_the_folder_are_counted(shim: Shim, tmp_path: Path) -> None:
    run_with(shim, tmp_path, 0, "kill")
    assert shim.calls() == 5
    environment = os.environ | shim.environment(tmp_path / "other", 1, "kill")
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment)
    assert (done.returncode, shim.calls()) == (0, 0)
