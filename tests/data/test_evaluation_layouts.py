"""Layouts to measure a generator on: validation pairs, or test layouts with styles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.content import Dataset, find_dataset
from data.evaluation_layouts import find_evaluation_layouts
from options.errors import UserError
from options.groups import DataOptions
from tests.tiny import CLASSES, write_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data", pairs=6, tests=3)


def dataset(root: Path) -> Dataset:
    return find_dataset(DataOptions(input_path=str(root), classes=CLASSES))


def test_test_layouts_take_training_photos_at_even_distances(root: Path) -> None:
    found = find_evaluation_layouts(dataset(root), 100)
    assert [one.stem for one in found] == ["t0", "t1", "t2"]
    assert [one.style_path.stem for one in found] == ["p0", "p2", "p4"]
    assert not any(one.has_photo for one in found)
    assert [one.stem for one in find_evaluation_layouts(dataset(root), 2)] == ["t0", "t1"]


def test_the_table_of_styles_comes_first(root: Path) -> None:
    table = {f"t{index}.png": "p5.png" for index in range(3)}
    (root / "label_to_img.json").write_text(json.dumps(table))
    found = find_evaluation_layouts(dataset(root), 100)
    assert {one.style_path.stem for one in found} == {"p5"}


def test_validation_pairs_have_their_own_photos(root: Path) -> None:
    (root / "val/imgs").mkdir()
    for index in range(3):
        photo = (root / f"train/imgs/p{index}.png").read_bytes()
        (root / f"val/imgs/t{index}.png").write_bytes(photo)
    found = find_evaluation_layouts(dataset(root), 2)
    assert [(one.stem, one.style_path.parent.name) for one in found] == [
        ("t0", "imgs"),
        ("t1", "imgs"),
    ]
    assert all(one.has_photo for one in found)


def test_without_layouts_to_measure(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", pairs=2)
    with pytest.raises(UserError) as caught:
        find_evaluation_layouts(dataset(root), 3)
    assert str(caught.value) == (
        f"--evaluate-every: expected pairs in {root / 'val'}, or test layouts, got none. Add some, "
        "or remove the flag"
    )
