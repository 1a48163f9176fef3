"""Runs a program in a fork of this process, with limits on time and memory."""

from __future__ import annotations

import contextlib
import os
import resource
import runpy
import signal
import sys
import time
from pathlib import Path

from runtime import ROOT

HANG_SECONDS = 60.0
MEMORY = 12 << 30  # bytes; a program that reads too much exceeds them
PROGRAMS = {
    "train": "train.py",
    "test": "test.py",
    "convert": "tools.convert_checkpoint",
    "filter": "tools.filter_dataset",
    "demo": "tools.make_demo_data",
}


def run_alone(program: str, arguments: list[str], place: Path) -> tuple[int | None, str]:
    """Run a program in a fork of this process, which has imported everything but Jittor.

    Returns its exit code, None if it hangs, and its output.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    log = place / "output.txt"
    child = os.fork()
    if child == 0:
        os.setsid()
        _become(program, arguments, place, log)
    deadline = time.monotonic() + HANG_SECONDS
    code: int | None = None
    while code is None:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > deadline:
            break
        else:
            time.sleep(0.01)
    _end_session(child)
    if code is None:
        os.waitpid(child, 0)
    return code, log.read_text(errors="replace")


def _become(program: str, arguments: list[str], place: Path, log: Path) -> None:
    code = 70
    try:
        os.chdir(place)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        empty = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((empty, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        sys.stdout = open(1, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        name = PROGRAMS[program]
        sys.argv = [name, *arguments]
        if name.endswith(".py"):
            runpy.run_path(str(ROOT / name), run_name="__main__")
        else:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(bool(error.code))
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _end_session(session: int) -> None:
    """Kill all remaining processes of a session."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError, ProcessLookupError):
            if int(path.read_text().rpartition(")")[2].split()[3]) == session:
                os.kill(int(path.parent.name), signal.SIGKILL)
