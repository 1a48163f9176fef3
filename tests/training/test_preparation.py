"""What is checked before the first step: the lists of stems, and how the labels count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from options.errors import UserError
from options.run import DataOptions, RunOptions
from options.schedule import Phase, Schedule
from training.log import Log
from training.preparation import check_cheaply, describe_run, prepare_run, with_first_id
from training.run_folder import RunFolder, compare_options

SELECTED = Schedule("a", (Phase("I", 1, 2, "selection_1", 1e-3),))


def _list(options: RunOptions, *lines: str) -> Path:
    path = Path(str(options.data.input_path)) / "selections/selection_1.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def _prepare(options: RunOptions) -> Any:
    folder = RunFolder(options.training.results_path, str(options.training.name))
    log = Log(folder)
    try:
        preparation = prepare_run(options, SELECTED, log)
        preparation.folder.close()
        return preparation
    finally:
        log.close()


def test_a_list_that_names_few_pairs_stops_before_training(options: RunOptions) -> None:
    path = _list(options, "p0", "p1", *(f"gone {index}" for index in range(98)))
    for check in (
        lambda: check_cheaply(options, SELECTED, 1),
        lambda: describe_run(options, SELECTED),
        lambda: _prepare(options),
    ):
        with pytest.raises(UserError, match=r"98 of 100 names match no pair: 98 not in") as caught:
            check()
        assert str(caught.value).startswith(f"{path}: ") and "--list-miss-limit" in str(
            caught.value
        )
    lenient = replace(options, data=replace(options.data, list_miss_limit=1.0))
    assert check_cheaply(lenient, SELECTED, 1) == []
    assert "note: " in describe_run(lenient, SELECTED)
    assert len(_prepare(lenient).plan[0].pairs) == 2


def test_names_below_the_limit_are_said(
    options: RunOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    _list(options, "p0", "p1", "p2", "P3")
    some = replace(options, data=replace(options.data, list_miss_limit=0.25))
    assert len(_prepare(some).plan[0].pairs) == 3
    said = capsys.readouterr().out
    assert "1 of 4 names match no pair: 1 in another spelling or of another copy (P3)" in said


def test_names_of_bad_pairs_have_a_limit_of_their_own(
    options: RunOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(str(options.data.input_path))
    _list(options, "p0", "p1", "p2", "p3")
    (root / "train/imgs/p3.png").write_bytes(b"")
    (root / "train/imgs/p2.png").unlink()
    lenient = replace(options, data=replace(options.data, bad_pair_limit=0.5))
    assert check_cheaply(lenient, SELECTED, 1) == []
    assert [pair.stem for pair in _prepare(lenient).plan[0].pairs] == ["p0", "p1"]
    said = capsys.readouterr().out
    assert "2 of 4 names match no pair: 2 of pairs that are bad (p2, p3)" in said


def test_the_limit_is_free_to_change(options: RunOptions) -> None:
    other = replace(options, data=replace(options.data, list_miss_limit=1.0))
    assert compare_options(options, other) == []


def test_files_that_are_not_used_are_said(
    options: RunOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(str(options.data.input_path))
    _list(options, "p0", "p1")
    (root / "train/imgs/notes.txt").touch()
    (root / "train/labels/p9.heic").touch()
    (root / "train/labels/p1.png").rename(root / "train/labels/q1.png")
    dry = describe_run(replace(options, data=replace(options.data, list_miss_limit=1.0)), SELECTED)
    assert f"note: 1 entry not used in {root}/train/imgs: .txt" in dry
    assert "note: 2 stems are in no pair" in dry
    _prepare(replace(options, data=replace(options.data, bad_pair_limit=0.5)))
    said = capsys.readouterr().out
    assert (
        f"  1 entry not used in {root}/train/imgs: .txt, which is no picture's (notes.txt)" in said
    )
    report = Path(options.training.results_path, "run/check.txt").read_text()
    assert f"{root}/train/labels/p9.heic: HEIC" in report


@pytest.fixture
def facades(tmp_path: Path) -> Callable[[int], Path]:
    """Photographs, views and ids of one stem in one folder, as courses hand out CMP facades."""

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
def test_facades_train_with_twelve_classes(
    facades: Callable[[int], Path],
    options: RunOptions,
    capsys: pytest.CaptureFixture[str],
    first: int,
) -> None:
    data = replace(options.data, input_path=str(facades(first)), classes=12)
    chosen = with_first_id(replace(options, data=data))
    said = capsys.readouterr().out
    assert ("ids 1..12 are read as classes 0..11, as with --first-id 1" in said) == bool(first)
    assert chosen.data.first_id == (1 if first else None)
    total = Schedule("a", (Phase("I", 1, 2, "total", 1e-3),))
    assert "4 pairs" in describe_run(chosen, total)
    folder = RunFolder(chosen.training.results_path, str(chosen.training.name))
    log = Log(folder)
    preparation = prepare_run(chosen, total, log)
    preparation.folder.close()
    log.close()
    assert len(preparation.pairs) == 4
    assert "4 good, 0 bad" in (folder.path / "check.txt").read_text()


def test_a_first_id_that_is_given_is_taken(
    facades: Callable[[int], Path], options: RunOptions
) -> None:
    data = replace(options.data, input_path=str(facades(1)), classes=12, first_id=0)
    assert with_first_id(replace(options, data=data)).data.first_id == 0
    translation = RunOptions(data=DataOptions(task="translation", input_path="nowhere"))
    assert with_first_id(translation) is translation
    assert with_first_id(options, silent=True) is options
