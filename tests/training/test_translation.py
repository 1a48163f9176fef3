"""Translation from its two folders to its images, with the real networks at their smallest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest
from PIL import Image

from inference.contact_sheet import MARGIN, TEXT_HEIGHT
from inference.interpolation import make_interpolations, plan_interpolations
from inference.submission import make_submission, plan_submission
from models.gans import create_method
from options.errors import UserError
from options.groups import (
    DataOptions,
    DiscriminatorOptions,
    GeneratorOptions,
    LossOptions,
    TrainingOptions,
)
from options.schedule import Phase, Schedule
from options.test import TestOptions
from options.train import RunOptions
from runtime.stop import Stopped
from tests.runs import assert_same_run, folder_of, read_losses, renamed, start, stop_at
from training.checkpoint import save_generator
from training.log import Log
from training.plan import Progress
from training.preflight import check_inputs, describe_run, prepare_run
from training.run_folder import RunFolder
from training.trainer import Trainer
from weights.snapshots import latest_snapshot, read_snapshot

SIZE = (16, 32)
CELL = (128, 256)  # of a contact sheet of such images
SCHEDULE = Schedule("test", (Phase("I", 2, 1, "total", 1e-3),))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three content photos, two style photos, and two content photos for tests."""
    root = tmp_path / "dataset"
    for part, count in (("content", 3), ("style", 2), ("test/content", 2)):
        (root / part).mkdir(parents=True)
        for index in range(count):
            random = np.random.default_rng([len(part), index])
            image = np.kron(random.integers(0, 256, (2, 4, 3)), np.ones((10, 10, 1)))
            Image.fromarray(image.astype(np.uint8)).save(root / part / f"{part[0]}{index}.png")
    return root


@pytest.fixture
def options(dataset: Path, tmp_path: Path) -> RunOptions:
    return RunOptions(
        data=DataOptions(
            task="translation", input_path=str(dataset), height=SIZE[0], width=SIZE[1], workers=1
        ),
        generator=GeneratorOptions(channels=2, num_downsamples=4, start="noise"),
        discriminator=DiscriminatorOptions(discriminator_layers=3, discriminator_channels=2),
        loss=LossOptions(lambda_vgg=0.0, lambda_feature=1.0),
        training=TrainingOptions(name="run", results_path=str(tmp_path / "results"), log_every=1),
    ).validate()


def create_and_stop_at(options: RunOptions, vgg: Any, *, step: int = 0) -> Any:
    """The real method, with SIGINT in this step of the process."""
    method: Any = create_method(options, vgg)
    losses, steps, interrupt = method.discriminator_losses, iter(range(1, 100)), stop_at(step)

    def discriminator_losses(*arguments: Any) -> Any:
        interrupt(next(steps))
        return losses(*arguments)

    method.discriminator_losses = discriminator_losses
    return method


def sheet_size(rows: int, columns: int, cell: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a contact sheet without a legend."""
    height, width = cell
    return MARGIN + columns * (width + MARGIN), MARGIN + TEXT_HEIGHT + rows * (height + MARGIN)


def test_a_stopped_run_and_its_images(options: RunOptions, dataset: Path, tmp_path: Path) -> None:
    unbroken, stopped = renamed(options, "unbroken"), renamed(options, "stopped")
    # An epoch has every content photo once.
    assert start(unbroken, SCHEDULE, create_and_stop_at).step == 6
    with pytest.raises(Stopped):
        start(stopped, SCHEDULE, create_and_stop_at, step=2)
    jt.set_global_seed(1)
    assert start(stopped, SCHEDULE, create_and_stop_at).step == 6
    assert_same_run(stopped, unbroken)
    losses = read_losses(stopped)
    assert len(losses) == 6 and set(losses[0][1]) == {"gan", "feature", "fake", "real"}

    folder = folder_of(stopped)
    assert (folder / "check.txt").read_text().count("Checked ") == 2
    with Image.open(folder / "samples/0002-00000006.png") as sheet:
        assert sheet.size == sheet_size(3, 3, CELL)

    test_options = TestOptions(name="stopped", results_path=options.training.results_path)
    plan = plan_submission(test_options)
    assert [job.source_path for job in plan.jobs] == [
        dataset / "test/content" / name for name in ("t0.png", "t1.png")
    ]
    assert plan.notes[0] == f"styles: random, from 2 in {dataset / 'style'} (--seed 0)"
    result = make_submission(plan)
    assert result.count == 2 and result.folder == folder / "submission"
    with Image.open(result.folder / "t0.jpg") as image:
        assert (image.format, image.size) == ("JPEG", SIZE[::-1])
    with Image.open(result.overview_path) as overview:
        assert overview.size == sheet_size(2, 3, CELL)

    # The same images in another order, and among others.
    other = tmp_path / "other"
    other.mkdir()
    for name in ("t1.png", "t0.png"):
        (other / name).write_bytes((dataset / "test/content" / name).read_bytes())
    Image.new("RGB", (9, 9)).save(other / "a.png")
    again = replace(test_options, input_path=str(other), output_path=str(tmp_path / "again"))
    plan = plan_submission(again)
    made = make_submission(replace(plan, jobs=plan.jobs[::-1])).folder
    for name in ("t0.jpg", "t1.jpg"):
        assert (made / name).read_bytes() == (result.folder / name).read_bytes()
    one = str(dataset / "style/s1.png")
    plan = plan_submission(replace(test_options, style=one, height=48, width=64))
    assert not any(note.startswith("styles:") for note in plan.notes)
    assert {str(job.style_path) for job in plan.jobs} == {one}
    assert plan.size == (48, 64)

    first = str(dataset / "style/s0.png")
    ends = replace(test_options, style=first, style_to=one, steps=3, limit=1)
    with Image.open(make_interpolations(plan_interpolations(ends)) / "t0.png") as row:
        assert row.size == sheet_size(1, 3, SIZE)

    snapshot = read_snapshot(latest_snapshot(folder / "checkpoints"))
    assert snapshot.options.data.task == "translation" and snapshot.takes_photo


def save_random_generator(options: RunOptions) -> None:
    """Save a snapshot of the run, so that inference can be planned."""
    folder = folder_of(options) / "checkpoints"
    folder.mkdir(parents=True)
    trainer = Trainer(create_method(options), options)
    save_generator(folder, trainer, options, Progress(epoch=2), [])


def test_sources_of_styles(options: RunOptions, dataset: Path, tmp_path: Path) -> None:
    save_random_generator(options)
    test_options = TestOptions(name="run", results_path=options.training.results_path)
    plans = (plan_submission(replace(test_options, seed=seed)) for seed in range(20))
    chosen = {tuple(str(job.style_path) for job in plan.jobs) for plan in plans}
    assert len(chosen) == 4  # two contents with one of two styles each
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (9, 9)).save(photos / "m.png")
    styled = replace(test_options, img_path=str(photos))
    assert {job.style_path for job in plan_submission(styled).jobs} == {photos / "m.png"}
    table = dataset / "test/content/label_to_img.json"
    table.write_text(json.dumps({"t0.png": "s1.png", "t1.png": "s0.png"}))
    plan = plan_submission(test_options)
    assert [job.style_path.name for job in plan.jobs if job.style_path] == ["s1.png", "s0.png"]
    assert plan.notes[0] == f"styles: from {table}"
    with pytest.raises(UserError, match=r"label_to_img\.json: .* \(s0, s1\).*--img_path"):
        plan_submission(styled)
    cut = dataset / "test/content/t1.png"
    cut.write_bytes(cut.read_bytes()[:60])
    with pytest.raises(UserError, match=r"^1 of 2 photos are invalid: .*t1\.png"):
        plan_submission(test_options)


def test_checks_before_the_first_step(options: RunOptions, dataset: Path) -> None:
    assert check_inputs(options, SCHEDULE, 1) == []
    assert "would check 3 photos of" in describe_run(options, SCHEDULE)
    log = Log(RunFolder(options.training.results_path, "run"))
    cut = dataset / "style/s1.png"
    cut.write_bytes(cut.read_bytes()[:60])
    with pytest.raises(UserError, match="at most 5% of bad photos, got 1 of 2"):
        prepare_run(options, SCHEDULE, log)
    lenient = replace(options, data=replace(options.data, bad_pair_limit=0.5))
    preparation = prepare_run(lenient, SCHEDULE, log)
    preparation.folder.close()
    log.close()
    checked = preparation.checked
    assert checked is not None
    assert [photo.stem for photo in checked.styles] == ["s0"] and len(checked.items) == 3
    first = preparation.plan[0]
    assert first.digest != replace(first, styles=()).digest
    cut.unlink()
    (dataset / "style/s0.png").unlink()
    with pytest.raises(UserError, match="--task translation") as error:
        check_inputs(options, SCHEDULE, 1)
    assert str(dataset / "style") in str(error.value)
