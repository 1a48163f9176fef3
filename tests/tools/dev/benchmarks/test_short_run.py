"""A few steps in each precision; the CPU emulates the lower ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from options.command_line import parse_train
from tools.dev.benchmarks.short_run import main, run_steps
from training.loss_scale import GradientOverflow
from training.trainer import Trainer

TINY = ["--size", "32", "32", "--num-downsamples", "4", "--channels", "4"]


def test_precisions_differ_by_their_rounding() -> None:
    flags = ["--schedule", "main", "--generator", "spade", "--lambda-vgg", "0", *TINY]
    flags += ["--discriminator-channels", "4"]
    runs = {
        precision: run_steps(parse_train([*flags, "--precision", precision]), 3, 2)
        for precision in ("float32", "bfloat16", "float16")
    }
    full = runs["float32"]
    assert "message" not in full and full["steps"] == 3 and full["seconds"] > 0
    assert set(full["losses"]) == {"gan", "feature", "fake", "real"}
    differences = {}
    for precision in ("bfloat16", "float16"):
        run = runs[precision]
        assert "message" not in run and run["steps"] == 3
        differences[precision] = max(
            abs(run["losses"][name][0] - full["losses"][name][0]) for name in full["losses"]
        )
    assert 0 < differences["float16"] < differences["bfloat16"] < 0.1
    assert set(runs["float16"]["loss_scale"]) == {"generator", "discriminator"}
    assert "loss_scale" not in runs["bfloat16"]


def test_the_time_limit_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--device", "cpu", *TINY, "--steps", "3"]
    assert main([*flags, "--seconds", "0"]) == 1
    line = json.loads(capsys.readouterr().out)
    assert line["steps"] == 1 and "after 1 of 3 steps" in line["message"]


def test_nonfinite_losses_and_gradients_are_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([{"gan": 1.0}, {"gan": float("nan")}, {"gan": 2.0}])

    def step(self: Trainer, *arguments: Any, **named: Any) -> dict[str, float]:
        found = next(answers, None)
        if found is None:
            raise GradientOverflow
        return found

    monkeypatch.setattr(Trainer, "step", step)
    flags = ["--device", "cpu", *TINY, "--precision", "float16"]
    for steps, message, losses in (
        (1, "step 2: {'gan': nan}", [1.0]),
        (1, "step 2: no fin", [2.0]),
    ):
        assert main(flags) == 1
        found = json.loads(capsys.readouterr().out)
        assert found["steps"] == steps and found["losses"] == {"gan": losses}
        assert found["message"].startswith(message)
