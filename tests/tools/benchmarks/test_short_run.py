"""A few steps in each precision, the lower ones imitated on the CPU."""

from __future__ import annotations

import json

import pytest

from models.layers import kernels
from options.command_line import parse_train
from tools.benchmarks.short_run import main, run_steps

TINY = ["--size", "32", "32", "--halvings", "4", "--channels", "4"]


def test_precisions_agree_at_first_and_differ_by_their_digits() -> None:
    flags = ["--schedule", "main", "--generator", "spade", "--lambda-vgg", "0", *TINY]
    flags += ["--discriminator-channels", "4"]
    runs = {
        precision: run_steps(parse_train([*flags, "--precision", precision]), 3, 2)
        for precision in ("float32", "bfloat16", "float16")
    }
    full = runs["float32"]
    assert "said" not in full and full["steps"] == 3 and full["seconds"] > 0
    assert set(full["losses"]) == {"gan", "feature", "fake", "real"}
    differences = {}
    for precision in ("bfloat16", "float16"):
        run = runs[precision]
        assert "said" not in run and run["steps"] == 3
        differences[precision] = max(
            abs(run["losses"][name][0] - full["losses"][name][0]) for name in full["losses"]
        )
    assert 0 < differences["float16"] < differences["bfloat16"] < 0.1
    assert set(runs["float16"]["loss_scale"]) == {"generator", "discriminator"}
    assert "loss_scale" not in runs["bfloat16"]


def test_what_breaks_off_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--device", "cpu", *TINY, "--steps", "3"]
    assert main([*flags, "--seconds", "0"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["steps"] == 1 and "after 1 of 3 steps" in said["said"]
    # numbers that float16 has not
    monkeypatch.setattr(kernels, "serve", lambda: True)
    monkeypatch.setattr("models.layers.precision._round", lambda x, precision: x * float("inf"))
    assert main([*flags, "--precision", "float16"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["steps"] == 0 and "step 1: " in said["said"] and said["losses"] == {}
