"""States and snapshots: their content, their number, and the user's files next to them."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import jittor as jt
import numpy as np
import pytest

from models.layouts.layout import Layout
from options.errors import UserError
from options.schedule import Schedule
from options.train import RunOptions
from tests.runs import MethodFactory
from training.checkpoint import clean, find_state, save_generator, save_state
from training.plan import Progress
from training.trainer import Trainer
from weights.safetensors_file import read_tensors, stored_size, write_tensors
from weights.snapshots import latest_snapshot, read_snapshot
from weights.variables import load_strict, name_variables


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints"
    path.mkdir()
    return path


@pytest.fixture
def trainer(options: RunOptions, create: MethodFactory) -> Trainer:
    jt.set_global_seed(0)
    return Trainer(create(options, None), options)


def step(trainer: Trainer, seed: int = 1) -> dict[str, float]:
    random = np.random.default_rng(seed)
    ids = jt.array(random.integers(0, 4, (2, 16, 32)).astype(np.int32))
    image = jt.array(random.uniform(-1, 1, (2, 3, 16, 32)).astype(np.float32))
    return trainer.step(Layout(ids, 4), image, learning_rate=1e-2, seed=seed)


def values(trainer: Trainer) -> dict[str, np.ndarray]:
    return {name: var.numpy().copy() for name, var in trainer.variables().items()}


def test_a_state_restores_everything(
    folder: Path, options: RunOptions, create: MethodFactory, trainer: Trainer
) -> None:
    step(trainer)
    assert find_state(folder) is None
    save_state(folder, trainer, Progress(step=1), {"vgg": None})
    saved = values(trainer)
    expected = step(trainer, 2)
    other = Trainer(create(options, None), options)
    state = find_state(folder)
    assert state is not None
    state.load_into(other)
    assert (state.progress.step, state.extra) == (1, {"vgg": None})
    restored = values(other)
    assert list(restored) == list(saved)
    for name, array in saved.items():
        np.testing.assert_array_equal(restored[name], array, err_msg=name)
    assert step(other, 2) == expected
    for name, array in values(trainer).items():
        np.testing.assert_array_equal(values(other)[name], array, err_msg=name)


def test_a_state_holds_buffers_moments_and_ema(trainer: Trainer) -> None:
    names = list(trainer.variables())
    for name in (
        "network.generator.norm.running_mean",
        "network.discriminator.moving",
        "optimizer.generator.second.generator.first.weight",
        "optimizer.discriminator.second.discriminator.score.bias",
        "ema.generator.last.weight",
    ):
        assert name in names
    assert not any(name.startswith("ema.discriminator") for name in names)


def test_the_newest_two_states_are_kept(folder: Path, trainer: Trainer) -> None:
    for number in (1, 2, 3):
        save_state(folder, trainer, Progress(step=number), {})
    kept = ["state", "state-00000002", "state-00000003"]
    assert sorted(path.name for path in folder.iterdir()) == kept
    (folder / "state-00000009").mkdir()
    (folder / ".state-00000009.tmp").mkdir()
    (folder / ".latest.1.tmp").write_text("")
    clean(folder)
    assert sorted(path.name for path in folder.iterdir()) == kept


def test_files_of_the_user_among_the_checkpoints_are_kept(
    folder: Path, options: RunOptions, trainer: Trainer
) -> None:
    """Copies, links and notes, some under names like those that training gives."""
    first = save_generator(folder, trainer, options, Progress(epoch=2), [])
    save_state(folder, trainer, Progress(step=1), {})
    for name in (
        "generator-best.safetensors",
        "generator-0009.safetensors",
        "generator-5.safetensors",
    ):
        shutil.copyfile(first, folder / name)
    (folder / "generator-0002.safetensors").symlink_to(first.name)
    (folder / "generator-0000.safetensors").write_text("notes")
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
        (folder / name).write_text("notes")
    os.link(first, folder.parent / "linked")
    kept = {path.name for path in folder.iterdir()} - {first.name, "state-00000001"}
    for epoch in range(4, 8):
        save_generator(folder, trainer, options, Progress(epoch=epoch + 1), [])
        save_state(folder, trainer, Progress(step=epoch), {})
    now = {path.name for path in folder.iterdir()}
    assert now - kept - {"state-00000001"} == {
        *("generator-0006.safetensors", "generator-0007.safetensors"),
        *("state-00000006", "state-00000007"),
    }
    assert kept <= now and (folder / "state-00000001-backup/progress.json").is_file()
    assert [path.name for path in (folder / "state-00000001").iterdir()] == ["notes.txt"]
    assert (folder.parent / "linked").is_file()
    # Training reaches an epoch whose name the user has given to the weights of another one.
    copy = (folder / "generator-0009.safetensors").read_bytes()
    path = save_generator(folder, trainer, options, Progress(epoch=10, step=77), [])
    assert path.name == "generator-0009-00000077.safetensors" and latest_snapshot(folder) == path
    assert (folder / "generator-0009.safetensors").read_bytes() == copy
    # The same step again, after a stop: the notes stay with its state.
    save_state(folder, trainer, Progress(step=1), {})
    state = find_state(folder)
    assert state is not None and state.progress.step == 1
    assert len(list(state.path.iterdir())) == 3


def test_strict_loading_lists_every_mismatch(trainer: Trainer) -> None:
    networks = trainer.method.networks
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
    # An array that fits is not loaded either.
    after = {name: var.numpy() for name, var in name_variables(networks).items()}
    np.testing.assert_array_equal(after["generator.last.bias"], before["generator.last.bias"])


def test_a_snapshot_holds_raw_and_ema_weights(
    folder: Path, options: RunOptions, trainer: Trainer, schedule: Schedule
) -> None:
    for seed in range(3):
        step(trainer, seed)
    progress = Progress(step=3, epoch=2, phases=schedule.phases[:1])
    path = save_generator(folder, trainer, options, progress, [])
    assert path.name == "generator-0001.safetensors"
    assert latest_snapshot(folder) == path
    snapshot = read_snapshot(path)
    assert (snapshot.options, snapshot.epoch, snapshot.step) == (options, 1, 3)
    raw, ema = snapshot.weights("raw"), snapshot.weights("ema")
    assert list(raw) == list(ema)
    assert all(name.startswith("generator.") for name in raw)
    parameters = dict(trainer.method.generator_parameters())
    for name, array in raw.items():
        np.testing.assert_array_equal(array, name_variables(trainer.method.networks)[name].numpy())
        assert (ema[name] != array).any() == (name in parameters), name
    np.testing.assert_array_equal(
        ema["generator.last.weight"], trainer.ema.values["generator.last.weight"].numpy()
    )
    assert path.stat().st_size - 20_000 < stored_size(trainer.snapshot()) < path.stat().st_size
    assert stored_size(trainer.variables()) > stored_size(trainer.snapshot())


def test_without_ema_the_raw_weights_replace_it(
    folder: Path, options: RunOptions, create: MethodFactory
) -> None:
    options = replace(options, optimizer=replace(options.optimizer, ema_decay=0.0))
    trainer = Trainer(create(options, None), options)
    path = save_generator(folder, trainer, options, Progress(epoch=2), [])
    snapshot = read_snapshot(path)
    assert not snapshot.averaged
    assert list(snapshot.weights("ema")) == list(snapshot.weights("raw"))


def test_old_snapshots_are_removed_except_at_phase_ends(
    folder: Path, options: RunOptions, trainer: Trainer
) -> None:
    for epoch in range(1, 7):
        save_generator(folder, trainer, options, Progress(epoch=epoch + 1), [2, 9])
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    assert names == [f"generator-000{epoch}.safetensors" for epoch in (2, 5, 6)]
    # Within an epoch, a snapshot has the number of that epoch.
    progress = Progress(epoch=7, step_in_epoch=1)
    assert save_generator(folder, trainer, options, progress, [2, 9]).name[10:14] == "0007"


def test_other_files_are_no_snapshots(folder: Path, options: RunOptions, trainer: Trainer) -> None:
    with pytest.raises(UserError, match="after its first checkpoint"):
        latest_snapshot(folder)
    path = folder / "a.safetensors"
    write_tensors(path, {}, {"format": "pt"})
    with pytest.raises(UserError, match="of format 'pt'"):
        read_snapshot(path)
    good = save_generator(folder, trainer, options, Progress(epoch=2), [])
    arrays, metadata = read_tensors(good)
    tree = json.loads(metadata["options"])
    tree["generator"]["color"] = tree["generator"].pop("channels")
    write_tensors(path, arrays, {**metadata, "options": json.dumps(tree)})
    with pytest.raises(UserError, match=r"unknown generator\.color; missing generator\.channels"):
        read_snapshot(path)
    good.unlink()
    with pytest.raises(UserError, match=r"generator-0001\.safetensors, which is gone"):
        latest_snapshot(folder)
