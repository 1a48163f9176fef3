"""Measures of a generator during training: their values, the curve, the best snapshot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.images import read_image
from data.transforms import denormalize
from inference.synthesizer import NotFinite, Synthesizer
from metrics.features import FeatureNetwork
from metrics.frechet import frechet_distance, statistics_of
from metrics.predictions import Predictor
from options.command_line import parse_train
from options.errors import UserError
from options.schedule import Schedule
from options.train import RunOptions
from tests.runs import (
    MethodFactory,
    folder_of,
    read_log,
    read_losses,
    read_stats,
    renamed,
    start,
    with_training,
)
from tests.tiny import CLASSES
from training import generator_evaluation
from training.generator_evaluation import GeneratorEvaluation
from weights.snapshots import read_best, read_snapshot


def prepare(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[::8, ::8].transpose(2, 0, 1), np.float32) / 255


def colors(batch: np.ndarray) -> np.ndarray:
    return batch.mean(axis=(2, 3))


NETWORK = FeatureNetwork("colors", 3, prepare, colors)


def predict(batch: np.ndarray) -> np.ndarray:
    """The class whose color in the photos is nearest: red is 60 times the class."""
    red = denormalize(batch)[:, 0].astype(int)
    return np.clip((red + 30) // 60, 0, CLASSES - 1).astype(np.int32)


@pytest.fixture
def evaluated(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    """A run that is measured every two steps, with networks of this file."""
    monkeypatch.setattr(generator_evaluation, "load_network", lambda *_: NETWORK)
    monkeypatch.setattr(
        generator_evaluation, "load_predictor", lambda _: Predictor(CLASSES, predict)
    )
    monkeypatch.setattr("training.preflight.check_segmenters", lambda _: None)
    monkeypatch.setattr("training.tasks.load_segmenters", lambda *_: _NoSegmenters())
    loss = replace(options.loss, segmenter="segmenter.safetensors")
    return with_training(replace(options, loss=loss), evaluate_every=2, evaluate_layouts=3)


class _NoSegmenters:
    first = second = None
    digests: dict[str, str] = {}  # noqa: RUF012


def measures_of(options: RunOptions) -> dict[int, dict[str, float]]:
    return {r["step"]: r["measures"] for r in read_stats(options) if "measures" in r}


def test_the_curve_has_the_measures_of_the_ema_and_changes_no_loss(
    evaluated: RunOptions, schedule: Schedule, create: MethodFactory
) -> None:
    plain = renamed(evaluated, "plain", evaluate_every=None)
    measured = renamed(evaluated, "measured")
    start(plain, schedule, create)
    start(measured, schedule, create)
    assert read_losses(measured) == read_losses(plain) and not measures_of(plain)
    curve = measures_of(measured)
    assert sorted(curve) == [2, 4, 6, 8]
    for measures in curve.values():
        assert set(measures) == {
            *("fd_effnet", "kd_effnet", "mask_accuracy", "mean_iou"),
            *("style_hue", "style_bgr_hsv"),
        }
        assert measures["fd_effnet"] > 0 and 0 <= measures["mask_accuracy"] <= 1
    log = read_log(measured)
    assert f"step 2: FD-EffNet {curve[2]['fd_effnet']:.4f}" in log and "(3 images, 6 photos)" in log


def test_the_measures_are_those_of_the_images(
    evaluated: RunOptions,
    schedule: Schedule,
    create: MethodFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = [np.full((16, 32, 3), value, np.uint8) for value in (0, 60, 120)]
    layouts: list[np.ndarray] = []

    def generate(self: GeneratorEvaluation, synthesizer: Any, read: Any) -> np.ndarray:
        path = Path(str(evaluated.data.input_path)) / f"val/labels/{read.stem}.png"
        layouts.append(self.classes.read(path, 384, 512))
        return images[len(layouts) - 1]

    monkeypatch.setattr(GeneratorEvaluation, "_generate", generate)
    start(with_training(evaluated, evaluate_every=8), schedule, create)
    (measures,) = measures_of(evaluated).values()
    folder = Path(str(evaluated.data.input_path)) / "train/imgs"
    photos = [colors(prepare(read_image(path))[None])[0] for path in sorted(folder.iterdir())]
    made = [colors(prepare(image)[None])[0] for image in images]  # of one color at any size
    expected = frechet_distance(statistics_of(np.stack(made)), statistics_of(np.stack(photos)))
    assert measures["fd_effnet"] == pytest.approx(expected, rel=1e-6)
    shares = [float((layout == index).mean()) for index, layout in enumerate(layouts)]
    assert measures["mask_accuracy"] == pytest.approx(np.mean(shares))


@pytest.mark.parametrize(
    ("measure", "values", "kept"),
    [("fd_effnet", [3.0, 2.0, 5.0, 2.0], 4), ("mask_accuracy", [0.3, 0.2, 0.5, 0.5], 6)],
)
def test_the_best_generator_is_kept_next_to_the_newest(
    evaluated: RunOptions,
    schedule: Schedule,
    create: MethodFactory,
    monkeypatch: pytest.MonkeyPatch,
    measure: str,
    values: list[float],
    kept: int,
) -> None:
    found = iter(values)
    monkeypatch.setattr(GeneratorEvaluation, "_measure", lambda *_: {measure: next(found)})
    options = with_training(evaluated, best_measure=measure)
    start(options, schedule, create)
    checkpoints = folder_of(options) / "checkpoints"
    best = read_snapshot(checkpoints / "best.safetensors")
    assert best.step == kept and read_best(checkpoints, measure) == values[kept // 2 - 1]
    assert read_best(checkpoints, "another") is None
    newest = (checkpoints / "latest").read_text().strip()
    assert read_snapshot(checkpoints / newest).step == 8


def test_an_image_that_is_not_finite_ends_no_training(
    evaluated: RunOptions,
    schedule: Schedule,
    create: MethodFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> np.ndarray:
        raise NotFinite("the generator's output is not finite (NaN or infinity)")

    monkeypatch.setattr(Synthesizer, "synthesize", fail)
    start(evaluated, schedule, create)
    assert not measures_of(evaluated)
    assert "step 8: not measured: the generator's output is not finite" in read_log(evaluated)
    assert read_best(folder_of(evaluated) / "checkpoints", "fd_effnet") is None


def test_a_disk_that_refuses_the_best_generator_ends_no_training(
    evaluated: RunOptions,
    schedule: Schedule,
    create: MethodFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(generator_evaluation, "save_best", refuse)
    assert start(evaluated, schedule, create).step == 8
    assert "the best generator was not written: No space left on device" in read_log(evaluated)


def test_layouts_with_photos_show_the_ceiling_of_the_segmenter(
    evaluated: RunOptions, schedule: Schedule, create: MethodFactory
) -> None:
    root = Path(str(evaluated.data.input_path))
    (root / "val/imgs").mkdir()
    for index in range(3):  # other photos than the layouts': accuracy below 1
        photo = (root / f"train/imgs/p{index}.png").read_bytes()
        (root / f"val/imgs/t{index}.png").write_bytes(photo)
    start(evaluated, schedule, create)
    log = read_log(evaluated)
    assert log.count("evaluation: the segmenter's mask accuracy on 3 photos of the layouts is") == 1


def test_measures_without_a_segmenter_and_what_needs_one(
    evaluated: RunOptions, schedule: Schedule, create: Callable[..., Any]
) -> None:
    options = replace(evaluated, loss=replace(evaluated.loss, segmenter=None))
    start(options, schedule, create)
    assert all("mask_accuracy" not in measures for measures in measures_of(options).values())
    with pytest.raises(UserError, match="--best-measure mask_accuracy: expected --segmenter FILE"):
        parse_train(["--evaluate-every", "5", "--best-measure", "mask_accuracy"])
    with pytest.raises(UserError, match="--evaluate-layouts 3 has no effect without"):
        parse_train(["--evaluate-layouts", "3"])


def test_a_segmenter_of_the_losses_is_no_independent_judge(
    evaluated: RunOptions, schedule: Schedule, create: MethodFactory
) -> None:
    warning = "measures with the segmenter that the losses use"
    start(evaluated, schedule, create)
    assert warning not in read_log(evaluated)
    options = renamed(evaluated, "loss")
    options = replace(options, loss=replace(options.loss, lambda_segmentation=1.0))
    start(options, schedule, create)
    assert warning in read_log(options)
    second = renamed(options, "second")
    second = replace(second, loss=replace(second.loss, second_segmenter="other.safetensors"))
    start(second, schedule, create)
    assert warning not in read_log(second)
