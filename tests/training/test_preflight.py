"""Checks before the first step: batches, losses, lists of stems, class ids, bad files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from options.errors import UserError
from options.schedule import Phase, Schedule
from options.train import RunOptions
from tests.runs import MethodFactory, folder_of, start
from training.log import Log
from training.preflight import (
    Preparation,
    check_inputs,
    complete_options,
    describe_run,
    prepare_run,
)
from training.run_folder import RunFolder, compare_options
from weights.safetensors_file import write_tensors
from weights.segmenters import SEGMENTER_FORMAT

SELECTED = Schedule("a", (Phase("I", 1, 2, "selection_1", 1e-3),))


def root_of(options: RunOptions) -> Path:
    return Path(str(options.data.input_path))


def with_data(options: RunOptions, **changes: Any) -> RunOptions:
    return replace(options, data=replace(options.data, **changes))


def write_list(options: RunOptions, *lines: str) -> Path:
    """Write selection_1.txt of the dataset."""
    path = root_of(options) / "selections/selection_1.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def prepare(options: RunOptions, schedule: Schedule = SELECTED) -> Preparation:
    """Prepare a run and release its folder."""
    log = Log(RunFolder(options.training.results_path, str(options.training.name)))
    try:
        preparation = prepare_run(options, schedule, log)
        preparation.folder.close()
        return preparation
    finally:
        log.close()


def test_a_dry_run_writes_nothing(options: RunOptions, schedule: Schedule) -> None:
    text = describe_run(options, schedule)
    assert "would check 6 pairs" in text and "would start a new run in " in text
    assert not folder_of(options).exists()


def test_batches_losses_and_selections_are_checked_first(
    options: RunOptions, schedule: Schedule
) -> None:
    assert check_inputs(options, schedule, 1) == []
    with pytest.raises(UserError, match=r"phase I: .* divides by 4 processes, got 2"):
        check_inputs(options, schedule, 4)
    nothing = replace(options.loss, lambda_gan=0.0, lambda_feature=0.0, lambda_vgg=0.0)
    with pytest.raises(UserError, match=r"--lambda-l1: expected at least one above 0, got 0 for"):
        check_inputs(replace(options, loss=nothing), schedule, 1)
    cleaned = replace(schedule, phases=(replace(schedule.phases[0], subset="selection_1"),))
    assert check_inputs(options, cleaned, 1) == ["selection_1"]
    assert "would make selection_1 as" in describe_run(options, cleaned)
    # A dataset with one list is not cleaned unasked.
    (root_of(options) / "selections").mkdir()
    (root_of(options) / "selections/selection_2.txt").write_text("p1\n")
    with pytest.raises(UserError, match=r"python -m tools\.filter_dataset"):
        check_inputs(options, cleaned, 1)


def test_segmenters_are_checked_first(
    options: RunOptions, schedule: Schedule, tmp_path: Path
) -> None:
    path = tmp_path / "segmenter.safetensors"
    metadata = {"format": SEGMENTER_FORMAT, "classes": "7"}
    for name in ("segmenter", "second_segmenter"):
        files = {"segmenter": str(tmp_path / "good.safetensors"), name: str(path)}
        loss = replace(options.loss, lambda_segmentation=1.0, lambda_gan=0.0, lambda_feature=0.0)
        judged = replace(options, loss=replace(loss, **files)).validate()
        write_tensors(tmp_path / "good.safetensors", {}, {**metadata, "classes": "4"})
        path.unlink(missing_ok=True)
        for check in (
            lambda o=judged: check_inputs(o, schedule, 1),
            lambda o=judged: describe_run(o, schedule),
        ):
            with pytest.raises(UserError, match=r"segmenter\.safetensors: cannot be read: No such"):
                check()
        write_tensors(path, {}, {})
        with pytest.raises(UserError, match=r"expected a segmenter \(.*got a file of format 'unk"):
            check_inputs(judged, schedule, 1)
        write_tensors(path, {}, metadata)
        with pytest.raises(
            UserError, match=r"expected a segmenter of 4 classes, got one of 7\. Na"
        ):
            check_inputs(judged, schedule, 1)
        unknown = with_data(judged, unknown_label=255)
        write_tensors(tmp_path / "good.safetensors", {}, {**metadata, "classes": "5"})
        with pytest.raises(UserError, match=r"of 5 classes, the last one unknown, got one of 7"):
            check_inputs(unknown, schedule, 1)
        write_tensors(path, {}, {**metadata, "classes": "5"})
        assert check_inputs(unknown, schedule, 1) == []


def test_other_networks_are_refused_and_other_losses_are_not(
    options: RunOptions, schedule: Schedule, create: MethodFactory
) -> None:
    start(options, schedule, create)
    other = replace(options, generator=replace(options.generator, channels=4))
    with pytest.raises(UserError, match="channels: 2 -> 4"):
        check_inputs(other, schedule, 1)
    other = replace(options, loss=replace(options.loss, lambda_feature=1.0))
    check_inputs(other, schedule, 1)


def test_bad_pairs_are_reported_and_left_out(
    options: RunOptions, schedule: Schedule, create: MethodFactory
) -> None:
    path = root_of(options) / "train/imgs/p3.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"at most 5% of bad pairs, got 1 of 6"):
        start(options, schedule, create)
    assert "p3.png: expected a complete " in (folder_of(options) / "check.txt").read_text()
    assert not (folder_of(options) / "stats.jsonl").exists()
    # Five pairs in batches of two: two steps per epoch.
    assert start(with_data(options, bad_pair_limit=0.5), schedule, create).step == 2 * 2 + 2 * 1


def test_a_list_that_matches_few_pairs_is_refused(options: RunOptions) -> None:
    path = write_list(options, "p0", "p1", *(f"gone {index}" for index in range(98)))
    for check in (
        lambda: check_inputs(options, SELECTED, 1),
        lambda: describe_run(options, SELECTED),
        lambda: prepare(options),
    ):
        with pytest.raises(UserError, match=r"98 of 100 names match no pair: 98 not in") as caught:
            check()
        text = str(caught.value)
        assert text.startswith(f"{path}: ") and "--list-miss-limit" in text
    lenient = with_data(options, list_miss_limit=1.0)
    assert check_inputs(lenient, SELECTED, 1) == []
    assert "note: " in describe_run(lenient, SELECTED)
    assert len(prepare(lenient).plan[0].items) == 2


def test_names_below_the_limit_are_logged(
    options: RunOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    write_list(options, "p0", "p1", "p2", "P3")
    lenient = with_data(options, list_miss_limit=0.25)
    assert len(prepare(lenient).plan[0].items) == 3
    out = capsys.readouterr().out
    assert "not trained on: " in out and "1 of 4 names match no pair: 1 " in out and "(P3)" in out


def test_names_of_bad_pairs_have_their_own_limit(
    options: RunOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    write_list(options, "p0", "p1", "p2", "p3")
    (root_of(options) / "train/imgs/p3.png").write_bytes(b"")
    (root_of(options) / "train/imgs/p2.png").unlink()
    lenient = with_data(options, bad_pair_limit=0.5)
    assert check_inputs(lenient, SELECTED, 1) == []
    assert [pair.stem for pair in prepare(lenient).plan[0].items] == ["p0", "p1"]
    out = capsys.readouterr().out
    assert "2 of 4 names match no pair: 2 of " in out and "(p2, p3)" in out


def test_the_limit_may_change_on_resume(options: RunOptions) -> None:
    assert compare_options(options, with_data(options, list_miss_limit=1.0)) == []


def test_unused_files_are_reported(options: RunOptions, capsys: pytest.CaptureFixture[str]) -> None:
    root = root_of(options)
    write_list(options, "p0", "p1")
    (root / "train/imgs/notes.txt").touch()
    (root / "train/labels/p9.heic").touch()
    (root / "train/labels/p1.png").rename(root / "train/labels/q1.png")
    text = describe_run(with_data(options, list_miss_limit=1.0), SELECTED)
    assert f"note: 1 entry not used in {root}/train/imgs: .txt" in text
    assert "note: 2 stems are in no pair" in text
    prepare(with_data(options, bad_pair_limit=0.5))
    out = capsys.readouterr().out
    assert f"  1 entry not used in {root}/train/imgs: .txt" in out and "(notes.txt)" in out
    report = (folder_of(options) / "check.txt").read_text()
    assert f"{root}/train/labels/p9.heic: HEIC" in report


@pytest.fixture
def facades(tmp_path: Path) -> Callable[[int], Path]:
    """Photos, colored views and ids of one stem in one folder, like the CMP facades."""

    def make(first: int) -> Path:
        folder = tmp_path / f"facades{first}/base"
        folder.mkdir(parents=True)
        for index in range(4):
            ids = np.kron(np.arange(12).reshape(3, 4) + first, np.ones((8, 8), int))
            stem = str(folder / f"cmp_b{index:04d}")
            colors = (ids[..., None] * [3, 9, 20]).astype(np.uint8)
            Image.fromarray(colors).save(f"{stem}.jpg")
            Image.fromarray(colors).save(f"{stem}.png")
            Image.fromarray(ids.astype(np.uint8)).save(f"{stem}.bmp")
        return folder.parent

    return make


@pytest.mark.parametrize("first", [0, 1])
def test_facades_have_twelve_classes(
    facades: Callable[[int], Path],
    options: RunOptions,
    capsys: pytest.CaptureFixture[str],
    first: int,
) -> None:
    given = with_data(options, input_path=str(facades(first)), classes=12)
    completed = complete_options(given)
    out = capsys.readouterr().out
    assert ("ids 1..12 are read as classes 0..11, as with --first-id 1" in out) == bool(first)
    assert completed.data.first_id == (1 if first else None)
    total = Schedule("a", (Phase("I", 1, 2, "total", 1e-3),))
    assert "4 pairs" in describe_run(completed, total)
    checked = prepare(completed, total).checked
    assert checked is not None and len(checked.items) == 4
    assert "4 good, 0 bad" in (folder_of(completed) / "check.txt").read_text()


def test_a_given_first_id_is_kept(facades: Callable[[int], Path], options: RunOptions) -> None:
    given = with_data(options, input_path=str(facades(1)), classes=12, first_id=0)
    assert complete_options(given).data.first_id == 0
    assert complete_options(options, silent=True) == options
