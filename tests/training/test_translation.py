"""Translation from its two folders to its pictures, with the real networks at their smallest."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest
from PIL import Image

from models.methods import create_method
from options.errors import UserError
from options.run import (
    DataOptions,
    DiscriminatorOptions,
    GeneratorOptions,
    LossOptions,
    RunOptions,
    TestOptions,
    TrainingOptions,
)
from options.schedule import Phase, Schedule
from tools.style_strip import make_strips, plan_strips
from tools.submission import make_submission, plan_submission
from training.checkpoint import latest_snapshot, read_snapshot
from training.log import Log
from training.loop import train
from training.phases import Progress
from training.preparation import check_cheaply, describe_run, prepare_run
from training.run_folder import RunFolder
from training.stop import Stopped
from training.tensor_file import read_tensors

SIZE = (16, 32)
SCHEDULE = Schedule("test", (Phase("I", 2, 1, "total", 1e-3),))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three photographs as content, two of the style, and two to test on."""
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
        generator=GeneratorOptions(channels=2, halvings=4, start="noise"),
        discriminator=DiscriminatorOptions(discriminator_layers=3, discriminator_channels=2),
        loss=LossOptions(lambda_vgg=0.0, lambda_feature=1.0),
        training=TrainingOptions(name="run", results_path=str(tmp_path / "results"), log_every=1),
    ).validate()


def start(options: RunOptions, stop_at: int = 0) -> Progress:
    """One start of a run, as train.py makes it, with a signal after `stop_at` of its steps."""
    log = Log(RunFolder(options.training.results_path, str(options.training.name)))
    preparation = prepare_run(options, SCHEDULE, log)

    def create(options: RunOptions, vgg: Any) -> Any:
        method: Any = create_method(options, vgg)
        steps, losses = [], method.discriminator_losses

        def count(*arguments: Any) -> Any:
            steps.append(0)
            if len(steps) == stop_at:
                signal.raise_signal(signal.SIGINT)
            return losses(*arguments)

        method.discriminator_losses = count
        return method

    try:
        return train(preparation, log, create=create)
    finally:
        log.close()
        preparation.folder.close()


def named(options: RunOptions, name: str) -> RunOptions:
    return replace(options, training=replace(options.training, name=name))


def read_run(options: RunOptions) -> tuple[list[Any], dict[str, np.ndarray]]:
    folder = RunFolder(options.training.results_path, str(options.training.name))
    losses = [json.loads(line)["losses"] for line in folder.stats_path.read_text().splitlines()]
    state = max(folder.checkpoints.glob("state-*/state.safetensors"))
    return losses, read_tensors(state)[0]


def test_a_run_its_stop_and_its_pictures(
    options: RunOptions, dataset: Path, tmp_path: Path
) -> None:
    unbroken, broken = named(options, "unbroken"), named(options, "broken")
    assert start(unbroken).step == 6  # every content photograph once an epoch
    with pytest.raises(Stopped):
        start(broken, stop_at=2)
    jt.set_global_seed(1)
    assert start(broken).step == 6
    losses, state = read_run(unbroken)
    assert len(losses) == 6 and set(losses[0]) == {"gan", "feature", "fake", "real"}
    broken_losses, broken_state = read_run(broken)
    assert broken_losses == losses and list(broken_state) == list(state)
    for name, array in state.items():
        np.testing.assert_array_equal(broken_state[name], array, err_msg=name)

    folder = RunFolder(options.training.results_path, "broken")
    assert folder.report_path.read_text().count("Checked ") == 2
    with Image.open(folder.samples / "0002-00000006.png") as sheet:
        assert sheet.size == (3 * 256 + 4 * 6, 6 + 18 + 3 * (128 + 6))  # three rows, no legend

    wanted = TestOptions(name="broken", results_path=options.training.results_path)
    plan = plan_submission(wanted)
    assert [job.source_path for job in plan.jobs] == [
        dataset / "test/content" / name for name in ("t0.png", "t1.png")
    ]
    assert plan.notes[0] == f"styles: at random of the 2 in {dataset / 'style'} (--seed 0)"
    result = make_submission(plan)
    assert result.count == 2 and result.folder == folder.path / "submission"
    with Image.open(result.folder / "t0.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", SIZE[::-1])
    with Image.open(result.overview_path) as overview:
        assert overview.size == (3 * 256 + 4 * 6, 6 + 18 + 2 * (128 + 6))

    # The same images in any order and number, and with others.
    other = tmp_path / "other"
    other.mkdir()
    for name in ("t1.png", "t0.png"):
        (other / name).write_bytes((dataset / "test/content" / name).read_bytes())
    Image.new("RGB", (9, 9)).save(other / "a.png")
    again = replace(wanted, input_path=str(other), output_path=str(tmp_path / "o"))
    plan = plan_submission(again)
    made = make_submission(replace(plan, jobs=plan.jobs[::-1])).folder
    for name in ("t0.jpg", "t1.jpg"):
        assert (made / name).read_bytes() == (result.folder / name).read_bytes()
    one = str(dataset / "style/s1.png")
    plan = plan_submission(replace(wanted, style=one, height=48, width=64))
    assert not any(note.startswith("styles:") for note in plan.notes)
    assert {str(job.style_path) for job in plan.jobs} == {one}
    assert plan.size == (48, 64)

    ends = replace(wanted, style=str(dataset / "style/s0.png"), style_to=one, steps=3, limit=1)
    with Image.open(make_strips(plan_strips(ends)) / "t0.png") as strip:
        assert strip.size == (3 * 32 + 4 * 6, 6 + 18 + 16 + 6)

    snapshot = read_snapshot(latest_snapshot(folder.checkpoints))
    assert snapshot.options.data.task == "translation" and snapshot.takes_photograph


def save_snapshot_of(options: RunOptions) -> None:
    """A snapshot that plans can be made for; nothing is drawn with it."""
    from training.checkpoint import save_snapshot
    from training.learner import Learner

    folder = RunFolder(options.training.results_path, str(options.training.name))
    folder.checkpoints.mkdir(parents=True)
    learner = Learner(create_method(options), options)
    save_snapshot(folder.checkpoints, learner, options, Progress(epoch=2), [])


def test_where_styles_come_from(options: RunOptions, dataset: Path, tmp_path: Path) -> None:
    save_snapshot_of(options)
    wanted = TestOptions(name="run", results_path=options.training.results_path)
    chosen = {
        tuple(str(job.style_path) for job in plan_submission(replace(wanted, seed=seed)).jobs)
        for seed in range(20)
    }
    assert len(chosen) == 4  # each of two contents, either of two styles
    mine = tmp_path / "mine"
    mine.mkdir()
    Image.new("RGB", (9, 9)).save(mine / "m.png")
    styled = replace(wanted, img_path=str(mine))
    assert {job.style_path for job in plan_submission(styled).jobs} == {mine / "m.png"}
    table = dataset / "test/content/label_to_img.json"
    table.write_text(json.dumps({"t0.png": "s1.png", "t1.png": "s0.png"}))
    plan = plan_submission(wanted)
    assert [job.style_path.name for job in plan.jobs if job.style_path] == ["s1.png", "s0.png"]
    assert plan.notes[0] == f"styles: as {table} says"
    with pytest.raises(UserError, match=r"2 that are not \(s0, s1\) among 1\. See --img_path"):
        plan_submission(styled)
    broken = dataset / "test/content/t1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(UserError, match=r"every photograph must be good: 1 of 2 are not: .*t1"):
        plan_submission(wanted)


def test_what_is_checked_before_the_first_step(options: RunOptions, dataset: Path) -> None:
    assert check_cheaply(options, SCHEDULE, 1) == []
    assert "would check 3 photographs of" in describe_run(options, SCHEDULE)
    log = Log(RunFolder(options.training.results_path, "run"))
    broken = dataset / "style/s1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(UserError, match="at most 5% of bad photographs, got 1 of 2"):
        prepare_run(options, SCHEDULE, log)
    lenient = replace(options, data=replace(options.data, bad_pair_limit=0.5))
    preparation = prepare_run(lenient, SCHEDULE, log)
    preparation.folder.close()
    log.close()
    assert [one.stem for one in preparation.styles] == ["s0"] and len(preparation.pairs) == 3
    first = preparation.plan[0]
    assert first.digest != replace(first, styles=()).digest
    broken.unlink()
    (dataset / "style/s0.png").unlink()
    with pytest.raises(UserError, match="style has no photographs"):
        check_cheaply(options, SCHEDULE, 1)
