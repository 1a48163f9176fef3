"""Training a segmenter: its steps against the reference, resuming, and its accuracy in the log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest
from PIL import Image

from models.gans import create_method
from models.layouts.layout import Layout
from models.losses import segmentation_loss
from models.networks.segformer import SegFormer, SegFormerShape
from options.errors import UserError
from options.groups import DataOptions, OptimizerOptions, SegmenterOptions
from options.schedule import Phase, Schedule
from options.train import RunOptions
from runtime.stop import Stopped
from tests.models.golden import Part, check, fetch, gradients
from tests.reference.goldens import load
from tests.runs import (
    assert_same_run,
    folder_of,
    read_log,
    read_stats,
    renamed,
    start,
    with_training,
)
from tests.tiny import CLASSES, write_dataset
from training import tasks
from training.optimizer import AdamW
from training.segmentation import SegmentationTrainer
from weights.new_segmenters import create_segmenter
from weights.segmenters import load_segmenter
from weights.snapshots import latest_snapshot

ADAMW = OptimizerOptions(beta1=0.9, beta2=0.999, ema_decay=0.0)
SCHEDULE = Schedule("test", (Phase("I", 2, 2, "total", 1e-3),))
SHAPE = SegFormerShape((4, 8, 10, 16), (1, 1, 1, 1), 8)


def trainer_of(network: SegFormer, **segmenter: Any) -> SegmentationTrainer:
    options = RunOptions(
        data=DataOptions(task="segmentation", classes=network.classes),
        segmenter=SegmenterOptions(**segmenter),
        optimizer=ADAMW,
    )
    return SegmentationTrainer(network, options)


def test_steps_as_published() -> None:
    golden = load("segmenter_steps")
    given = golden.options
    shape = SegFormerShape(tuple(given["widths"]), tuple(given["blocks"]), given["head_width"])
    part = Part("segformer")

    def create() -> SegFormer:
        network = SegFormer(shape=shape, classes=given["classes"], drop_path=0.0, dropout=0.0)
        part.load(network, golden.section("state"))
        return network

    network = create()
    trainer = trainer_of(network, warmup_steps=2)
    before = {name: array.copy() for name, array in part.state(network).items()}
    results = {}
    for step in range(given["steps"]):
        layout = Layout(jt.array(golden.get(f"in/{step}.labels")), network.classes)
        image = jt.array(golden.get(f"in/{step}.image"))
        rate = 1e-4 * trainer.rate_factor(step, step, given["steps"])
        losses = trainer.step(layout, image, learning_rate=rate, seed=step)
        results[f"out/{step}.loss"] = np.array([losses["segmentation"]])
    for name, array in part.state(network).items():
        results |= {f"after/{name}": array, f"change/{name}": array - before[name]}
    fresh = create()
    labels, image = (jt.array(golden.get(f"in/0.{name}")) for name in ("labels", "image"))
    loss = segmentation_loss(fresh(image), labels, ignored=fresh.classes)
    named = {f"state.{name}": value for name, value in part.trainable(fresh).items()}
    check(golden, results | fetch(gradients(loss, named)))


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    trainer = trainer_of(SegFormer(shape=SHAPE, classes=2), warmup_steps=4)
    factors = [trainer.rate_factor(step, step, 10) for step in range(10)]
    assert factors[0] == pytest.approx(1e-6) and factors[4:] == pytest.approx(
        [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    )
    assert factors[2] == pytest.approx(0.8 * (0.5 + 0.5e-6))
    # A second phase starts at its own rate, after the warm-up.
    assert trainer.rate_factor(10, 0, 5) == 1.0


def test_norms_of_the_encoder_do_not_decay_and_the_head_is_faster() -> None:
    trainer = trainer_of(SegFormer(shape=SHAPE, classes=2), head_factor=7.0, weight_decay=0.5)
    adamw = trainer.optimizers["segmenter"]
    assert isinstance(adamw, AdamW)
    decays, factors = adamw.decays, adamw.factors
    kept = {name for name, decay in decays.items() if decay == 0}
    norms = {name for name in decays if name.startswith("encoder.") and "norm" in name}
    assert kept == norms and len(norms) == 38
    assert decays["head.norm.scale"] == 0.5 and decays["encoder.stages.0.blocks.0.ffn.expand.bias"]
    assert {name for name, factor in factors.items() if factor == 7.0} == {
        name for name in factors if name.startswith("head.")
    }


@pytest.fixture
def segmentation(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    """Options of a run with a tiny SegFormer on photos of 32 x 48 pixels."""

    def create(encoder: str, *, classes: int, weights: Path | None, drop_path: float) -> SegFormer:
        assert encoder == "mit_b0"
        return SegFormer(shape=SHAPE, classes=classes, drop_path=drop_path)

    monkeypatch.setattr(tasks, "create_segmenter", create)
    root = write_dataset(Path(str(options.data.input_path)).parent / "photos", pairs=8)
    data = DataOptions(
        task="segmentation",
        input_path=str(root),
        height=32,
        width=32,
        classes=CLASSES,
        held_out=0.3,
        workers=1,
    )
    return replace(
        RunOptions(),
        data=data,
        segmenter=SegmenterOptions(encoder="mit_b0", warmup_steps=2),
        optimizer=replace(ADAMW, ema_decay=0.9),
        training=options.training,
    )


def test_a_run_resumes_exactly_and_measures_held_out_pairs(
    segmentation: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = renamed(segmentation, "unbroken", sample_every=2)
    start(unbroken, SCHEDULE, create_method)
    killed = with_training(renamed(segmentation, "killed", sample_every=2), checkpoint_minutes=1e-9)

    class Killed(BaseException): ...

    step = SegmentationTrainer.step

    def kill(self: SegmentationTrainer, *arguments: Any, **named: Any) -> dict[str, float]:
        if self.optimizers["segmenter"].n_step == 3:
            raise Killed
        return step(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationTrainer, "step", kill)
        with pytest.raises((Killed, Stopped)):
            start(killed, SCHEDULE, create_method)
    start(killed, SCHEDULE, create_method)
    losses = [r["losses"] for r in read_stats(killed) if "losses" in r]
    assert losses == [r["losses"] for r in read_stats(unbroken) if "losses" in r]
    assert_same_run(killed, unbroken)

    folder, log = folder_of(unbroken), read_log(unbroken)
    assert "--encoder mit_b0 starts from random weights" in log
    assert log.count("held-out pairs (one class everywhere: 0.") == log.count("mask accuracy")
    measures = [r["measures"] for r in read_stats(unbroken) if "measures" in r]
    assert len(measures) == log.count("mask accuracy") == len(list((folder / "samples").iterdir()))
    assert all(0 <= m["mask_accuracy"] <= 1 and 0 <= m["mean_iou"] <= 1 for m in measures)
    rates = [r["learning_rate"] for r in read_stats(unbroken) if "losses" in r]
    assert rates[0] == pytest.approx(1e-9) and rates[2] < 1e-3 and rates[-1] < rates[2]

    with pytest.raises(UserError, match="expected a generator, got a segmenter, which generates"):
        latest_snapshot(folder / "checkpoints")
    assert "stretched" not in (folder / "check.txt").read_text()

    # The file has the average, and predicts what the last measurement counted.
    network = load_segmenter(folder / "segmenter.safetensors")
    assert isinstance(network, SegFormer) and network.classes == CLASSES
    with Image.open(sorted((folder / "samples").iterdir())[-1]) as sheet:
        assert sheet.width > sheet.height / 2


def test_without_held_out_pairs_no_accuracy_is_measured(segmentation: RunOptions) -> None:
    options = replace(segmentation, data=replace(segmentation.data, held_out=0.0))
    start(options, Schedule("one", (Phase("I", 1, 4, "total", 1e-3),)), create_method)
    assert "mask accuracy" not in read_log(options)
    assert "no pairs are held out: the accuracy is not measured" in read_log(options)
    assert (folder_of(options) / "segmenter.safetensors").is_file()


def test_a_step_moves_every_weight_of_the_small_segmenter_and_no_statistic_of_its_encoder() -> None:
    network = create_segmenter("efficientnet_lite0", classes=2)
    trainer = SegmentationTrainer(
        network, RunOptions(data=DataOptions(task="segmentation", classes=2), optimizer=ADAMW)
    )
    random = np.random.default_rng(0)
    layout = Layout(jt.array(random.integers(0, 2, (2, 64, 64)).astype(np.int32)), 2)
    image = jt.array(random.uniform(-1, 1, (2, 3, 64, 64)).astype(np.float32))
    with trainer.evaluating():  # as a measurement between steps
        pass
    before = {name: var.numpy().copy() for name, var in network.state_dict().items()}
    trainer.step(layout, image, learning_rate=1e-3, seed=0)
    after = network.state_dict()
    moved = {name for name, values in before.items() if (after[name].numpy() != values).any()}
    assert moved == {name for name in before if "running" not in name or name.startswith("head.")}
