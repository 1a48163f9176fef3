"""The loop with a small method: what a run writes, and that a stop leaves no trace in it."""

from __future__ import annotations

import collections
import contextlib
import errno
import functools
import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest
from PIL import Image

from data.loader import BatchLoader
from models.methods import create_method
from options.errors import UserError
from options.run import DiscriminatorOptions, GeneratorOptions, OptimizerOptions, RunOptions
from options.schedule import Phase, Schedule
from training import checkpoint, loop, tensor_file
from training.learner import Learner
from training.log import Log
from training.loop import TrainingFailed, train
from training.painter import NotFinite
from training.phases import Progress
from training.preparation import check_cheaply, describe_run, prepare_run
from training.run_folder import RunFolder
from training.stop import Stopped
from training.tensor_file import read_tensors

Create = Callable[..., Any]


def start(options: RunOptions, schedule: Schedule, create: Create, **settings: Any) -> Progress:
    """One start of a run, as train.py makes it."""
    log = Log(RunFolder(options.training.results_path, str(options.training.name)))
    preparation = prepare_run(options, schedule, log)
    try:
        if not preparation.plan:
            return preparation.progress
        return train(preparation, log, create=lambda o, vgg: create(o, vgg, **settings))
    finally:
        log.close()
        preparation.folder.close()


def renamed(options: RunOptions, name: str, **changes: Any) -> RunOptions:
    return replace(options, training=replace(options.training, name=name, **changes))


def folder_of(options: RunOptions) -> Path:
    return Path(options.training.results_path) / str(options.training.name)


def read_stats(options: RunOptions) -> list[dict[str, Any]]:
    lines = (folder_of(options) / "stats.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def read_losses(options: RunOptions) -> list[tuple[int, dict[str, float]]]:
    return [(record["step"], record["losses"]) for record in read_stats(options)]


def read_state(options: RunOptions) -> dict[str, np.ndarray]:
    state = checkpoint.find_state(folder_of(options) / "checkpoints")
    assert state is not None
    return read_tensors(state.path / "state.safetensors")[0]


def test_what_a_run_writes(options: RunOptions, schedule: Schedule, create: Create) -> None:
    progress = start(options, schedule, create)
    assert (progress.step, progress.epoch) == (8, 5)
    folder = folder_of(options)
    names = {path.name for path in folder.iterdir() if not path.name.startswith((".", "events"))}
    assert names == {
        *("options.json", "command.txt", "environment.json", "log.txt", "stats.jsonl"),
        *("check.txt", "check_cache.json", "samples", "checkpoints"),
    }
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        *("generator-0002.safetensors", "generator-0004.safetensors", "latest"),
        *("state", "state-00000006", "state-00000008"),
    }
    stats = read_stats(options)
    assert [record["step"] for record in stats] == list(range(1, 9))
    assert [record["epoch"] for record in stats] == [1, 1, 1, 2, 2, 2, 3, 4]
    assert [record["phase"] for record in stats] == ["I"] * 6 + ["II"] * 2
    assert [record["learning_rate"] for record in stats] == [1e-3] * 6 + [2e-3] * 2
    assert list(stats[0]["losses"]) == ["gan", "l1", "fake", "real"]
    assert all(record["images_per_second"] > 0 for record in stats)
    assert all(record["memory_mb"] > 50 for record in stats)
    seconds = [record["seconds"] for record in stats]
    assert seconds == sorted(seconds)
    sheets = sorted(path.name for path in (folder / "samples").iterdir())
    assert sheets == ["0002-00000006.png", "0004-00000008.png"]
    assert Image.open(folder / "samples" / sheets[0]).mode == "RGB"


def _stopping_at(step: int) -> Create:
    """The real methods, asked to stop in this generator step of the process."""

    def create(options: RunOptions, vgg: Any) -> Any:
        method = create_method(options, vgg)
        losses, count = method.generator_losses, iter(range(1, 100))

        def generator_losses(layout: Any, image: Any) -> Any:
            if next(count) == step:
                os.kill(os.getpid(), signal.SIGINT)
            return losses(layout, image)

        method.generator_losses = generator_losses  # type: ignore[method-assign]
        return method

    return create


STAGED = Schedule(
    "staged",
    (
        Phase("I", 1, 2, "total", 1e-3, "global"),
        Phase("II", 2, 2, "total", 1e-3, "enhancer"),
        Phase("III", 3, 2, "total", 1e-3),
    ),
)


def test_stages_train_their_part_and_go_on_after_a_stop(options: RunOptions) -> None:
    options = replace(
        options,
        data=replace(options.data, height=32, width=48, epoch_images=4),
        generator=GeneratorOptions(generator="pix2pixhd", channels=1, halvings=4),
        discriminator=DiscriminatorOptions(
            discriminator_scales=1, discriminator_layers=2, discriminator_channels=1
        ),
        optimizer=OptimizerOptions(beta1=0.5, beta2=0.999, ema_decay=0.9),
    )
    start(renamed(options, "unbroken"), STAGED, create_method)
    broken = renamed(options, "broken")
    for step in (2, 1):  # at the end of the first stage, and within the second
        with pytest.raises(Stopped):
            start(broken, STAGED, _stopping_at(step))
    start(broken, STAGED, create_method)
    assert read_losses(broken) == read_losses(renamed(options, "unbroken"))
    mine, theirs = read_state(broken), read_state(renamed(options, "unbroken"))
    for name, array in theirs.items():
        np.testing.assert_array_equal(mine[name], array, err_msg=name)
    folder = folder_of(broken) / "checkpoints"
    first, second, third = (
        read_tensors(folder / f"generator-{epoch:04d}.safetensors")[0] for epoch in (1, 2, 3)
    )
    assert [s["raw.generator.global_alone"].item() for s in (first, second, third)] == [1, 0, 0]
    for name, array in first.items():
        if name.startswith("raw.generator.global_generator."):
            np.testing.assert_array_equal(second[name], array, err_msg=name)
            resting = ".last." in name
            assert (third[name] == array).all() == resting, name
        elif name.startswith("raw.generator.enhancer."):
            assert (second[name] != array).any(), name


@pytest.mark.parametrize("stopped_at", [[1], [3], [5], [6], [2, 4, 7]])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    options: RunOptions, schedule: Schedule, create: Create, stopped_at: list[int]
) -> None:
    start(renamed(options, "unbroken"), schedule, create)
    broken = renamed(options, "broken")
    done = 0
    for step in stopped_at:

        def ask_to_stop(own: int, at: int = step - done) -> None:
            if own == at:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(Stopped) as stopped:
            start(broken, schedule, create, before_step=ask_to_stop)
        assert stopped.value.exit_code == 130
        done = step
        assert read_losses(broken)[-1][0] == step
    # Seeds of another process must not matter.
    jt.set_global_seed(12345)
    start(broken, schedule, create)
    assert read_losses(broken) == read_losses(renamed(options, "unbroken"))
    mine, theirs = read_state(broken), read_state(renamed(options, "unbroken"))
    assert list(mine) == list(theirs)
    for name in mine:
        np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)
    log = (folder_of(broken) / "log.txt").read_text()
    assert f"stopped; step {stopped_at[0]} is saved" in log
    assert f"going on after step {stopped_at[-1]}" in log


def test_the_scale_of_the_loss_goes_on_too(
    options: RunOptions, schedule: Schedule, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    # grows within the run: steps 3 and 6 are the last with their scale
    monkeypatch.setattr("training.loss_scale.LossScale.GROW_AFTER", 3)
    options = replace(options, training=replace(options.training, precision="float16"))
    start(renamed(options, "unbroken"), schedule, create)
    broken = renamed(options, "broken")

    def ask_to_stop(own: int) -> None:
        if own == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        start(broken, schedule, create, before_step=ask_to_stop)
    start(broken, schedule, create)
    assert read_losses(broken) == read_losses(renamed(options, "unbroken"))
    scales = [record["generator_loss_scale"] for record in read_stats(broken)]
    assert scales == [2**16] * 2 + [2**17] * 3 + [2**18] * 3
    state = checkpoint.find_state(folder_of(broken) / "checkpoints")
    assert state is not None and state.counts["scale.discriminator"] == 2**18
    assert state.counts["good_steps.generator"] == 2


def test_a_gradient_that_float16_cannot_hold_ends_training(
    options: RunOptions, schedule: Schedule, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loss_scale.START", 1)
    monkeypatch.setattr("training.optimizer._are_finite", lambda gradients: False)
    options = replace(options, training=replace(options.training, precision="float16"))
    with pytest.raises(TrainingFailed, match=r"float16 holds none.* --precision bfloat16"):
        start(options, schedule, create)


def test_a_killed_run_goes_on_from_its_last_state(
    options: RunOptions, schedule: Schedule, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(renamed(options, "unbroken"), schedule, create)
    killed = renamed(options, "killed", checkpoint_minutes=1e-9)

    class Killed(BaseException): ...

    def kill(step: int) -> None:
        if step == 5:
            raise Killed

    with monkeypatch.context() as patch:
        # A process that is killed saves nothing on its way out.
        patch.setattr(loop._Run, "_save_after", lambda self, error: None)
        with pytest.raises(Killed):
            start(killed, schedule, create, before_step=kill)
    # stats.jsonl may be ahead of the state, and torn.
    with open(folder_of(killed) / "stats.jsonl", "a") as file:
        file.write('{"step": 7, "losses": {}}\n{"step"')
    start(killed, schedule, create)
    assert read_losses(killed) == read_losses(renamed(options, "unbroken"))


def test_drawing_samples_and_saving_change_nothing(
    options: RunOptions, schedule: Schedule, create: Create
) -> None:
    start(renamed(options, "plain"), schedule, create)
    busy = renamed(options, "busy", sample_every=1, checkpoint_minutes=1e-9)
    start(busy, schedule, create)
    assert read_losses(busy) == read_losses(renamed(options, "plain"))
    assert len(list((folder_of(busy) / "samples").iterdir())) == 8


def test_samples_are_drawn_with_the_average_and_the_same_each_time(
    options: RunOptions, create: Create, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[np.ndarray] = []
    real = loop.draw_samples

    def spy(painter: Any, samples: Any, seed: int) -> Any:
        drawn.append(painter.method.networks["generator"].last.weight.numpy().copy())
        sheets = [real(painter, samples, seed) for _ in range(2)]
        np.testing.assert_array_equal(np.array(sheets[0]), np.array(sheets[1]))
        return sheets[0]

    monkeypatch.setattr(loop, "draw_samples", spy)
    start(options, schedule, create)
    state = read_state(options)
    np.testing.assert_array_equal(drawn[-1], state["average.generator.last.weight"])
    assert (drawn[-1] != state["network.generator.last.weight"]).any()


def test_a_sheet_that_is_not_finite_is_a_line_of_the_log(
    options: RunOptions, create: Create, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether training goes on is for the losses to tell."""

    def draw(painter: Any, samples: Any, seed: int) -> Any:
        raise NotFinite("the generator's output is not finite (NaN or infinity)")

    monkeypatch.setattr(loop, "draw_samples", draw)
    assert start(options, schedule, create).step == 8
    assert not list((folder_of(options) / "samples").iterdir())
    said = (folder_of(options) / "log.txt").read_text()
    assert "0004-00000008.png was not drawn: the generator's output is not finite" in said


def test_one_phase_at_a_time_is_the_same_run(
    options: RunOptions, schedule: Schedule, create: Create
) -> None:
    start(renamed(options, "all"), schedule, create)
    with pytest.raises(UserError, match="phase I is not done"):
        start(renamed(options, "one", phase="II"), schedule, create)
    for phase in ("I", "I", "II"):
        start(renamed(options, "one", phase=phase), schedule, create)
    assert read_losses(renamed(options, "one")) == read_losses(renamed(options, "all"))


def test_a_finished_run_takes_another_phase(
    options: RunOptions, schedule: Schedule, create: Create
) -> None:
    start(options, schedule, create)
    assert start(options, schedule, create).step == 8
    longer = replace(schedule, phases=(*schedule.phases, Phase("III", 5, 3, "total", 1e-4)))
    assert start(options, longer, create).step == 10


def test_a_loss_that_is_not_finite_stops_the_run(
    options: RunOptions, schedule: Schedule, create: Create
) -> None:
    with pytest.raises(
        TrainingFailed, match=r"l1 is nan at step 8 \(phase II, epoch 4\); .* step 6"
    ):
        start(options, schedule, create, broken_at=8)
    # The spoilt weights were not saved: the run can be gone on with.
    assert not any(np.isnan(array).any() for array in read_state(options).values())
    assert start(options, schedule, create).step == 8


def test_weights_that_a_good_loss_left_behind_are_not_saved(
    options: RunOptions, schedule: Schedule, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The last step before a checkpoint: its losses are of the weights before it.
    real = Learner.step

    def spoil(learner: Learner, *arguments: Any, **rest: Any) -> dict[str, float]:
        losses = real(learner, *arguments, **rest)
        if learner.optimizers["generator"].n_step == 8:
            bias = learner.method.networks["generator"].last.bias
            bias.update(bias * float("inf"))
        return losses

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", spoil)
        with pytest.raises(
            TrainingFailed,
            match=r"after step 8 there are \d NaN or Inf in 1 tensors: network\.generator\.last\."
            r"bias \(\d\)\. Nothing of it was saved: the last good state is of step 6",
        ):
            start(options, schedule, create)
    folder = folder_of(options) / "checkpoints"
    assert checkpoint.latest_snapshot(folder).name == "generator-0002.safetensors"
    assert start(options, schedule, create).step == 8


def test_a_full_disk_stops_the_run_and_keeps_the_last_state(
    options: RunOptions, schedule: Schedule, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tensor_file.write_tensors

    def full(path: Path, *arguments: Any) -> int:
        if "00000008" in str(path):
            raise OSError(28, "No space left on device")
        return real(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_tensors", full)
        with pytest.raises(TrainingFailed, match=r"step 8 could not .* goes on from step 6"):
            start(options, schedule, create)
    assert start(options, schedule, create).step == 8


class FakeLearner:
    """A learner in NumPy that takes no time: each step adds 1 to every number."""

    def __init__(self, method: Any, options: RunOptions) -> None:
        self.scales: dict[str, Any] = {}
        self.arrays = {"network.generator.a": np.zeros(200, np.float32)}

    def step(self, *arguments: Any, **rest: Any) -> dict[str, float]:
        self.arrays = {name: array + 1 for name, array in self.arrays.items()}
        return {"gan": 0.5}

    def begin_stage(self, stage: str, *, fresh: bool) -> None: ...

    def share(self) -> None: ...

    def drawing(self) -> Any:
        return contextlib.nullcontext()

    def variables(self) -> dict[str, np.ndarray]:
        return self.arrays

    def snapshot(self) -> dict[str, np.ndarray]:
        return {"raw.generator.a": self.arrays["network.generator.a"]}

    def counts(self) -> dict[str, int]:
        return {}

    def load(self, arrays: Any, counts: Any, source: str) -> None:
        self.arrays = {name: np.array(array) for name, array in arrays.items()}


def load_here(pairs: Any, **settings: Any) -> BatchLoader:
    """A loader without helper processes."""
    return BatchLoader(pairs, **{**settings, "workers": 0})


@pytest.fixture
def quick(
    options: RunOptions, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Progress]:
    """A start of a whole run of eight steps, by its name; each step draws, logs and saves."""
    monkeypatch.setattr(loop, "Learner", FakeLearner)
    monkeypatch.setattr(loop, "Painter", lambda *_: None)
    monkeypatch.setattr(loop, "draw_samples", lambda *_: Image.new("RGB", (8, 8)))
    monkeypatch.setattr(os, "fsync", lambda number: None)
    monkeypatch.setattr(loop, "BatchLoader", load_here)

    def run(name: str) -> Progress:
        own = renamed(options, name, sample_every=1, checkpoint_minutes=1e-9)
        return start(own, schedule, lambda *_: None)

    return run


WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}


def in_child(act: Callable[[], object], folder: Path, at: int, number: int, lasting: bool) -> int:
    """The exit code of a process whose disk refuses its at-th write, and if lasting all later ones.

    0: it came through without a refusal; 3: it came through nevertheless; 1: it ended with one line
    for the user; 2: anything else. What it prints goes into the file said.
    """
    child = os.fork()
    if child == 0:
        code, calls = 2, itertools.count(1)

        def refuse() -> None:
            call = next(calls)
            if call == at or (lasting and call > at):
                raise OSError(number, os.strerror(number))

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            place = str(arguments[0]) if arguments else ""
            writes = event in WRITES or (event == "open" and arguments[2] & os.O_ACCMODE)
            if writes and (place.startswith(str(folder)) or not place.startswith("/")):
                refuse()

        def fsync(handle: int) -> None:
            refuse()

        try:
            with open(folder.with_suffix(".said"), "w") as said:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                sys.stdout = sys.stderr = said
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
def test_a_disk_that_refuses_any_write_of_a_run(
    options: RunOptions, quick: Callable[[str], Progress], number: int, lasting: bool
) -> None:
    codes = collections.Counter[int]()
    # All of a start's, then every eleventh: each kind comes up, in another of the eight steps.
    for at in itertools.chain(range(1, 16), itertools.count(16, 11)):
        name = f"run{at}"
        Path(options.training.results_path).mkdir(exist_ok=True)
        folder = folder_of(renamed(options, name))
        code = in_child(functools.partial(quick, name), folder, at, number, lasting)
        said = folder.with_suffix(".said").read_text()
        assert code in (0, 1, 3) and "Traceback" not in said, (at, said)
        codes[code] += 1
        if code == 0:
            break
        saved = checkpoint.find_state(folder / "checkpoints")
        if saved is not None:
            (array,) = saved.read().values()
            assert (array == saved.progress.step).all()
            checkpoint.read_snapshot(checkpoint.latest_snapshot(folder / "checkpoints"))
        if at % 4 == 1:  # the same command goes on
            assert quick(name).step == 8
            state = checkpoint.find_state(folder / "checkpoints")
            assert state is not None and state.progress.step == 8
            (array,) = state.read().values()
            assert (array == 8).all()
    assert codes[0] == 1 and codes[1] > 5
    assert lasting or codes[3] > 5


def test_too_little_space_is_said_before_the_first_step(
    options: RunOptions, schedule: Schedule, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "state_size", lambda learner: 10**18)
    with pytest.raises(UserError, match="checkpoints need"):
        start(options, schedule, create)
    assert not (folder_of(options) / "stats.jsonl").exists()


def test_a_picture_that_breaks_in_the_middle(
    options: RunOptions, schedule: Schedule, create: Create
) -> None:
    path = Path(str(options.data.input_path)) / "train/imgs/p0.png"
    content = path.read_bytes()

    def breaks(step: int) -> None:
        if step == 3:
            for image in path.parent.iterdir():
                image.write_bytes(content[:40])

    # helper processes read ahead, at most an epoch here
    with pytest.raises(UserError, match=r"p\d\.png: expected a picture, got"):
        start(options, schedule, create, before_step=breaks)
    assert len(read_losses(options)) >= 3
    assert read_state(options)


def test_the_report_is_saved_and_bad_pairs_are_left_out(
    options: RunOptions, schedule: Schedule, create: Create
) -> None:
    path = Path(str(options.data.input_path)) / "train/imgs/p3.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"at most 5% of bad pairs, got 1 of 6"):
        start(options, schedule, create)
    assert "p3.png: expected a complete picture" in (folder_of(options) / "check.txt").read_text()
    assert not (folder_of(options) / "stats.jsonl").exists()
    lenient = replace(options, data=replace(options.data, bad_pair_limit=0.5))
    # five pairs in batches of two: two steps an epoch
    assert start(lenient, schedule, create).step == 2 * 2 + 2 * 1


def test_changed_options_and_pairs_are_refused(
    options: RunOptions, schedule: Schedule, create: Create
) -> None:
    def stop(step: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        start(options, schedule, create, before_step=stop)
    other = replace(options, generator=replace(options.generator, channels=4))
    with pytest.raises(UserError, match="channels: 2 -> 4"):
        check_cheaply(other, schedule, 1)
    other = replace(options, loss=replace(options.loss, lambda_feature=1.0))
    check_cheaply(other, schedule, 1)
    (Path(str(options.data.input_path)) / "train/labels/p5.png").unlink()
    lenient = replace(options, data=replace(options.data, bad_pair_limit=0.5))
    with pytest.raises(UserError, match="have changed since epoch 1 began"):
        start(lenient, schedule, create)


def test_a_changed_loss_is_said(options: RunOptions, schedule: Schedule, create: Create) -> None:
    start(options, replace(schedule, phases=schedule.phases[:1]), create)
    other = replace(options, loss=replace(options.loss, lambda_feature=1.0))
    start(other, schedule, create)
    log = (folder_of(options) / "log.txt").read_text()
    assert "from step 7 on  lambda_feature: 10.0 -> 1.0" in log


def test_a_dry_run_writes_nothing(options: RunOptions, schedule: Schedule) -> None:
    text = describe_run(options, schedule)
    assert "would check 6 pairs" in text and "would start anew" in text
    assert not folder_of(options).exists()


def test_cheap_checks(options: RunOptions, schedule: Schedule) -> None:
    assert check_cheaply(options, schedule, 1) == []
    with pytest.raises(UserError, match="phase I has a batch of 2 for 4"):
        check_cheaply(options, schedule, 4)
    nothing = replace(options.loss, lambda_gan=0.0, lambda_feature=0.0, lambda_vgg=0.0)
    with pytest.raises(UserError, match="learns from a loss"):
        check_cheaply(replace(options, loss=nothing), schedule, 1)
    cleaned = replace(schedule, phases=(replace(schedule.phases[0], subset="selection_1"),))
    assert check_cheaply(options, cleaned, 1) == ["selection_1"]
    assert "would make selection_1 as" in describe_run(options, cleaned)
    (Path(str(options.data.input_path)) / "selections").mkdir()
    (Path(str(options.data.input_path)) / "selections/selection_2.txt").write_text("p1\n")
    with pytest.raises(UserError, match=r"python -m tools\.filter_dataset"):
        check_cheaply(options, cleaned, 1)


def test_the_learner_refuses_a_state_of_other_networks(
    options: RunOptions, create: Create, schedule: Schedule
) -> None:
    start(options, schedule, create)
    other = replace(options, optimizer=replace(options.optimizer, ema_decay=0.0))
    state = checkpoint.find_state(folder_of(options) / "checkpoints")
    assert state is not None
    with pytest.raises(UserError, match=r"6 unexpected: average\.generator\.first\.weight, "):
        state.load_into(Learner(create(other, None), other))
