"""A run whose disk refuses writes: it ends with one line, and the same command resumes it."""

from __future__ import annotations

import collections
import errno
import functools
import itertools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data import content
from data.loader import BatchLoader
from options.errors import UserError
from options.schedule import Schedule
from options.train import RunOptions
from tests.runs import MethodFactory, folder_of, last_state, renamed, start
from tests.training.fakes import CountingTrainer
from training import checkpoint, sample_sheets, tasks
from training.checkpoint import find_state
from training.loop import TrainingFailed
from training.plan import Progress
from weights.safetensors_file import write_tensors
from weights.snapshots import latest_snapshot, read_snapshot

# Audit events of changes in a folder; `open` counts if it is for writing.
WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}


def test_a_full_disk_stops_the_run_and_keeps_the_last_state(
    options: RunOptions, schedule: Schedule, create: MethodFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_at_last_step(path: Path, *arguments: Any) -> int:
        if "00000008" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_tensors(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_tensors", fail_at_last_step)
        with pytest.raises(
            TrainingFailed,
            match=r"checkpoints: the checkpoint of step 8 could not be written \(No space left on "
            r"device\)\. Free some space; the same command resumes from step 6",
        ):
            start(options, schedule, create)
    assert start(options, schedule, create).step == 8


def test_too_little_space_is_reported_before_the_first_step(
    options: RunOptions, schedule: Schedule, create: MethodFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "stored_size", lambda tensors: 10**18)
    with pytest.raises(UserError, match="free disk space for checkpoints"):
        start(options, schedule, create)
    assert not (folder_of(options) / "stats.jsonl").exists()


@pytest.fixture
def start_quickly(
    options: RunOptions, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Progress]:
    """Starts a run of eight steps without networks; each step samples, logs and saves."""

    def load_here(items: Any, **settings: Any) -> BatchLoader:
        return BatchLoader(items, **{**settings, "workers": 0})

    monkeypatch.setattr(tasks, "Trainer", CountingTrainer)
    monkeypatch.setattr(sample_sheets, "Synthesizer", lambda *_: None)
    monkeypatch.setattr(sample_sheets, "render_samples", lambda *_: Image.new("RGB", (8, 8)))
    monkeypatch.setattr(os, "fsync", lambda number: None)
    monkeypatch.setattr(content, "BatchLoader", load_here)

    def run(name: str) -> Progress:
        own = renamed(options, name, sample_every=1, checkpoint_minutes=1e-9)
        return start(own, schedule, lambda *_: None)

    return run


def run_in_child(
    act: Callable[[], object], folder: Path, at: int, number: int, lasting: bool
) -> int:
    """Run `act` in a process whose disk refuses the `at`-th write in `folder`.

    If `lasting`, it refuses all later writes too. The output of the process is in `folder`.out.

    Returns 0 if no write was refused, 3 if `act` succeeded despite a refusal, 1 if it ended with
    one line for the user, and 2 for anything else.
    """
    child = os.fork()
    if child == 0:
        code, calls = 2, itertools.count(1)

        def refuse() -> None:
            call = next(calls)
            if call == at or (lasting and call > at):
                raise OSError(number, os.strerror(number))

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            path = str(arguments[0]) if arguments else ""
            writes = event in WRITES or (event == "open" and arguments[2] & os.O_ACCMODE)
            if writes and (path.startswith(str(folder)) or not path.startswith("/")):
                refuse()

        def fsync(handle: int) -> None:
            refuse()

        try:
            with open(folder.with_suffix(".out"), "w") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                sys.stdout = sys.stderr = output
                os.fsync = fsync  # type: ignore[assignment]
                sys.addaudithook(hook)
                act()
                code = 0 if next(calls) <= at else 3
        except (TrainingFailed, UserError) as error:
            code = 1 if "\n" not in str(error) else 2
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(("number", "lasting"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_a_run_survives_the_refusal_of_any_write(
    options: RunOptions, start_quickly: Callable[[str], Progress], number: int, lasting: bool
) -> None:
    codes = collections.Counter[int]()
    # Every write of the start, then every eleventh: each kind occurs, in different steps.
    for at in itertools.chain(range(1, 16), itertools.count(16, 11)):
        own = renamed(options, f"run{at}")
        folder = folder_of(own)
        folder.parent.mkdir(exist_ok=True)
        act = functools.partial(start_quickly, folder.name)
        code = run_in_child(act, folder, at, number, lasting)
        output = folder.with_suffix(".out").read_text()
        assert code in (0, 1, 3) and "Traceback" not in output, (at, output)
        codes[code] += 1
        if code == 0:
            break
        saved = find_state(folder / "checkpoints")
        if saved is not None:
            assert all((array == saved.progress.step).all() for array in saved.read().values())
            read_snapshot(latest_snapshot(folder / "checkpoints"))
        if at % 4 == 1:
            assert start_quickly(folder.name).step == 8
            state = last_state(own)
            assert state.progress.step == 8
            assert all((array == 8).all() for array in state.read().values())
    assert codes[0] == 1 and codes[1] > 5
    assert lasting or codes[3] > 5
