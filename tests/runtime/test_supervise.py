"""Signals and crashes of real processes: who receives them, and the exit codes."""

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
from runtime.supervise import supervise

def work():
    print("child", os.getpid(), flush=True)
    signal.signal(signal.SIGINT, lambda *_: print("asked", flush=True))
    signal.signal(signal.SIGTERM, lambda *_: print("terminated", flush=True))
    signal.signal(signal.SIGHUP, lambda *_: print("hung up", flush=True))
"""
# for a child that keeps the inherited handlers
PLAIN = HEAD.rpartition("    signal.signal(signal.SIGINT")[0]


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def start(
    started: list[subprocess.Popen[str]],
    work: str,
    ignored: tuple[signal.Signals, ...] = (),
    head: str = HEAD,
) -> tuple[subprocess.Popen[str], int]:
    """A program that runs the given lines, and its child; its group is like a terminal's."""
    code = head + textwrap.indent(textwrap.dedent(work), "    ") + "\nsys.exit(supervise(work))"
    trap = " ".join(number.name.removeprefix("SIG") for number in ignored)
    shell = (f"trap '' {trap}; " if trap else "") + 'exec "$@"'
    process = subprocess.Popen(
        ["sh", "-c", shell, "sh", sys.executable, "-c", code],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
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


def test_the_exit_code_is_that_of_the_child(started: list[subprocess.Popen[str]]) -> None:
    process, _ = start(started, "return 7")
    assert process.wait(10) == 7
    process, _ = start(started, "time.sleep(.2); os.kill(os.getpid(), signal.SIGKILL)")
    assert process.wait(10) == 128 + signal.SIGKILL
    process, _ = start(started, "raise ValueError")
    assert process.wait(10) == 1


def test_the_child_gets_ctrl_c_and_its_children_do_not(
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
    [(signal.SIGINT, "asked"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "hung up")],
)
def test_each_signal_is_forwarded(
    started: list[subprocess.Popen[str]], number: signal.Signals, word: str
) -> None:
    process, _ = start(started, "time.sleep(.5); return 3")
    process.send_signal(number)
    output, _ = process.communicate(timeout=10)
    assert (output, process.returncode) == (f"{word}\n", 3)


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (signal.SIGINT, signal.SIGINT, 130),
        (signal.SIGTERM, signal.SIGTERM, 143),
        (signal.SIGINT, signal.SIGTERM, 143),
    ],
)
def test_the_second_signal_kills_the_child_and_its_children(
    started: list[subprocess.Popen[str]],
    first: signal.Signals,
    second: signal.Signals,
    code: int,
) -> None:
    process, child = start(
        started,
        """
        compiler = subprocess.Popen(["sleep", "30"])
        print(compiler.pid, flush=True)
        sum(range(10**11))  # one instruction to Python, like a training step in Jittor
        """,
    )
    assert process.stdout is not None
    compiler = int(process.stdout.readline())
    process.send_signal(first)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(second)
    assert process.wait(10) == code
    time.sleep(0.1)
    assert gone(child) and gone(compiler)
    assert process.stderr is not None
    assert process.stderr.read() == "killed; saved files are kept\n"


def test_a_closing_terminal_hangs_up_repeatedly_and_kills_no_process(
    started: list[subprocess.Popen[str]],
) -> None:
    process, _ = start(started, "time.sleep(1); return 3")
    # from the kernel, the shell and a session manager, which may send it again
    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(number)
        time.sleep(0.1)
    output, _ = process.communicate(timeout=10)
    assert output == "hung up\nhung up\nterminated\nhung up\n"
    assert process.returncode == 3


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGQUIT]
)
def test_ignored_signals_stay_ignored(
    started: list[subprocess.Popen[str]], number: signal.Signals
) -> None:
    work = "time.sleep(.6); return 3"
    process, child = start(started, work, ignored=(number,), head=PLAIN)
    for _ in range(2):
        os.killpg(process.pid, number)
        os.kill(child, number)
        time.sleep(0.1)
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors) == (3, "", "")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_other_signals_are_received_despite_ignored_ones(
    started: list[subprocess.Popen[str]], number: signal.Signals, code: int
) -> None:
    others = tuple({signal.SIGINT, signal.SIGTERM, signal.SIGHUP} - {number})
    process, child = start(started, "time.sleep(9)", ignored=others, head=PLAIN)
    process.send_signal(number)
    assert process.wait(10) == code
    assert gone(child)


def test_a_child_that_ignores_requests_still_ends_with_its_parent(
    started: list[subprocess.Popen[str]],
) -> None:
    every = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    process, child = start(started, "time.sleep(9)", ignored=every, head=PLAIN)
    process.kill()
    process.wait(10)
    time.sleep(0.2)
    assert gone(child)


def test_children_are_waitable_if_sigchld_was_ignored(
    started: list[subprocess.Popen[str]],
) -> None:
    work = "return subprocess.run(['sh', '-c', 'exit 5']).returncode"
    process, _ = start(started, work, ignored=(signal.SIGCHLD,), head=PLAIN)
    assert process.wait(10) == 5


def test_out_of_memory_is_one_line() -> None:
    done = run("os.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == 137
    assert done.stderr.startswith(
        "killed (exit code 137), not by this program, usually because memory"
    )


def test_the_child_stops_when_its_parent_is_killed(started: list[subprocess.Popen[str]]) -> None:
    process, child = start(started, "time.sleep(.5); return 0")
    process.kill()
    assert process.stdout is not None
    assert process.stdout.read() == "terminated\n"
    time.sleep(0.1)
    assert gone(child)


def test_ctrl_z_suspends_both(started: list[subprocess.Popen[str]]) -> None:
    process, child = start(started, "time.sleep(.5); return 4")
    # In a group without a terminal the kernel ignores SIGTSTP by default.
    process.send_signal(signal.SIGTSTP)
    time.sleep(0.2)
    state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
    assert state == "T"
    process.send_signal(signal.SIGCONT)
    assert process.wait(10) == 4


def test_under_mpirun_the_work_runs_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.supervise import supervise

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
        ("os._exit(1)", 1),  # as Jittor exits after a fault that it has caught
    ],
)
def test_a_crashed_program_is_started_again(tmp_path: Path, death: str, code: int) -> None:
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
def test_other_exits_are_not_started_again(tmp_path: Path, death: str, code: int) -> None:
    log = str(tmp_path / "log")
    done = run(COUNTED.format(log=log) + f"\n{death}")
    assert done.returncode == code and "starting again" not in done.stderr
    assert len(Path(log).read_text().splitlines()) == 1


def test_a_crash_after_ctrl_c_ends_the_program(started: list[subprocess.Popen[str]]) -> None:
    process, _ = start(started, "signal.pause(); os.abort()")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 128 + signal.SIGABRT


def test_signals_reach_a_program_that_was_started_again(
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
    """Runs a program of the given lines to its end."""
    code = HEAD + textwrap.indent(textwrap.dedent(work), "    ") + "\nsys.exit(supervise(work))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=30
    )
