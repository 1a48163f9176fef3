"""A run of seconds inside the test process: its options, its schedule, and a start of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from options.groups import (
    DataOptions,
    GeneratorOptions,
    LossOptions,
    OptimizerOptions,
    TrainingOptions,
)
from options.schedule import Phase, Schedule
from options.train import RunOptions
from tests.tiny import CLASSES, write_dataset
from training.checkpoint import State, find_state
from training.log import Log
from training.plan import Progress
from training.preflight import prepare_run
from training.run_folder import RunFolder
from weights.safetensors_file import read_tensors

SIZE = (16, 32)
# Two epochs of three steps, then two of one.
SCHEDULE = Schedule("test", (Phase("I", 2, 2, "total", 1e-3), Phase("II", 4, 4, "total", 2e-3)))

MethodFactory: TypeAlias = Callable[..., Any]


def make_options(folder: Path) -> RunOptions:
    """Options of a tiny TSIT on a dataset of six pairs that is written into `folder`."""
    dataset = write_dataset(folder / "dataset", pairs=6, tests=3, size=SIZE)
    return RunOptions(
        data=DataOptions(
            input_path=str(dataset), height=SIZE[0], width=SIZE[1], classes=CLASSES, workers=1
        ),
        generator=GeneratorOptions(generator="tsit", channels=2, num_downsamples=4),
        loss=LossOptions(lambda_vgg=0.0),
        optimizer=OptimizerOptions(ema_decay=0.9),
        training=TrainingOptions(
            name="run", results_path=str(folder / "results"), log_every=1, sample_every=1000
        ),
    )


def with_training(options: RunOptions, **changes: Any) -> RunOptions:
    return replace(options, training=replace(options.training, **changes))


def renamed(options: RunOptions, name: str, **changes: Any) -> RunOptions:
    """The options of another run, with changes of its training options."""
    return with_training(options, name=name, **changes)


def start(
    options: RunOptions, schedule: Schedule, create: MethodFactory, **settings: Any
) -> Progress:
    """Start a run as train.py does; `settings` go to the factory of the method."""
    from training.loop import train

    log = Log(RunFolder(options.training.results_path, str(options.training.name)))
    preparation = prepare_run(options, schedule, log)
    try:
        if not preparation.plan:
            return preparation.progress
        return train(preparation, log, create=lambda o, vgg: create(o, vgg, **settings))
    finally:
        log.close()
        preparation.folder.close()


def stop_at(step: int) -> Callable[[int], None]:
    """A `before_step` that sends SIGINT in the generator step of this number."""

    def before_step(now: int) -> None:
        if now == step:
            os.kill(os.getpid(), signal.SIGINT)

    return before_step


def folder_of(options: RunOptions) -> Path:
    return Path(options.training.results_path) / str(options.training.name)


def read_log(options: RunOptions) -> str:
    return (folder_of(options) / "log.txt").read_text()


def read_stats(options: RunOptions) -> list[dict[str, Any]]:
    lines = (folder_of(options) / "stats.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def read_losses(options: RunOptions) -> list[tuple[int, dict[str, float]]]:
    """(step, losses) of every step."""
    records = read_stats(options)
    return [(record["step"], record["losses"]) for record in records if "losses" in record]


def last_state(options: RunOptions) -> State:
    """The state that the run would resume from."""
    state = find_state(folder_of(options) / "checkpoints")
    assert state is not None
    return state


def read_state(options: RunOptions) -> dict[str, np.ndarray]:
    """The values of that state."""
    return read_tensors(last_state(options).path / "state.safetensors")[0]


def assert_same_run(options: RunOptions, reference: RunOptions) -> None:
    """Both runs have the same losses in every step, and the same state at the end."""
    assert read_losses(options) == read_losses(reference)
    found, expected = read_state(options), read_state(reference)
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
