"""Ctrl-C on real processes: who gets it, and what they leave with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
HEAD = """
import os, signal, subprocess, sys, time
from tools.supervise import supervise

def work():
    print("child", os.getpid(), flush=True)
    signal.signal(signal.SIGINT, lambda *_: print("asked", flush=True))
    signal.signal(signal.SIGTERM, lambda *_: print("told", flush=True))
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def start(started: list[subprocess.Popen[str]], work: str) -> tuple[subprocess.Popen[str], int]:
    """A program whose work is the given lines, and its child; its group is like a terminal's."""
    code = HEAD + textwrap.indent(textwrap.dedent(work), "    ") + "\nsys.exit(supervise(work))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    started.append(process)
    assert process.stdout is not None
    word, child = process.stdout.readline().split()
    assert word == "child"
    time.sleep(0.1)
    return process, int(child)


def gone(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_the_exit_code_is_the_childs(started: list[subprocess.Popen[str]]) -> None:
    process, _ = start(started, "return 7")
    assert process.wait(10) == 7
    process, _ = start(started, "time.sleep(.2); os.kill(os.getpid(), signal.SIGKILL)")
    assert process.wait(10) == 128 + signal.SIGKILL
    process, _ = start(started, "raise ValueError")
    assert process.wait(10) == 1


def test_the_child_gets_ctrl_c_and_what_it_started_does_not(
    started: list[subprocess.Popen[str]],
) -> None:
    process, _ = start(
        started,
        """
        compiler = subprocess.Popen(["sh", "-c", "sleep .6; exit 5"])
        print("compiler", compiler.wait(), flush=True)
        return 130
        """,
    )
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=10)
    assert output == "asked\ncompiler 5\n"
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("number", "word"),
    [(signal.SIGINT, "asked"), (signal.SIGTERM, "told"), (signal.SIGHUP, "told")],
)
def test_each_signal_is_handed_on(
    started: list[subprocess.Popen[str]], number: signal.Signals, word: str
) -> None:
    process, _ = start(started, "time.sleep(.5); return 3")
    process.send_signal(number)
    output, _ = process.communicate(timeout=10)
    assert (output, process.returncode) == (f"{word}\n", 3)


def test_the_second_kills_at_once_with_all_that_was_started(
    started: list[subprocess.Popen[str]],
) -> None:
    process, child = start(
        started,
        """
        compiler = subprocess.Popen(["sleep", "30"])
        print(compiler.pid, flush=True)
        sum(range(10**11))  # one instruction to Python, as a step of Jittor is
        """,
    )
    assert process.stdout is not None
    compiler = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 128 + signal.SIGKILL
    time.sleep(0.1)
    assert gone(child) and gone(compiler)


def test_the_child_stops_when_its_parent_is_killed(started: list[subprocess.Popen[str]]) -> None:
    process, child = start(started, "time.sleep(.5); return 0")
    process.kill()
    assert process.stdout is not None
    assert process.stdout.read() == "told\n"
    time.sleep(0.1)
    assert gone(child)


def test_ctrl_z_suspends_both(started: list[subprocess.Popen[str]]) -> None:
    process, child = start(started, "time.sleep(.5); return 4")
    # To a group without a terminal to go on in, SIGTSTP's default would be ignored.
    process.send_signal(signal.SIGTSTP)
    time.sleep(0.2)
    state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
    assert state == "T"
    process.send_signal(signal.SIGCONT)
    assert process.wait(10) == 4


def test_under_mpirun_the_work_is_done_right_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from tools.supervise import supervise

    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    here = os.getpid()
    assert supervise(lambda: 9 if os.getpid() == here else 1) == 9


COUNTED = """
with open({log!r}, "a") as log:
    log.write("started\\n")
times = len(open({log!r}).readlines())
"""


@pytest.mark.parametrize(
    ("death", "code"),
    [
        ("os.abort()", 128 + signal.SIGABRT),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 128 + signal.SIGSEGV),
        ("os._exit(1)", 1),  # as Jittor leaves after a fault that it has caught
    ],
)
def test_a_crash_is_started_again(tmp_path: Path, death: str, code: int) -> None:
    log = str(tmp_path / "log")
    for crashes, expected in ((2, 0), (9, code)):
        Path(log).unlink(missing_ok=True)
        work = COUNTED.format(log=log) + f"\nif times <= {crashes}: {death}\nreturn 0"
        done = run(work)
        assert done.returncode == expected
        assert len(Path(log).read_text().splitlines()) == min(crashes, 3) + 1
        assert done.stderr.count("starting again") == min(crashes, 3)


@pytest.mark.parametrize(
    ("death", "code"),
    [
        ("return 1", 1),
        ("raise ValueError('own')", 1),
        ("sys.exit(1)", 1),
        ("os._exit(2)", 2),
        ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL),
    ],
)
def test_what_is_no_crash_is_not_started_again(tmp_path: Path, death: str, code: int) -> None:
    log = str(tmp_path / "log")
    done = run(COUNTED.format(log=log) + f"\n{death}")
    assert done.returncode == code and "starting again" not in done.stderr
    assert len(Path(log).read_text().splitlines()) == 1


def test_a_crash_after_ctrl_c_ends(started: list[subprocess.Popen[str]]) -> None:
    process, _ = start(started, "signal.pause(); os.abort()")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 128 + signal.SIGABRT


def test_signals_reach_a_work_that_was_started_again(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    work = COUNTED.format(log=str(tmp_path / "log"))
    process, first = start(started, work + "\nif times == 1: os.abort()\nsignal.pause()\nreturn 7")
    assert process.stdout is not None
    word, second = process.stdout.readline().split()
    assert word == "child" and int(second) != first
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 7
    assert process.stdout.read() == "asked\n"


def run(work: str) -> subprocess.CompletedProcess[str]:
    """A program whose work is the given lines, to its end."""
    code = HEAD + textwrap.indent(textwrap.dedent(work), "    ") + "\nsys.exit(supervise(work))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=30
    )
