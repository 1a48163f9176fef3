"""Runs a program whose n-th change of the file system goes wrong (shim.c, preloaded)."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import Literal

from options.errors import UserError

Deed = Literal["kill", "tear", "full", "error"]
SOURCE = Path(__file__).with_name("shim.c")


class Shim:
    """The compiled shim, and the counter of one program's calls; see shim.c for the deeds."""

    def __init__(self, work: Path) -> None:
        self.library = work / "shim.so"
        self.counter = work / "calls"
        command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(self.library), str(SOURCE), "-ldl"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(
                f"gcc: expected to compile {SOURCE}, got "
                f"{getattr(error, 'stderr', None) or error}. Install gcc."
            ) from None

    def environment(self, folder: Path, at: int, deed: Deed) -> dict[str, str]:
        """The variables of a program whose call number `at` below `folder` goes wrong; 0: none."""
        self.counter.write_bytes(bytes(8))
        return {
            "LD_PRELOAD": str(self.library),
            "FAULT_FOLDER": str(folder.resolve()),
            "FAULT_COUNTER": str(self.counter),
            "FAULT_AT": str(at),
            "FAULT_DEED": deed,
        }

    def calls(self) -> int:
        """How many calls the last program made."""
        (number,) = struct.unpack("<Q", self.counter.read_bytes())
        return int(number)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process and everything that it has started, children first."""
    for pid in (*reversed(_descendants(process.pid)), process.pid):
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue
    process.wait()


def _descendants(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    children = [int(word) for word in text.split()]
    return children + [below for child in children for below in _descendants(child)]
