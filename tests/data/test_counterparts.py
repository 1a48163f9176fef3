"""Counterparts of images: their layouts, and photos with layouts in every supported form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.counterparts import find_masks, find_masks_of_run, find_pairs_of_photos
from data.folders import find_pairs
from data.held_out import split_pairs
from data.reading import LayoutClasses
from options.errors import UserError
from options.groups import DataOptions
from tests.tiny import write_dataset


def images_of(tmp_path: Path, *names: str) -> list[Path]:
    return [tmp_path / "images" / name for name in names]


def test_layouts_have_the_names_of_the_images(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", pairs=1, tests=3)
    images = images_of(tmp_path, "t2.jpg", "t0.jpg")
    masks = find_masks(images, LayoutClasses(4), root / "val/labels", None)
    assert [path.name for path in masks.layouts] == ["t2.png", "t0.png"]
    assert masks.pairs == [] and masks.note == "needs photos with layouts"
    missing = "expected a layout for each image, got none for 2 of 3 .b.jpg, c.jpg.*--layouts"
    with pytest.raises(UserError, match=missing):
        images = images_of(tmp_path, "t1.jpg", "b.jpg", "c.jpg")
        find_masks(images, LayoutClasses(4), root / "val/labels", None)


def test_a_run_has_layouts_classes_and_photos(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", pairs=5, tests=2)
    options = DataOptions(input_path=str(root), classes=3, unknown_label=3, first_id=None)
    images = images_of(tmp_path, "t0.jpg", "t1.jpg")
    masks = find_masks_of_run(images, options, None, None)
    assert [path.parent for path in masks.layouts] == [root / "val/labels"] * 2
    assert masks.classes == LayoutClasses(3, 3, 0)
    pairs = find_pairs(root).pairs
    assert masks.pairs == split_pairs(pairs, 0.1)[1] and len(masks.pairs) == 1
    assert masks.note == "pairs that --held-out 0.1 leaves out"
    photos = root / "train/imgs"
    masks = find_masks_of_run(images, options, None, photos)  # as many photos as images
    assert [pair.stem for pair in masks.pairs] == ["p0", "p2"]
    assert masks.note == "2 of 5 photos, at even distances"
    (root / "val/imgs").mkdir()
    for name in ("t0", "t1"):
        photo = (root / "train/imgs/p0.png").read_bytes()
        (root / f"val/imgs/{name}.png").write_bytes(photo)
    masks = find_masks_of_run(images, options, None, None)
    assert [pair.stem for pair in masks.pairs] == ["t0", "t1"] and masks.note == "pairs in val"
    images = images_of(tmp_path, *(f"p{number}.jpg" for number in range(5)))
    masks = find_masks_of_run(images, options, root / "train/labels", tmp_path)
    assert [path.parent for path in masks.layouts] == [root / "train/labels"] * 5
    assert masks.pairs == []  # the photos of the other folder have none
    masks = find_masks_of_run(images, options, root / "train/labels", photos)
    assert len(masks.pairs) == 5 and masks.note == ""


def test_a_run_without_layouts_is_refused(tmp_path: Path) -> None:
    options = DataOptions(task="translation", input_path=str(tmp_path))
    with pytest.raises(UserError, match="--segmenter: expected a run with layouts, got --task tra"):
        find_masks_of_run(images_of(tmp_path, "a.jpg"), options, None, None)


def test_photos_of_a_dataset_have_layouts(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", pairs=2)
    (root / "train/labels/p1.png").unlink()
    (pair,) = find_pairs_of_photos(root / "train/imgs")
    assert (pair.image_path.name, pair.label_path) == ("p0.png", root / "train/labels/p0.png")
    # layouts are no photos, and neither has the folder above photos of its own
    assert find_pairs_of_photos(root / "train/labels") == []
    assert find_pairs_of_photos(root / "train") == []


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("imgs", "labels"),
        ("train_resized/imgs", "train_resized/labels"),
        ("train/images", "train/labels"),
        ("train_img", "train_label"),
    ],
)
def test_every_form_of_a_dataset(tmp_path: Path, images: str, labels: str) -> None:
    root = write_dataset(tmp_path / "data", pairs=1)
    for old, new in (("imgs", images), ("labels", labels)):
        (tmp_path / new).parent.mkdir(parents=True, exist_ok=True)
        (root / "train" / old).rename(tmp_path / new)
    (pair,) = find_pairs_of_photos(tmp_path / images)
    assert pair.label_path == tmp_path / labels / "p0.png"


def test_a_link_to_the_photos(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", pairs=1)
    (root / "train/imgs").rename(tmp_path / "elsewhere")
    (root / "train/imgs").symlink_to(tmp_path / "elsewhere")
    (pair,) = find_pairs_of_photos(root / "train/imgs")
    assert pair.label_path == root / "train/labels/p0.png"


def test_photos_side_by_side_with_layouts(tmp_path: Path) -> None:
    for suffix in ("jpg", "png"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"a.{suffix}")
    (pair,) = find_pairs_of_photos(tmp_path)
    assert (pair.image_path.name, pair.label_path.name) == ("a.jpg", "a.png")
    (tmp_path / "a.png").unlink()
    assert find_pairs_of_photos(tmp_path) == []
