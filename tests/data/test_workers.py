from __future__ import annotations

import gc
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from data.workers import ProcessPool, run_all
from options.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
# Helpers import a function by module name, and test modules are not on their path.
SOURCE = """
import os, signal, sys, time

def adder(offset):
    def add(value):
        if value == 1001:
            raise ValueError("one thousand and one")
        if value == 1002:
            from options.errors import UserError
            raise UserError("rule: value; fix")
        if value == 1003:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        return offset + value
    return add

def describer():
    return lambda _: (os.getpid(), sorted(name for name in sys.modules if "." not in name))

def sleeper(folder):
    def sleep(value):
        open(os.path.join(folder, str(os.getpid())), "w").close()
        time.sleep(value)
    return sleep
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "worker_tasks.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    yield importlib.import_module("worker_tasks")
    del sys.modules["worker_tasks"]


def _ends(process: int, seconds: float = 5) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_answers_keep_the_order(tasks: ModuleType, workers: int) -> None:
    seen: list[tuple[int, int]] = []
    answers = run_all(
        tasks.adder,
        (10,),
        range(203),
        workers=workers,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert answers == list(range(10, 213))
    assert seen == sorted(seen) and seen[-1] == (203, 203)


def test_no_items(tasks: ModuleType) -> None:
    assert run_all(tasks.adder, (1,), [], workers=2) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_user_errors_come_back_unchanged(tasks: ModuleType, workers: int) -> None:
    with pytest.raises(UserError, match=r"^rule: value; fix$"):
        run_all(tasks.adder, (0,), [1002] * 40, workers=workers)


def test_other_errors_come_back_with_their_traceback(tasks: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)in add.*one thousand and one"):
        run_all(tasks.adder, (0,), [1001] * 40, workers=2)


def test_a_helper_that_dies_is_reported(tasks: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"ended \(SIGTERM\).*fewer workers"):
        run_all(tasks.adder, (0,), [1003] * 40, workers=2)


def test_helpers_import_little_and_end_with_the_pool(tasks: ModuleType) -> None:
    pool: ProcessPool = ProcessPool(tasks.describer, (), 1)
    pool.submit("key", None)
    key, (process, modules) = pool.receive()
    assert key == "key" and process != os.getpid()
    assert not {"jittor", "torch", "pytest", "multiprocessing.spawn", "PIL"} & set(modules)
    pool.close()
    pool.close()
    assert _ends(process)


def test_helpers_end_with_a_forgotten_pool(tasks: ModuleType) -> None:
    pool: ProcessPool = ProcessPool(tasks.describer, (), 1)
    pool.submit(0, None)
    process = pool.receive()[1][0]
    del pool
    gc.collect()
    assert _ends(process)


@pytest.mark.parametrize(
    ("stop", "status"),
    [
        (lambda process: process.send_signal(signal.SIGINT), -signal.SIGINT),
        (lambda process: process.kill(), -signal.SIGKILL),
    ],
    ids=["Ctrl-C", "kill"],
)
def test_a_stopped_program_leaves_no_helper(
    tasks: ModuleType, tmp_path: Path, stop: Callable[[subprocess.Popen[bytes]], None], status: int
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    # Without a guard for __main__: helpers must not run the main program again.
    program = tmp_path / "program.py"
    program.write_text(
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import worker_tasks\nfrom data.workers import run_all\n"
        f"run_all(worker_tasks.sleeper, ({str(marks)!r},), [0.1] * 400, workers=2)\n"
    )
    process = subprocess.Popen([sys.executable, str(program)], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 15
    while len(list(marks.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    helpers = [int(path.name) for path in marks.iterdir()]
    assert len(helpers) == 2
    stop(process)
    assert process.wait(timeout=5) == status
    assert all(_ends(helper) for helper in helpers)
