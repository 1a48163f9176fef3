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
from dataclasses import replace
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest

from models.layout import Layout
from options.errors import UserError
from options.run import RunOptions
from options.schedule import Schedule
from training import checkpoint
from training.checkpoint import (
    clean,
    find_state,
    latest_snapshot,
    load_strict,
    read_snapshot,
    save_snapshot,
    save_state,
    snapshot_size,
    state_size,
)
from training.learner import Learner
from training.phases import Progress
from training.tensor_file import read_tensors, write_tensors
from training.variables import name_variables


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints"
    path.mkdir()
    return path


@pytest.fixture
def learner(options: RunOptions, create: Callable[..., Any]) -> Learner:
    jt.set_global_seed(0)
    return Learner(create(options, None), options)


def step(learner: Learner, seed: int = 1) -> dict[str, float]:
    random = np.random.default_rng(seed)
    ids = jt.array(random.integers(0, 4, (2, 16, 32)).astype(np.int32))
    image = jt.array(random.uniform(-1, 1, (2, 3, 16, 32)).astype(np.float32))
    return learner.step(Layout(ids, 4), image, learning_rate=1e-2, seed=seed)


def values(learner: Learner) -> dict[str, np.ndarray]:
    return {name: var.numpy().copy() for name, var in learner.variables().items()}


def test_a_state_brings_everything_back(
    folder: Path, options: RunOptions, create: Callable[..., Any], learner: Learner
) -> None:
    step(learner)
    assert find_state(folder) is None
    save_state(folder, learner, Progress(step=1), {"vgg": None})
    saved = values(learner)
    expected = step(learner, 2)
    other = Learner(create(options, None), options)
    state = find_state(folder)
    assert state is not None
    state.load_into(other)
    assert (state.progress.step, state.extra) == (1, {"vgg": None})
    restored = values(other)
    assert list(restored) == list(saved)
    for name, array in saved.items():
        np.testing.assert_array_equal(restored[name], array, err_msg=name)
    assert step(other, 2) == expected
    for name, array in values(learner).items():
        np.testing.assert_array_equal(values(other)[name], array, err_msg=name)


def test_the_state_holds_buffers_moments_and_average(learner: Learner) -> None:
    names = list(learner.variables())
    for name in (
        "network.generator.norm.running_mean",
        "network.discriminator.moving",
        "optimizer.generator.second.generator.first.weight",
        "optimizer.discriminator.second.discriminator.score.bias",
        "average.generator.last.weight",
    ):
        assert name in names
    assert not any(name.startswith("average.discriminator") for name in names)


def test_the_new_state_replaces_the_old_one(folder: Path, learner: Learner) -> None:
    for number in (1, 2, 3):
        save_state(folder, learner, Progress(step=number), {})
    # ... and the one before it stays, for the day that the newest is damaged.
    kept = ["state", "state-00000002", "state-00000003"]
    assert sorted(path.name for path in folder.iterdir()) == kept
    (folder / "state-00000009").mkdir()
    (folder / ".state-00000009.tmp").mkdir()
    (folder / ".latest.1.tmp").write_text("")
    clean(folder)
    assert sorted(path.name for path in folder.iterdir()) == kept


def test_what_a_person_keeps_among_the_checkpoints_stays(
    folder: Path, options: RunOptions, learner: Learner
) -> None:
    """Copies, links and notes, under other names and under names like ours."""
    first = save_snapshot(folder, learner, options, Progress(epoch=2), [])
    save_state(folder, learner, Progress(step=1), {})
    for name in (
        "generator-best.safetensors",
        "generator-0009.safetensors",
        "generator-5.safetensors",
    ):
        shutil.copyfile(first, folder / name)
    (folder / "generator-0002.safetensors").symlink_to(first.name)
    (folder / "generator-0000.safetensors").write_text("mine")
    converted = read_tensors(first)
    write_tensors(
        folder / "generator-0003.safetensors",
        converted[0],
        converted[1] | {"epoch": "3", "converted": "a.pth"},
    )
    shutil.copytree(folder / "state-00000001", folder / "state-00000001-backup")
    shutil.copytree(folder / "state-00000001", folder / "state-00000100")
    (folder / "state-1").mkdir()
    (folder / "state-99999999").symlink_to("state-00000001-backup")
    (folder / "state-00000001/notes.txt").write_text("the good one")
    for name in (".mine.tmp", ".latest.tmp", "notes.tmp", ".state-1.tmp"):
        (folder / name).write_text("mine")
    os.link(first, folder.parent / "linked")
    kept = {path.name for path in folder.iterdir()} - {first.name, "state-00000001"}
    for epoch in range(4, 8):
        save_snapshot(folder, learner, options, Progress(epoch=epoch + 1), [])
        save_state(folder, learner, Progress(step=epoch), {})
    now = {path.name for path in folder.iterdir()}
    assert now - kept - {"state-00000001"} == {
        *("generator-0006.safetensors", "generator-0007.safetensors"),
        *("state-00000006", "state-00000007"),
    }
    assert kept <= now and (folder / "state-00000001-backup/progress.json").is_file()
    assert [path.name for path in (folder / "state-00000001").iterdir()] == ["notes.txt"]
    assert (folder.parent / "linked").is_file()
    # Training comes to an epoch whose name a person has given to another one's weights.
    taken = (folder / "generator-0009.safetensors").read_bytes()
    path = save_snapshot(folder, learner, options, Progress(epoch=10, step=77), [])
    assert path.name == "generator-0009-00000077.safetensors" and latest_snapshot(folder) == path
    assert (folder / "generator-0009.safetensors").read_bytes() == taken
    # The step comes again after a stop: the notes stay with its state.
    save_state(folder, learner, Progress(step=1), {})
    state = find_state(folder)
    assert state is not None and state.progress.step == 1
    assert len(list(state.path.iterdir())) == 3


@pytest.mark.parametrize("call", range(3))
def test_a_failure_keeps_the_old_state(
    folder: Path, learner: Learner, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    save_state(folder, learner, Progress(step=1), {})
    calls = []

    def fail(name: str) -> Any:
        real = getattr(checkpoint, name)

        def write(*arguments: Any) -> Any:
            calls.append(name)
            if len(calls) > call:
                raise OSError(28, "No space left on device")
            return real(*arguments)

        return write

    for name in ("write_tensors", "write_text"):
        monkeypatch.setattr(checkpoint, name, fail(name))
    with pytest.raises(OSError, match="No space left"):
        save_state(folder, learner, Progress(step=2), {})
    state = find_state(folder)
    assert state is not None and state.progress.step == 1
    state.load_into(learner)
    clean(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["state", "state-00000001"]


@pytest.mark.parametrize("content", ["", "{}", '{"format": "other"}'])
def test_a_damaged_state_is_named(folder: Path, learner: Learner, content: str) -> None:
    path = save_state(folder, learner, Progress(step=1), {})
    (path / "progress.json").write_text(content)
    with pytest.raises(UserError, match="names state-00000001, which cannot be read"):
        find_state(folder)


def test_strict_loading_lists_every_fault(learner: Learner) -> None:
    networks = learner.method.networks
    arrays = {name: var.numpy() for name, var in name_variables(networks).items()}
    load_strict(networks, arrays, "a file")
    before = {name: array.copy() for name, array in arrays.items()}
    del arrays["generator.first.weight"], arrays["discriminator.moving"]
    arrays["generator.last.weight"] = np.zeros((3, 4, 3, 3), np.float32)
    arrays["generator.more"] = arrays["more"] = np.zeros(1, np.float32)
    arrays["generator.last.bias"] = np.full(3, 9, np.float32)
    with pytest.raises(UserError) as error:
        load_strict(networks, arrays, "a file")
    for part in (
        "a file: ",
        "2 missing: generator.first.weight, discriminator.moving",
        "2 unexpected: generator.more, more",
        "1 misshapen: generator.last.weight 3x4x3x3 for 3x4x1x1",
    ):
        assert part in str(error.value)
    # What did fit was not loaded either.
    after = {name: var.numpy() for name, var in name_variables(networks).items()}
    np.testing.assert_array_equal(after["generator.last.bias"], before["generator.last.bias"])


def test_a_snapshot_draws_as_the_average_and_as_the_weights(
    folder: Path, options: RunOptions, learner: Learner, schedule: Schedule
) -> None:
    for seed in range(3):
        step(learner, seed)
    progress = Progress(step=3, epoch=2, phases=schedule.phases[:1])
    path = save_snapshot(folder, learner, options, progress, [])
    assert path.name == "generator-0001.safetensors"
    assert latest_snapshot(folder) == path
    snapshot = read_snapshot(path)
    assert (snapshot.options, snapshot.epoch, snapshot.step) == (options, 1, 3)
    raw, ema = snapshot.weights("raw"), snapshot.weights("ema")
    assert list(raw) == list(ema)
    assert all(name.startswith("generator.") for name in raw)
    parameters = dict(learner.method.generator_parameters())
    for name, array in raw.items():
        np.testing.assert_array_equal(array, name_variables(learner.method.networks)[name].numpy())
        assert (ema[name] != array).any() == (name in parameters), name
    np.testing.assert_array_equal(
        ema["generator.last.weight"], learner.average.values["generator.last.weight"].numpy()
    )
    assert path.stat().st_size - 20_000 < snapshot_size(learner) < path.stat().st_size
    assert state_size(learner) > snapshot_size(learner)


def test_without_an_average_the_weights_stand_for_it(
    folder: Path, options: RunOptions, create: Callable[..., Any], schedule: Schedule
) -> None:
    options = replace(options, optimizer=replace(options.optimizer, ema_decay=0.0))
    learner = Learner(create(options, None), options)
    path = save_snapshot(folder, learner, options, Progress(epoch=2), [])
    snapshot = read_snapshot(path)
    assert not snapshot.averaged
    assert list(snapshot.weights("ema")) == list(snapshot.weights("raw"))


def test_old_snapshots_go_but_for_ends_of_phases(
    folder: Path, options: RunOptions, learner: Learner
) -> None:
    for epoch in range(1, 7):
        save_snapshot(folder, learner, options, Progress(epoch=epoch + 1), [2, 9])
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    assert names == [f"generator-000{epoch}.safetensors" for epoch in (2, 5, 6)]
    # In the middle of an epoch it has that epoch's number.
    progress = Progress(epoch=7, step_in_epoch=1)
    assert save_snapshot(folder, learner, options, progress, [2, 9]).name[10:14] == "0007"


def test_what_is_no_snapshot_is_refused(
    folder: Path, options: RunOptions, learner: Learner
) -> None:
    with pytest.raises(UserError, match="after its first checkpoint"):
        latest_snapshot(folder)
    path = folder / "a.safetensors"
    write_tensors(path, {}, {"format": "pt"})
    with pytest.raises(UserError, match=r"it is of|is of format 'pt'"):
        read_snapshot(path)
    good = save_snapshot(folder, learner, options, Progress(epoch=2), [])
    arrays, metadata = read_tensors(good)
    tree = json.loads(metadata["options"])
    tree["generator"]["colour"] = tree["generator"].pop("channels")
    write_tensors(path, arrays, {**metadata, "options": json.dumps(tree)})
    with pytest.raises(UserError, match=r"unknown generator\.colour; missing generator\.channels"):
        read_snapshot(path)
    good.unlink()
    with pytest.raises(UserError, match=r"generator-0001\.safetensors, which is gone"):
        latest_snapshot(folder)


class FakeLearner:
    """What a checkpoint asks of a learner, in NumPy: every number is `value`."""

    def __init__(self, value: float) -> None:
        self.arrays = {
            name: np.full(300, value, np.float32)
            for name in ("network.generator.a", "optimizer.generator.second.a", "average.a")
        }

    def variables(self) -> dict[str, np.ndarray]:
        return self.arrays

    def snapshot(self) -> dict[str, np.ndarray]:
        return {"raw.generator.a": self.arrays["network.generator.a"]}

    def counts(self) -> dict[str, int]:
        return {"generator": 1}

    def load(self, arrays: Any, counts: Any, source: str) -> None:
        self.arrays = {name: np.array(array) for name, array in arrays.items()}


def save_both(folder: Path, step: int) -> None:
    """A checkpoint whose numbers are its step."""
    learner: Any = FakeLearner(step)
    save_snapshot(folder, learner, RunOptions(), Progress(step=step, epoch=step + 1), [])
    save_state(folder, learner, Progress(step=step, epoch=step + 1), {"vgg": None})


def check_both(folder: Path, steps: set[int]) -> int:
    """State and snapshot are whole and of one of the steps; the state's step."""
    state = find_state(folder)
    assert state is not None and state.progress.step in steps
    for array in state.read().values():
        np.testing.assert_array_equal(array, state.progress.step)
    snapshot = read_snapshot(latest_snapshot(folder))
    assert snapshot.step in steps
    np.testing.assert_array_equal(snapshot.arrays["raw.generator.a"], snapshot.step)
    return state.progress.step


@pytest.fixture
def two_states(folder: Path) -> Path:
    for step in (100, 200):
        save_both(folder, step)
    return folder


def say_fault(folder: Path) -> str:
    """What a start says to a damaged state, in one line."""
    with pytest.raises(UserError) as error:
        state = find_state(folder)
        assert state is not None
        state.load_into(FakeLearner(0))
    assert "\n" not in str(error.value)
    return str(error.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def spoil(path: Path) -> None:
    """As a version that did not look would have written it."""
    arrays = {name: np.full(300, np.nan, np.float32) for name in FakeLearner(0).arrays}
    checksum = write_tensors(path, arrays, {})
    progress = path.with_name("progress.json")
    tree = json.loads(progress.read_text())
    tree |= {"crc32": checksum, "bytes": path.stat().st_size}
    progress.write_text(json.dumps(tree))


DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "torn progress": (cut, "progress.json", "Expecting"),
    "empty progress": (lambda path: path.write_text(""), "progress.json", "Expecting value"),
    "other progress": (lambda path: path.write_text("[]"), "progress.json", "list indices"),
    "no progress": (Path.unlink, "progress.json", "No such file"),
    "cut tensors": (cut, "state.safetensors", r"has \d+ of \d+ bytes"),
    "no tensors": (Path.unlink, "state.safetensors", "No such file"),
    "a flipped bit": (flip, "state.safetensors", "its checksum does not match"),
    "numbers": (spoil, "state.safetensors", "got 900 NaN or Inf in 3 tensors: network"),
    "gone": (lambda path: shutil.rmtree(path.parent), "progress.json", "No such file"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_state_says_how_to_go_on(two_states: Path, name: str) -> None:
    damage, file, fault = DAMAGE[name]
    damage(two_states / "state-00000200" / file)
    said = say_fault(two_states)
    assert re.search(rf"state names state-00000200, which cannot be read \(.*{fault}", said)
    pointer = two_states / "state"
    assert f"to train on from step 100, run: echo state-00000100 > {pointer}; or " in said
    assert "generator-0200.safetensors, of step 200, still draws" in said
    assert said.endswith("or start anew with another --name")
    # ... and the command that it gives works.
    subprocess.run(["bash", "-c", said.partition("run: ")[2].partition(";")[0]], check=True)
    state = find_state(two_states)
    assert state is not None and state.progress.step == 100
    learner = FakeLearner(0)
    state.load_into(learner)
    assert learner.arrays["average.a"][0] == 100
    clean(two_states)
    assert [path.name for path in two_states.glob("state-*")] == ["state-00000100"]
    save_both(two_states, 300)
    assert check_both(two_states, {300}) == 300


@pytest.mark.parametrize("text", ["", "\n", "../x", "/etc", "state-1", "state-00000300", "\0\xff"])
def test_a_damaged_pointer_says_how_to_go_on(two_states: Path, text: str) -> None:
    (two_states / "state").write_text(text)
    said = say_fault(two_states)
    assert f"to train on from step 200, run: echo state-00000200 > {two_states / 'state'}" in said
    before = sorted(two_states.iterdir())
    clean(two_states)
    assert sorted(two_states.iterdir()) == before  # nothing goes while it is not known what counts


def test_a_pointer_that_cannot_be_read(two_states: Path) -> None:
    for name, read in (("state", find_state), ("latest", latest_snapshot)):
        (two_states / name).unlink()
        (two_states / name).mkdir()
        with pytest.raises(UserError, match=rf"/{name}: cannot be read: a folder"):
            read(two_states)


def test_a_file_in_the_place_of_the_folder_is_said_later(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("x")
    assert find_state(tmp_path / "results/run/checkpoints") is None


def test_two_damaged_states_leave_the_snapshot(two_states: Path) -> None:
    for number in (100, 200):
        flip(two_states / f"state-00000{number}/state.safetensors")
    said = say_fault(two_states)
    assert "to train on" not in said and "generator-0200.safetensors, of step 200" in said


def test_without_a_pointer_the_newest_counts(two_states: Path) -> None:
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
    learner: Any = FakeLearner(float("nan"))
    path = save_snapshot(folder, learner, RunOptions(), Progress(step=1, epoch=2), [])
    with pytest.raises(UserError, match=r"got 300 NaN or Inf in 1 tensors: raw\.generator\.a"):
        read_snapshot(path)


CALLS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "os.listdir"}


def in_child(act: Callable[[], None], at: int, fault: Callable[[], None]) -> int:
    """The exit code of a process that does something, with a fault at its at-th file-system call.

    Python tells an audit hook of each of them, and of every fsync this tells it. Exit code 0: it
    came through; 1: OSError; 2: anything else.
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
def test_a_fault_at_any_call_leaves_a_whole_checkpoint(
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
        code = in_child(functools.partial(save_both, folder, 300), at, fault)
        if code == 0:
            break
        assert code in ((9,) if fault is kill else (1, 3)), at
        if begun:
            step = check_both(folder, {200, 300})
            if code == 3:  # what failed was of no account
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


def test_what_a_pointer_names_is_on_the_disk_before_it(
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
