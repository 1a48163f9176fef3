"""Sample sheets of a run: their weights, their samples, and their failures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inference.samples import render_samples
from inference.synthesizer import NotFinite
from options.schedule import Schedule
from options.train import RunOptions
from tests.runs import MethodFactory, folder_of, read_log, read_state, renamed, start
from training import sample_sheets


def test_samples_have_ema_weights_and_are_deterministic(
    options: RunOptions, create: MethodFactory, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[np.ndarray] = []
    stems: list[list[str]] = []

    def spy(synthesizer: Any, samples: Any, seed: int) -> Any:
        weights.append(synthesizer.method.networks["generator"].last.weight.numpy().copy())
        stems.append(samples.stems)
        sheets = [render_samples(synthesizer, samples, seed) for _ in range(2)]
        np.testing.assert_array_equal(np.array(sheets[0]), np.array(sheets[1]))
        return sheets[0]

    monkeypatch.setattr(sample_sheets, "render_samples", spy)
    start(options, schedule, create)
    state = read_state(options)
    np.testing.assert_array_equal(weights[-1], state["ema.generator.last.weight"])
    assert (weights[-1] != state["network.generator.last.weight"]).any()
    assert stems == [[f"p{index}" for index in range(6)]] * 2


def test_a_step_has_one_sheet(
    options: RunOptions, create: MethodFactory, schedule: Schedule
) -> None:
    # Steps 6 and 8 end a phase, and 2 divides them.
    even = renamed(options, "even", sample_every=2)
    start(even, schedule, create)
    names = sorted(path.name for path in (folder_of(even) / "samples").iterdir())
    assert [name.partition("-")[2] for name in names] == [
        f"0000000{step}.png" for step in (2, 4, 6, 8)
    ]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            NotFinite("the generator's output is not finite (NaN or infinity)"),
            "0004-00000008.png was not rendered: the generator's output is not finite",
        ),
        (
            OSError(28, "No space left on device"),
            "0004-00000008.png could not be written: No space left on device",
        ),
    ],
)
def test_a_failure_is_logged_and_training_continues(
    options: RunOptions,
    create: MethodFactory,
    schedule: Schedule,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    line: str,
) -> None:
    def fail(synthesizer: Any, samples: Any, seed: int) -> Any:
        raise error

    monkeypatch.setattr(sample_sheets, "render_samples", fail)
    assert start(options, schedule, create).step == 8
    assert not list((folder_of(options) / "samples").iterdir())
    assert line in read_log(options)
