"""Ctrl-C on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from runtime.stop import Interrupted, Stopped, interrupt_on_signal, stop_on_signal

REPOSITORY = Path(__file__).parents[2]


def run(code: str) -> subprocess.CompletedProcess[str]:
    head = "import os, signal, subprocess, time\nfrom runtime.stop import stop_on_signal\n"
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_a_request(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signal() as request:
        assert not request.asked
        os.kill(os.getpid(), number)
        time.sleep(0.05)
        assert request.asked
        assert request.number == number
    assert signal.getsignal(number) is before


def test_the_second_signal_kills() -> None:
    done = run(
        """
        with stop_on_signal():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            print("survived")
        """
    )
    assert done.returncode == -signal.SIGINT
    assert done.stdout == ""


def test_hanging_up_never_kills() -> None:
    with stop_on_signal() as request:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.02)
        assert request.number == signal.SIGHUP
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.02)
        assert request.number == signal.SIGHUP  # that of the first signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ignored_signals_stay_ignored(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with stop_on_signal() as request, interrupt_on_signal():
            os.kill(os.getpid(), number)
            time.sleep(0.02)
            assert not request.asked
            other = signal.SIGHUP if number == signal.SIGTERM else signal.SIGTERM
            with pytest.raises(Interrupted):
                os.kill(os.getpid(), other)
                time.sleep(1)
            # a request arms the killing signals, except ignored ones
            assert signal.getsignal(number) == signal.SIG_IGN
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_program_without_work_to_finish_is_interrupted(number: signal.Signals, code: int) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, interrupt_on_signal():
        os.kill(os.getpid(), number)
        time.sleep(1)
    assert isinstance(caught.value, Interrupted) and caught.value.exit_code == code
    assert Stopped(number).exit_code == code


@pytest.mark.parametrize("catch", ["stop_on_signal", "interrupt_on_signal"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_forked_helper_ends_at_once(catch: str, name: str) -> None:
    done = run(
        f"""
        import ctypes
        from runtime.stop import {catch}
        number = signal.{name}
        with {catch}() as request:
            child = os.fork()
            if child == 0:
                while True:  # C code that waits: Python's handlers never run
                    ctypes.CDLL(None).sleep(10)
            time.sleep(.2)
            os.kill(child, number)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            print(code == -number, request is None or not request.asked)
        child = os.fork()  # without a handler of ours, the previous one is restored
        if child == 0:
            os._exit(signal.getsignal(signal.SIGINT) != signal.default_int_handler)
        print(os.waitpid(child, 0)[1])
        """
    )
    assert done.stdout == "True True\n0\n", done.stderr


def test_signals_are_caught_only_in_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with stop_on_signal() as request:
            seen.append((request.asked, signal.getsignal(signal.SIGINT) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, True)]
