"""Compiling Jittor's core, with a stub of Jittor in its own process."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.core import telling_line
from tests.runtime.stub import PROGRAM, Stub


def test_the_core_is_compiled_once_in_another_process(stub: Stub) -> None:
    first = stub.run()
    assert (first.returncode, first.stdout) == (0, "cpu True True\n"), first
    # only the reason for the CPU, and no output of Jittor
    assert len(first.stderr.splitlines()) == 1 and first.stderr.startswith("CPU: ")
    assert stub.imports == 2
    second = stub.run()
    assert second.stdout == first.stdout
    assert stub.imports == 3


def test_a_jittor_that_asks_for_a_restart_is_restarted(stub: Stub) -> None:
    done = stub.run(STUB_BEHAVIOR="rerun")
    assert (done.returncode, done.stdout) == (0, "cpu True True\n")
    assert stub.imports == 3


def test_a_failed_compilation_is_one_line_with_the_log(stub: Stub) -> None:
    done = stub.run(STUB_BEHAVIOR="fails")
    assert done.returncode == 2
    assert done.stdout.startswith("error: Jittor: compilation failed: fatal error: no such header")
    log = re.search(r"\(whole log: (\S+)\)", done.stdout)
    assert log and "no such header" in Path(log[1]).read_text()
    # no success is recorded
    assert stub.run().returncode == 0
    assert stub.imports == 3


def test_a_removed_cache_is_compiled_again(stub: Stub) -> None:
    stub.run()
    shutil.rmtree(stub.folder / "landscape-cpu")
    stub.run()
    assert stub.imports == 4


def test_other_flags_compile_again(stub: Stub) -> None:
    stub.run()
    stub.run(cc_flags="-O3")
    assert stub.imports == 4


def test_a_stopped_compilation_leaves_nothing_running(stub: Stub) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**stub.env, "STUB_BEHAVIOR": "slow"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    mark = stub.folder / "pid"
    for _ in range(200):
        if mark.exists() and mark.read_text():
            break
        time.sleep(0.05)
    process.send_signal(2)
    assert process.wait(timeout=10) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_several_starts_at_once_compile_once(stub: Stub) -> None:
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=stub.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(3)
    ]
    assert [process.communicate(timeout=60)[0] for process in starts] == ["cpu True True\n"] * 3
    assert stub.imports <= 4


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (
            "Compiling\r\x1b[31mx.cu(3): fatal error: no such file\x1b[0m\nerror: more\nend",
            "x.cu(3): fatal error: no such file",
        ),
        ("ValueError: first\nand then\nRuntimeError: at last\n  at exit", "RuntimeError: at last"),
        ("Check failed: 1 == 2\n\x1b[m\n", "Check failed: 1 == 2"),
        ("", "no output"),
    ],
)
def test_the_most_informative_line_of_a_failure(output: str, line: str) -> None:
    assert telling_line(output) == line
