"""The loop with a small method: the files of a run, resuming, and its failures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest
from PIL import Image

from models.gans import create_method
from options.errors import UserError
from options.groups import DiscriminatorOptions, GeneratorOptions, OptimizerOptions
from options.schedule import Phase, Schedule
from options.train import RunOptions
from runtime.stop import Stopped
from tests.runs import (
    MethodFactory,
    assert_same_run,
    folder_of,
    last_state,
    read_log,
    read_losses,
    read_state,
    read_stats,
    renamed,
    start,
    stop_at,
)
from training import loop
from training.loop import TrainingFailed
from training.trainer import Trainer
from weights.safetensors_file import read_tensors
from weights.snapshots import latest_snapshot

STAGED = Schedule(
    "staged",
    (
        Phase("I", 1, 2, "total", 1e-3, "global"),
        Phase("II", 2, 2, "total", 1e-3, "enhancer"),
        Phase("III", 3, 2, "total", 1e-3),
    ),
)


def test_files_of_a_run(options: RunOptions, schedule: Schedule, create: MethodFactory) -> None:
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


def _create_and_stop_at(step: int) -> MethodFactory:
    """The factory of the real methods, with SIGINT in this generator step of the process."""

    def create(options: RunOptions, vgg: Any) -> Any:
        method = create_method(options, vgg)
        losses, count = method.generator_losses, iter(range(1, 100))
        interrupt = stop_at(step)

        def generator_losses(content: Any, image: Any) -> Any:
            interrupt(next(count))
            return losses(content, image)

        method.generator_losses = generator_losses  # type: ignore[method-assign]
        return method

    return create


def test_stages_train_their_part_and_resume_after_a_stop(options: RunOptions) -> None:
    options = replace(
        options,
        data=replace(options.data, height=32, width=48, epoch_images=4),
        generator=GeneratorOptions(generator="pix2pixhd", channels=1, num_downsamples=4),
        discriminator=DiscriminatorOptions(
            discriminator_scales=1, discriminator_layers=2, discriminator_channels=1
        ),
        optimizer=OptimizerOptions(beta1=0.5, beta2=0.999, ema_decay=0.9),
    )
    unbroken, stopped = renamed(options, "unbroken"), renamed(options, "stopped")
    start(unbroken, STAGED, create_method)
    for step in (2, 1):  # at the end of the first stage, and within the second
        with pytest.raises(Stopped):
            start(stopped, STAGED, _create_and_stop_at(step))
    start(stopped, STAGED, create_method)
    assert_same_run(stopped, unbroken)
    folder = folder_of(stopped) / "checkpoints"
    first, second, third = (
        read_tensors(folder / f"generator-{epoch:04d}.safetensors")[0] for epoch in (1, 2, 3)
    )
    assert [s["raw.generator.global_alone"].item() for s in (first, second, third)] == [1, 0, 0]
    for name, array in first.items():
        if name.startswith("raw.generator.global_generator."):
            np.testing.assert_array_equal(second[name], array, err_msg=name)
            frozen = ".last." in name
            assert (third[name] == array).all() == frozen, name
        elif name.startswith("raw.generator.enhancer."):
            assert (second[name] != array).any(), name


@pytest.mark.parametrize("stopped_at", [[1], [3], [5], [6], [2, 4, 7]])
def test_a_stopped_run_resumes_exactly(
    options: RunOptions, schedule: Schedule, create: MethodFactory, stopped_at: list[int]
) -> None:
    unbroken, stopped = renamed(options, "unbroken"), renamed(options, "stopped")
    start(unbroken, schedule, create)
    done = 0
    for step in stopped_at:
        with pytest.raises(Stopped) as caught:
            start(stopped, schedule, create, before_step=stop_at(step - done))
        assert caught.value.exit_code == 130
        done = step
        assert read_losses(stopped)[-1][0] == step
    # Random numbers of this process must not matter.
    jt.set_global_seed(12345)
    start(stopped, schedule, create)
    assert_same_run(stopped, unbroken)
    log = read_log(stopped)
    for step in stopped_at:
        assert f"stopped; step {step} is saved, and the same command resumes from it" in log
        assert f"resuming after step {step} (epoch " in log


def test_the_loss_scale_resumes(
    options: RunOptions, schedule: Schedule, create: MethodFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It grows within the run: steps 3 and 6 are the last with their scale.
    monkeypatch.setattr("training.loss_scale.LossScale.GROW_AFTER", 3)
    options = replace(options, training=replace(options.training, precision="float16"))
    unbroken, stopped = renamed(options, "unbroken"), renamed(options, "stopped")
    start(unbroken, schedule, create)
    with pytest.raises(Stopped):
        start(stopped, schedule, create, before_step=stop_at(2))
    start(stopped, schedule, create)
    assert read_losses(stopped) == read_losses(unbroken)
    scales = [record["generator_loss_scale"] for record in read_stats(stopped)]
    assert scales == [2**16] * 2 + [2**17] * 3 + [2**18] * 3
    counts = last_state(stopped).counts
    assert counts["scale.discriminator"] == 2**18 and counts["good_steps.generator"] == 2


def test_gradients_that_overflow_float16_end_the_training(
    options: RunOptions, schedule: Schedule, create: MethodFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loss_scale.START", 1)
    monkeypatch.setattr("training.optimizer._are_finite", lambda gradients: False)
    options = replace(options, training=replace(options.training, precision="float16"))
    with pytest.raises(
        TrainingFailed,
        match=r"gradients overflow float16 at step 1, .* Last good checkpoint: step 0\. "
        r"Resume from it with --precision bfloat16",
    ):
        start(options, schedule, create)


def test_a_killed_run_resumes_from_its_last_state(
    options: RunOptions, schedule: Schedule, create: MethodFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = renamed(options, "unbroken")
    start(unbroken, schedule, create)
    killed = renamed(options, "killed", checkpoint_minutes=1e-9)

    class Killed(BaseException): ...

    def kill(step: int) -> None:
        if step == 5:
            raise Killed

    with monkeypatch.context() as patch:
        # A killed process saves nothing at its end.
        patch.setattr(loop._Run, "save_after", lambda self, error: None)
        with pytest.raises(Killed):
            start(killed, schedule, create, before_step=kill)
    # stats.jsonl may be ahead of the state, and its last line incomplete.
    with open(folder_of(killed) / "stats.jsonl", "a") as file:
        file.write('{"step": 7, "losses": {}}\n{"step"')
    start(killed, schedule, create)
    assert_same_run(killed, unbroken)


def test_samples_and_checkpoints_change_no_loss(
    options: RunOptions, schedule: Schedule, create: MethodFactory
) -> None:
    plain = renamed(options, "plain")
    start(plain, schedule, create)
    busy = renamed(options, "busy", sample_every=1, checkpoint_minutes=1e-9)
    start(busy, schedule, create)
    assert read_losses(busy) == read_losses(plain)
    assert len(list((folder_of(busy) / "samples").iterdir())) == 8


def test_one_phase_at_a_time_is_the_same_run(
    options: RunOptions, schedule: Schedule, create: MethodFactory
) -> None:
    start(renamed(options, "all"), schedule, create)
    with pytest.raises(UserError, match=r"--phase II: expected phase I to be complete"):
        start(renamed(options, "one", phase="II"), schedule, create)
    for phase in ("I", "I", "II"):
        start(renamed(options, "one", phase=phase), schedule, create)
    assert read_losses(renamed(options, "one")) == read_losses(renamed(options, "all"))


def test_a_finished_run_takes_another_phase(
    options: RunOptions, schedule: Schedule, create: MethodFactory
) -> None:
    start(options, schedule, create)
    assert start(options, schedule, create).step == 8
    longer = replace(schedule, phases=(*schedule.phases, Phase("III", 5, 3, "total", 1e-4)))
    assert start(options, longer, create).step == 10


def test_a_loss_that_is_not_finite_stops_the_run(
    options: RunOptions, schedule: Schedule, create: MethodFactory
) -> None:
    with pytest.raises(
        TrainingFailed,
        match=r"loss l1 is nan at step 8 \(phase II, epoch 4\)\. Last good checkpoint: step 6\.",
    ):
        start(options, schedule, create, nan_at=8)
    # The weights of that step are not saved, so the run can resume.
    assert not any(np.isnan(array).any() for array in read_state(options).values())
    assert start(options, schedule, create).step == 8


def test_weights_that_are_not_finite_are_not_saved(
    options: RunOptions, schedule: Schedule, create: MethodFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the last step before a checkpoint: its losses depend on the weights before it.
    real = Trainer.step

    def overflow(trainer: Trainer, *arguments: Any, **settings: Any) -> dict[str, float]:
        losses = real(trainer, *arguments, **settings)
        if trainer.optimizers["generator"].n_step == 8:
            bias = trainer.method.networks["generator"].last.bias
            bias.update(bias * float("inf"))
        return losses

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", overflow)
        with pytest.raises(
            TrainingFailed,
            match=r"weights are not finite after step 8: \d NaN or Inf in 1 tensors: "
            r"network\.generator\.last\.bias \(\d\)\. They are not saved\. "
            r"Last good checkpoint: step 6\.",
        ):
            start(options, schedule, create)
    folder = folder_of(options) / "checkpoints"
    assert latest_snapshot(folder).name == "generator-0002.safetensors"
    assert start(options, schedule, create).step == 8


def test_a_photo_that_breaks_during_the_training(
    options: RunOptions, schedule: Schedule, create: MethodFactory
) -> None:
    path = Path(str(options.data.input_path)) / "train/imgs/p0.png"
    content = path.read_bytes()

    def cut_photos(step: int) -> None:
        if step == 3:
            for photo in path.parent.iterdir():
                photo.write_bytes(content[:40])

    # Helper processes read ahead, by an epoch at most here.
    with pytest.raises(UserError, match=r"p\d\.png: expected .*, got"):
        start(options, schedule, create, before_step=cut_photos)
    assert len(read_losses(options)) >= 3
    assert read_state(options)


def test_changed_files_within_an_epoch_are_refused(
    options: RunOptions, schedule: Schedule, create: MethodFactory
) -> None:
    with pytest.raises(Stopped):
        start(options, schedule, create, before_step=stop_at(1))
    (Path(str(options.data.input_path)) / "train/labels/p5.png").unlink()
    lenient = replace(options, data=replace(options.data, bad_pair_limit=0.5))
    with pytest.raises(
        UserError, match=r"phase I: expected the files that epoch 1 began with, got others \(5 now"
    ):
        start(lenient, schedule, create)


def test_a_changed_loss_is_logged(
    options: RunOptions, schedule: Schedule, create: MethodFactory
) -> None:
    start(options, replace(schedule, phases=schedule.phases[:1]), create)
    other = replace(options, loss=replace(options.loss, lambda_feature=1.0))
    start(other, schedule, create)
    assert "from step 7 on  lambda_feature: 10 -> 1" in read_log(options)


def test_a_state_of_other_networks_is_refused(
    options: RunOptions, create: MethodFactory, schedule: Schedule
) -> None:
    start(options, schedule, create)
    other = replace(options, optimizer=replace(options.optimizer, ema_decay=0.0))
    with pytest.raises(UserError, match=r"6 unexpected: ema\.generator\.first\.weight, "):
        last_state(options).load_into(Trainer(create(other, None), other))
