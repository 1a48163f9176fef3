from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from data.folders import (
    find_content,
    find_pairs,
    find_test_layouts,
    find_unpaired,
    pictures_by_stem,
)
from options.errors import UserError


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("images", "labels", "instances"),
    [
        ("train/imgs", "train/labels", None),
        ("train_resized/imgs", "train_resized/labels", None),
        ("imgs", "labels", None),
        ("images", "labels", None),
        ("train/images", "train/labels", None),
        ("train_img", "train_label", "train_inst"),
        ("imgs", "labels", "instances"),
    ],
)
def test_every_form_is_found(
    tmp_path: Path, images: str, labels: str, instances: str | None
) -> None:
    for stem in ("b", "a"):
        _touch(tmp_path / images / f"{stem}.jpg", tmp_path / labels / f"{stem}.png")
        if instances:
            _touch(tmp_path / instances / f"{stem}.png")
    folder = find_pairs(tmp_path)
    assert images in folder.form
    assert [pair.stem for pair in folder.pairs] == ["a", "b"]
    pair = folder.pairs[0]
    assert pair.image_path == tmp_path / images / "a.jpg"
    assert pair.label_path == tmp_path / labels / "a.png"
    assert pair.instance_path == (tmp_path / instances / "a.png" if instances else None)
    assert not (folder.images_without_label or folder.labels_without_image or folder.duplicates)


def test_an_empty_form_is_passed_over(tmp_path: Path) -> None:
    for name in ("train/imgs", "train/labels"):
        (tmp_path / name).mkdir(parents=True)
    _touch(tmp_path / "train_resized/imgs/a.jpg", tmp_path / "train_resized/labels/a.png")
    assert "2023" in find_pairs(tmp_path).form


def test_files_are_matched_by_stem_not_by_order(tmp_path: Path) -> None:
    _touch(*(tmp_path / "imgs" / name for name in ("b.jpg", "c.JPEG", "d.e.jpg", "x y.jpg")))
    _touch(*(tmp_path / "labels" / name for name in ("a.png", "c.PNG", "d.e.png", "x y.png")))
    _touch(tmp_path / "imgs" / "._c.jpg", tmp_path / "imgs" / "Thumbs.db")
    folder = find_pairs(tmp_path)
    assert [pair.stem for pair in folder.pairs] == ["c", "d.e", "x y"]
    assert [path.name for path in folder.images_without_label] == ["b.jpg"]
    assert [path.name for path in folder.labels_without_image] == ["a.png"]


def test_a_stem_of_two_files_is_in_no_pair(tmp_path: Path) -> None:
    _touch(*(tmp_path / "imgs" / name for name in ("a.jpg", "a.png", "b.jpg", "c.jpg")))
    _touch(*(tmp_path / "labels" / name for name in ("a.png", "b.png", "b.bmp", "c.png")))
    folder = find_pairs(tmp_path)
    assert [pair.stem for pair in folder.pairs] == ["c"]
    names = {stem: [path.name for path in paths] for stem, paths in folder.duplicates.items()}
    assert names == {"a": ["a.jpg", "a.png"], "b": ["b.bmp", "b.png"]}
    assert not (folder.images_without_label or folder.labels_without_image)


def test_one_name_in_two_unicode_forms_is_one_stem(tmp_path: Path) -> None:
    name = "湖 été"
    composed, decomposed = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    assert composed != decomposed
    _touch(tmp_path / "imgs" / f"{decomposed}.jpg", tmp_path / "labels" / f"{composed}.png")
    assert [pair.stem for pair in find_pairs(tmp_path).pairs] == [composed]


def test_nothing_found_says_what_was_looked_for_and_what_is_there(tmp_path: Path) -> None:
    _touch(tmp_path / "photos" / "a.jpg", tmp_path / "readme.txt")
    with pytest.raises(UserError) as caught:
        find_pairs(tmp_path)
    message = str(caught.value)
    assert "train/imgs + train/labels" in message and "train_img + train_label" in message
    assert "got photos/, readme.txt" in message and "\n" not in message
    _touch(tmp_path / "photos/train/imgs/a.jpg", tmp_path / "photos/train/labels/a.png")
    with pytest.raises(UserError, match=r"Did you mean .*photos\?"):
        find_pairs(tmp_path)


def test_no_common_stem_is_said(tmp_path: Path) -> None:
    _touch(tmp_path / "imgs/a_photo.jpg", tmp_path / "labels/a_label.png")
    with pytest.raises(UserError, match=r"share their stems .*a_photo\.jpg.*a_label\.png"):
        find_pairs(tmp_path)


@pytest.mark.parametrize("find", [find_pairs, find_test_layouts, pictures_by_stem])
def test_missing_folder_and_file(tmp_path: Path, find: Callable[[Path], object]) -> None:
    with pytest.raises(UserError, match=r"nowhere/deep: expected a folder, .* of its path only"):
        find(tmp_path / "nowhere" / "deep")
    _touch(tmp_path / "file")
    with pytest.raises(UserError, match="file: expected a folder, got a file"):
        find(tmp_path / "file")
    with pytest.raises(UserError, match="got nothing"):
        (tmp_path / "empty").mkdir()
        find(tmp_path / "empty")


@pytest.mark.parametrize(
    "part", [".", "val/labels", "val_label", "test", "val_A_labels_resized", "val_B_labels_resized"]
)
def test_layouts_are_found(tmp_path: Path, part: str) -> None:
    _touch(*(tmp_path / part / name for name in ("b.png", "a c.png", "notes.txt", "photo.jpg")))
    layouts = find_test_layouts(tmp_path)
    assert [path.name for path in layouts.paths] == ["a c.png", "b.png"]
    assert layouts.root.resolve() == (tmp_path / part).resolve()


def test_layouts_of_a_part_go_before_a_stray_picture(tmp_path: Path) -> None:
    _touch(tmp_path / "legend.png", tmp_path / "val/labels/a.png")
    assert [path.name for path in find_test_layouts(tmp_path).paths] == ["a.png"]


def test_layouts_that_would_share_an_output_are_refused(tmp_path: Path) -> None:
    _touch(tmp_path / "a.png", tmp_path / "a.PNG")
    with pytest.raises(UserError, match=r"distinct stems, got a\.PNG, a\.png"):
        find_test_layouts(tmp_path)


def test_no_layouts(tmp_path: Path) -> None:
    _touch(tmp_path / "train/labels/a.png")
    with pytest.raises(UserError, match=r"expected layouts \(PNG.* Did you mean .*train\?"):
        find_test_layouts(tmp_path)


def test_pictures_by_stem(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    _touch(tmp_path / "a.jpg", tmp_path / "b.jpg")
    found = pictures_by_stem(tmp_path)
    assert {stem: path.name for stem, path in found.items()} == {"a": "a.jpg", "b": "b.jpg"}


def test_unpaired_photographs(tmp_path: Path) -> None:
    _touch(*(tmp_path / "content" / name for name in ("b.jpg", "a.png", "c.jpg", "c.png")))
    _touch(tmp_path / "style" / "x.jpg", tmp_path / "content" / "notes.txt")
    found = find_unpaired(tmp_path)
    assert [photograph.stem for photograph in found.content.photographs] == ["a", "b"]
    assert found.content.photographs[1].path == tmp_path / "content/b.jpg"
    assert list(found.content.duplicates) == ["c"]
    assert [photograph.stem for photograph in found.style.photographs] == ["x"]


@pytest.mark.parametrize(("there", "missing"), [("content", "style"), ("style", "content")])
def test_a_missing_half_of_unpaired_photographs(tmp_path: Path, there: str, missing: str) -> None:
    root = tmp_path / "data"
    _touch(root / there / "a.jpg")
    with pytest.raises(UserError, match=f"{missing} is not there; .* holds {there}/"):
        find_unpaired(root)
    (root / missing).mkdir()
    with pytest.raises(UserError, match=f"{missing} has no photographs"):
        find_unpaired(root)
    _touch(root / missing / "a.jpg")
    with pytest.raises(UserError, match=f"Did you mean {root}"):
        find_unpaired(tmp_path)


def test_content_is_a_folder_or_a_datasets_part(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="photographs to translate must hold some"):
        find_content(tmp_path)
    for part in ("content", "test/content", "."):
        _touch(tmp_path / part / "a.jpg")
        assert find_content(tmp_path).root == tmp_path / part
    _touch(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"distinct stems, got a\.jpg, a\.png"):
        find_content(tmp_path)
