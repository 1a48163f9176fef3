from __future__ import annotations

import json
import os
import shutil
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
    for number in (1, 2):
        save_state(folder, learner, Progress(step=number), {})
    assert sorted(path.name for path in folder.iterdir()) == ["state", "state-00000002"]
    (folder / "state-00000009").mkdir()
    (folder / ".state-00000009.tmp").mkdir()
    (folder / ".latest.1.tmp").write_text("")
    clean(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["state", "state-00000002"]


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
        *("generator-0006.safetensors", "generator-0007.safetensors", "state-00000007")
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

        def write(*arguments: Any) -> None:
            calls.append(name)
            if len(calls) > call:
                raise OSError(28, "No space left on device")
            real(*arguments)

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
