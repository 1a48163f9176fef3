"""Checkpoints after a crash, a full disk or damage, and the ways to resume from them."""

from __future__ import annotations

import errno
import functools
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from options.errors import UserError
from options.train import RunOptions
from tests.training.fakes import ConstantTrainer
from training import checkpoint
from training.checkpoint import clean, find_state, save_generator, save_state
from training.plan import Progress
from weights.safetensors_file import write_tensors
from weights.snapshots import latest_snapshot, read_snapshot

# Audit events at which a fault is injected.
CALLS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "os.listdir"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints"
    path.mkdir()
    return path


@pytest.fixture
def two_states(folder: Path) -> Path:
    """A folder with the checkpoints of steps 100 and 200."""
    for step in (100, 200):
        save_both(folder, step)
    return folder


def save_both(folder: Path, step: int) -> None:
    """Save a snapshot and a state whose numbers are the step."""
    trainer: Any = ConstantTrainer(step)
    save_generator(folder, trainer, RunOptions(), Progress(step=step, epoch=step + 1), [])
    save_state(folder, trainer, Progress(step=step, epoch=step + 1), {"vgg": None})


def check_both(folder: Path, steps: set[int]) -> int:
    """Check that state and snapshot are complete and of one of the steps; the state's step."""
    state = find_state(folder)
    assert state is not None and state.progress.step in steps
    for array in state.read().values():
        np.testing.assert_array_equal(array, state.progress.step)
    snapshot = read_snapshot(latest_snapshot(folder))
    assert snapshot.step in steps
    np.testing.assert_array_equal(snapshot.arrays["raw.generator.a"], snapshot.step)
    return state.progress.step


def resume_error(folder: Path) -> str:
    """The one-line error of a resume from damaged files."""
    with pytest.raises(UserError) as error:
        state = find_state(folder)
        assert state is not None
        trainer: Any = ConstantTrainer(0)
        state.load_into(trainer)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("call", range(3))
def test_a_failure_keeps_the_old_state(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    trainer: Any = ConstantTrainer(1)
    save_state(folder, trainer, Progress(step=1), {})
    calls = []

    def fail(name: str) -> Any:
        real = getattr(checkpoint, name)

        def write(*arguments: Any) -> Any:
            calls.append(name)
            if len(calls) > call:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments)

        return write

    for name in ("write_tensors", "write_text"):
        monkeypatch.setattr(checkpoint, name, fail(name))
    with pytest.raises(OSError, match="No space left"):
        save_state(folder, trainer, Progress(step=2), {})
    state = find_state(folder)
    assert state is not None and state.progress.step == 1
    state.load_into(trainer)
    clean(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["state", "state-00000001"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def fill_with_nan(path: Path) -> None:
    """Replace the values by NaN, with a matching checksum."""
    arrays = {name: np.full(300, np.nan, np.float32) for name in ConstantTrainer(0).arrays}
    checksum = write_tensors(path, arrays, {})
    progress = path.with_name("progress.json")
    tree = json.loads(progress.read_text())
    tree |= {"crc32": checksum, "bytes": path.stat().st_size}
    progress.write_text(json.dumps(tree))


DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "cut progress": (cut, "progress.json", "Expecting"),
    "empty progress": (lambda path: path.write_text(""), "progress.json", "Expecting value"),
    "other progress": (lambda path: path.write_text("[]"), "progress.json", "list indices"),
    "no format": (lambda path: path.write_text("{}"), "progress.json", "'format'"),
    "other format": (
        lambda path: path.write_text('{"format": "other"}'),
        "progress.json",
        "format 'other'",
    ),
    "no progress": (Path.unlink, "progress.json", "No such file"),
    "cut tensors": (cut, "state.safetensors", r"has \d+ of \d+ bytes"),
    "no tensors": (Path.unlink, "state.safetensors", "No such file"),
    "a flipped bit": (flip_bit, "state.safetensors", "its checksum does not match"),
    "NaN": (fill_with_nan, "state.safetensors", "got 900 NaN or Inf in 3 tensors: network"),
    "no folder": (lambda path: shutil.rmtree(path.parent), "progress.json", "No such file"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_state_lists_the_ways_to_resume(two_states: Path, name: str) -> None:
    damage, file, fault = DAMAGE[name]
    damage(two_states / "state-00000200" / file)
    text = resume_error(two_states)
    assert re.search(rf"state names state-00000200, which cannot be read \(.*{fault}", text)
    pointer = two_states / "state"
    assert f"to resume from step 100, run: echo state-00000100 > {pointer}; or " in text
    assert "generator-0200.safetensors, of step 200, still generates images" in text
    assert text.endswith("or start a new run with another --name")
    # The command in the message works.
    subprocess.run(["bash", "-c", text.partition("run: ")[2].partition(";")[0]], check=True)
    state = find_state(two_states)
    assert state is not None and state.progress.step == 100
    trainer: Any = ConstantTrainer(0)
    state.load_into(trainer)
    assert trainer.arrays["ema.a"][0] == 100
    clean(two_states)
    assert [path.name for path in two_states.glob("state-*")] == ["state-00000100"]
    save_both(two_states, 300)
    assert check_both(two_states, {300}) == 300


@pytest.mark.parametrize("text", ["", "\n", "../x", "/etc", "state-1", "state-00000300", "\0\xff"])
def test_a_damaged_pointer_lists_the_ways_to_resume(two_states: Path, text: str) -> None:
    pointer = two_states / "state"
    pointer.write_text(text)
    error = resume_error(two_states)
    assert f"to resume from step 200, run: echo state-00000200 > {pointer}" in error
    before = sorted(two_states.iterdir())
    clean(two_states)
    assert sorted(two_states.iterdir()) == before  # no state is removed before the user decides


def test_a_pointer_that_cannot_be_read(two_states: Path) -> None:
    for name, read in (("state", find_state), ("latest", latest_snapshot)):
        (two_states / name).unlink()
        (two_states / name).mkdir()
        with pytest.raises(UserError, match=rf"/{name}: cannot be read: a folder"):
            read(two_states)


def test_a_file_in_the_place_of_the_run_is_no_state(tmp_path: Path) -> None:
    # RunFolder reports it.
    (tmp_path / "results").write_text("x")
    assert find_state(tmp_path / "results/run/checkpoints") is None


def test_two_damaged_states_leave_the_snapshot(two_states: Path) -> None:
    for number in (100, 200):
        flip_bit(two_states / f"state-00000{number}/state.safetensors")
    text = resume_error(two_states)
    assert "to resume from" not in text and "generator-0200.safetensors, of step 200" in text


def test_without_a_pointer_the_newest_is_read(two_states: Path) -> None:
    (two_states / "state").unlink()
    (two_states / "latest").unlink()
    clean(two_states)
    assert check_both(two_states, {200}) == 200


@pytest.mark.parametrize("text", ["", "../x", "state", "generator-0300.safetensors"])
def test_a_damaged_pointer_to_the_snapshot(two_states: Path, text: str) -> None:
    (two_states / "latest").write_text(text)
    with pytest.raises(UserError, match=r"--checkpoint .*generator-0200\.safetensors"):
        latest_snapshot(two_states)


def test_a_folder_as_checkpoint_names_a_file_in_it(two_states: Path) -> None:
    for folder in (two_states, two_states.parent):
        with pytest.raises(UserError, match=r"got the folder .*example .*/generator-0200\.safet"):
            read_snapshot(folder)


def test_a_snapshot_that_is_not_finite_is_refused(folder: Path) -> None:
    trainer: Any = ConstantTrainer(float("nan"))
    path = save_generator(folder, trainer, RunOptions(), Progress(step=1, epoch=2), [])
    with pytest.raises(UserError, match=r"got 300 NaN or Inf in 1 tensors: raw\.generator\.a"):
        read_snapshot(path)


def run_in_child(act: Callable[[], None], at: int, fault: Callable[[], None]) -> int:
    """Run `act` in a process with a fault at its `at`-th file-system call.

    Python reports each of them to an audit hook; before and after every fsync there is one more.

    Returns 0 if there were fewer calls, 3 if `act` succeeded despite the fault, 1 for an OSError,
    and 2 for anything else.
    """
    child = os.fork()
    if child == 0:
        code, calls = 2, itertools.count(1)

        def hook(event: str, _: Any) -> None:
            if event in CALLS and next(calls) == at:
                fault()

        real = os.fsync

        def fsync(number: int) -> None:
            hook("open", ())
            real(number)
            hook("open", ())

        try:
            os.fsync = fsync  # type: ignore[assignment]
            sys.addaudithook(hook)
            act()
            code = 0 if next(calls) <= at else 3
        except OSError:
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill() -> None:
    os._exit(9)


def refuse() -> None:
    raise OSError(errno.EDQUOT, "Disk quota exceeded")


@pytest.mark.parametrize("fault", [kill, refuse])
@pytest.mark.parametrize("begun", [True, False])
def test_a_fault_at_any_call_leaves_a_complete_checkpoint(
    tmp_path: Path, fault: Callable[[], None], begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda number: None)  # a killed process needs none
    seen = set()
    for at in range(1, 1000):
        folder = tmp_path / str(at)
        folder.mkdir()
        if begun:
            save_both(folder, 100)
            save_both(folder, 200)
        code = run_in_child(functools.partial(save_both, folder, 300), at, fault)
        if code == 0:
            break
        assert code in ((9,) if fault is kill else (1, 3)), at
        if begun:
            step = check_both(folder, {200, 300})
            if code == 3:  # the refused call was optional
                assert step == 300
            seen.add(step)
        elif find_state(folder) is not None:
            seen.add(check_both(folder, {300}))
        # The next start, and its next checkpoint.
        clean(folder)
        assert not list(folder.glob(".*.tmp"))
        save_both(folder, 400)
        assert check_both(folder, {400}) == 400
        assert len(list(folder.glob("state-*"))) <= 2
        shutil.rmtree(folder)
    assert at > 20
    assert seen == ({200, 300} if begun else {300})


def test_files_are_synced_before_a_pointer_names_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_both(folder, 100)
    events: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(number: int) -> None:
        events.append(("sync", os.readlink(f"/proc/self/fd/{number}")))
        fsync(number)

    def spy_replace(source: Any, target: Any) -> None:
        events.append(("rename", f"{source}\n{target}"))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    save_both(folder, 200)
    renames = [index for index, (kind, _) in enumerate(events) if kind == "rename"]
    assert len(renames) == 6  # snapshot and its pointer; two files, their folder, its pointer
    for index in renames:
        source, target = events[index][1].split("\n")
        assert ("sync", source) in events[:index], source
        later = [i for i in renames if i > index and events[i][1].endswith(("/state", "/latest"))]
        until = later[0] if later else len(events)
        assert ("sync", str(Path(target).parent)) in events[index:until], target
