"""Makes the n-th change of the file system in a program fail (shim.c, preloaded)."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import Literal

from options.errors import UserError

FaultKind = Literal["kill", "tear", "full", "error"]
SOURCE = Path(__file__).with_name("shim.c")


class Shim:
    """The compiled shim and its call counter; shim.c describes the kinds of faults."""

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

    def environment(self, folder: Path, at: int, kind: FaultKind) -> dict[str, str]:
        """The environment of a program whose call number `at` below `folder` fails; 0: none."""
        self.counter.write_bytes(bytes(8))
        return {
            "LD_PRELOAD": str(self.library),
            "FAULT_FOLDER": str(folder.resolve()),
            "FAULT_COUNTER": str(self.counter),
            "FAULT_AT": str(at),
            "FAULT_KIND": kind,
        }

    def calls(self) -> int:
        """The number of calls that the last program made."""
        (number,) = struct.unpack("<Q", self.counter.read_bytes())
        return int(number)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process and all its descendants, children first."""
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
