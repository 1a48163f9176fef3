from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from data.folders import find_content, find_pairs, find_test_layouts, find_unpaired
from data.listing import Unused, describe_unused, images_by_stem
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


def test_an_empty_form_is_skipped(tmp_path: Path) -> None:
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


def test_the_error_of_an_unknown_form_lists_forms_and_contents(tmp_path: Path) -> None:
    _touch(tmp_path / "photos" / "a.jpg", tmp_path / "readme.txt")
    with pytest.raises(UserError) as caught:
        find_pairs(tmp_path)
    message = str(caught.value)
    assert "train/imgs + train/labels" in message and "train_img + train_label" in message
    assert "got photos/, readme.txt" in message and "\n" not in message
    _touch(tmp_path / "photos/train/imgs/a.jpg", tmp_path / "photos/train/labels/a.png")
    with pytest.raises(UserError, match=r"Did you mean .*photos\?"):
        find_pairs(tmp_path)


def test_no_common_stem_is_an_error(tmp_path: Path) -> None:
    _touch(tmp_path / "imgs/a_photo.jpg", tmp_path / "labels/a_label.png")
    with pytest.raises(UserError, match=r"share their stems .*a_photo\.jpg.*a_label\.png"):
        find_pairs(tmp_path)


@pytest.mark.parametrize("find", [find_pairs, find_test_layouts, images_by_stem])
def test_missing_folder_and_file(tmp_path: Path, find: Callable[[Path], object]) -> None:
    with pytest.raises(UserError, match=r"nowhere/deep: expected a folder, .* only .* exists"):
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


def test_layouts_of_a_subfolder_take_precedence(tmp_path: Path) -> None:
    _touch(tmp_path / "legend.png", tmp_path / "val/labels/a.png")
    assert [path.name for path in find_test_layouts(tmp_path).paths] == ["a.png"]


def test_layouts_that_share_an_output_are_rejected(tmp_path: Path) -> None:
    _touch(tmp_path / "a.png", tmp_path / "a.PNG")
    with pytest.raises(UserError, match=r"distinct stems, got a\.PNG, a\.png"):
        find_test_layouts(tmp_path)


def test_no_layouts(tmp_path: Path) -> None:
    _touch(tmp_path / "train/labels/a.png")
    with pytest.raises(UserError, match=r"expected layouts \(PNG.* Did you mean .*train\?"):
        find_test_layouts(tmp_path)


def test_unpaired_photos(tmp_path: Path) -> None:
    _touch(*(tmp_path / "content" / name for name in ("b.jpg", "a.png", "c.jpg", "c.png")))
    _touch(tmp_path / "style" / "x.jpg", tmp_path / "content" / "notes.txt")
    found = find_unpaired(tmp_path)
    assert [photo.stem for photo in found.content.photos] == ["a", "b"]
    assert found.content.photos[1].path == tmp_path / "content/b.jpg"
    assert list(found.content.duplicates) == ["c"]
    assert [photo.stem for photo in found.style.photos] == ["x"]


@pytest.mark.parametrize(("there", "missing"), [("content", "style"), ("style", "content")])
def test_missing_content_or_style_is_an_error(tmp_path: Path, there: str, missing: str) -> None:
    root = tmp_path / "data"
    _touch(root / there / "a.jpg")
    with pytest.raises(
        UserError, match=f"{missing}: expected photos .*no such folder .*holds {there}/.*Put"
    ):
        find_unpaired(root)
    (root / missing).mkdir()
    with pytest.raises(UserError, match=f"{missing}: expected photos .*got no photos"):
        find_unpaired(root)
    _touch(root / missing / "a.jpg")
    with pytest.raises(UserError, match=f"Did you mean {root}"):
        find_unpaired(tmp_path)


def test_content_is_the_folder_or_a_subfolder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected photos to translate in the folder itself"):
        find_content(tmp_path)
    for part in ("content", "test/content", "."):
        _touch(tmp_path / part / "a.jpg")
        assert find_content(tmp_path).root == tmp_path / part
    _touch(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"distinct stems, got a\.jpg, a\.png"):
        find_content(tmp_path)


def _reasons(unused: list[Unused]) -> dict[str, str]:
    return {one.path.name: one.reason for one in unused}


def test_every_unused_file_is_listed(tmp_path: Path) -> None:
    images, labels = tmp_path / "imgs", tmp_path / "labels"
    _touch(*(images / name for name in ("a.jpg", "b.heic", "c.HEIF", "d.jxl", "notes.txt", "e")))
    _touch(*(labels / name for name in ("a.png", "b.png", "c.json", "Thumbs.db", ".hidden.png")))
    _touch(*(labels / name for name in (".DS_Store", "desktop.ini", "label_to_img.json")))
    _touch(images / "more/x.jpg", images / "more/y.jpg", labels / "empty/readme.txt")
    (images / "__MACOSX").mkdir()
    (labels / "gone.txt").symlink_to("nowhere.txt")
    folder = find_pairs(tmp_path)
    assert _reasons(folder.unused) == {
        "b.heic": "HEIC, from a phone; convert it to JPEG",
        "c.HEIF": "HEIC, from a phone; convert it to JPEG",
        "d.jxl": "JPEG XL; convert it to JPEG or PNG",
        "e": "no suffix: not an image format",
        "notes.txt": ".txt: not an image format",
        "c.json": ".json: not an image format",
        "more": "a folder of 2 images; move them up one level",
        "gone.txt": "a link to nowhere.txt, which is not there; restore that or remove the link",
    }
    lines = describe_unused(folder.unused)
    reason = "HEIC, from a phone; convert it to JPEG (b.heic, c.HEIF)"
    assert f"2 entries not used in {images}: {reason}" in lines
    assert len(lines) == 7 and all("\n" not in line for line in lines)


@pytest.mark.parametrize("suffix", [".jpe", ".jfif", ".JPG", ".webp", ".tif", ".bmp"])
def test_photos_of_many_suffixes(tmp_path: Path, suffix: str) -> None:
    _touch(tmp_path / f"imgs/a{suffix}", tmp_path / "labels/a.png")
    assert [pair.stem for pair in find_pairs(tmp_path).pairs] == ["a"]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".gif", ".BMP"])
def test_training_and_generation_find_the_same_formats(tmp_path: Path, suffix: str) -> None:
    _touch(*(tmp_path / f"labels/{stem}{suffix}" for stem in "ab"))
    _touch(*(tmp_path / f"imgs/{stem}.jpg" for stem in "ab"))
    found = find_test_layouts(tmp_path / "labels").paths
    assert found == [pair.label_path for pair in find_pairs(tmp_path).pairs] and len(found) == 2


def test_layouts_of_all_formats_are_found(tmp_path: Path) -> None:
    _touch(*(tmp_path / name for name in ("a.png", "b.bmp", "c.tif", "d.jpg", "e.webp", "f.txt")))
    layouts = find_test_layouts(tmp_path)
    assert [path.name for path in layouts.paths] == ["a.png", "b.bmp", "c.tif"]
    reasons = _reasons(layouts.unused)
    assert list(reasons) == ["d.jpg", "e.webp", "f.txt"]
    assert reasons["d.jpg"] == reasons["e.webp"] and "changes ids" in reasons["d.jpg"]


def test_layouts_of_lossy_formats_alone_are_an_error_with_the_reason(tmp_path: Path) -> None:
    _touch(tmp_path / "a.jpg", tmp_path / "b.jpg")
    with pytest.raises(UserError, match=r"2 entries not used .*changes ids.*\(a\.jpg, b\.jpg\)"):
        find_test_layouts(tmp_path)


@pytest.mark.parametrize("part", [".", "base", "train"])
def test_photos_and_labels_in_one_folder(tmp_path: Path, part: str) -> None:
    place = tmp_path / part
    _touch(*(place / f"cmp_b000{i}{suffix}" for i in (1, 2) for suffix in (".jpg", ".png", ".bmp")))
    _touch(place / "cmp_b0001.xml", place / "cmp_b0003.jpg", tmp_path / "test/x.bmp")
    folder = find_pairs(tmp_path)
    assert folder.side_by_side and "side by side" in folder.form
    assert [pair.stem for pair in folder.pairs] == ["cmp_b0001", "cmp_b0002"]
    assert folder.pairs[0].image_path == place / "cmp_b0001.jpg"
    assert folder.pairs[0].label_path == place / "cmp_b0001.bmp"
    assert [path.name for path in folder.images_without_label] == ["cmp_b0003.jpg"]
    reasons = _reasons(folder.unused)
    assert set(reasons) == {"cmp_b0001.png", "cmp_b0002.png", "cmp_b0001.xml"}
    assert reasons["cmp_b0001.png"] == "a view in colors; the .bmp holds the ids"
    layouts = find_test_layouts(place)
    if part != ".":
        assert [path.name for path in layouts.paths] == ["cmp_b0001.bmp", "cmp_b0002.bmp"]
        assert set(_reasons(layouts.unused)) == {
            "cmp_b0001.png", "cmp_b0002.png", "cmp_b0001.xml", "cmp_b0001.jpg", "cmp_b0002.jpg",
            "cmp_b0003.jpg",
        }  # fmt: skip


def test_photos_and_png_labels_in_one_folder(tmp_path: Path) -> None:
    _touch(*(tmp_path / name for name in ("a.jpg", "a.png", "b.jpeg", "b.png", "c.png", "d.webp")))
    _touch(tmp_path / "notes/readme.txt", tmp_path / "extra/z.jpg")
    folder = find_pairs(tmp_path)
    assert [pair.label_path.name for pair in folder.pairs] == ["a.png", "b.png"]
    assert [path.name for path in folder.labels_without_image] == ["c.png"]
    assert _reasons(folder.unused) == {"d.webp": "photos of this form are JPEG, labels are not"}


def test_separate_folders_take_precedence_over_files_side_by_side(tmp_path: Path) -> None:
    _touch(*(tmp_path / name for name in ("x.jpg", "x.png", "imgs/a.jpg", "labels/a.png")))
    assert not find_pairs(tmp_path).side_by_side


def test_broken_links_count_as_images(tmp_path: Path) -> None:
    images, labels = tmp_path / "imgs", tmp_path / "labels"
    _touch(images / "a.jpg", labels / "a.png", labels / "b.png", labels / "c.png")
    (images / "b.jpg").symlink_to("b.jpg")
    (images / "c.jpg").symlink_to("/nowhere/c.jpg")
    folder = find_pairs(tmp_path)
    assert [pair.stem for pair in folder.pairs] == ["a", "b", "c"]
    (labels / "loop").symlink_to("loop")
    reason = _reasons(find_pairs(tmp_path).unused)["loop"]
    assert reason.startswith("a link that leads back to itself; remove")


@pytest.mark.parametrize("find", [find_pairs, find_test_layouts, find_unpaired, find_content])
def test_a_folder_that_links_to_itself(tmp_path: Path, find: Callable[[Path], object]) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "loop", tmp_path / "loop/deeper"):
        with pytest.raises(UserError, match="leads back to itself") as caught:
            find(path)
        assert "\n" not in str(caught.value)
    # the same for subfolders
    for part in ("train", "content", "test", "val"):
        (tmp_path / part).symlink_to(part)
    with pytest.raises(UserError, match="leads back to itself"):
        find(tmp_path)


def test_a_hint_skips_unreadable_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touch(tmp_path / "b/imgs/a.jpg", tmp_path / "b/labels/a.png")
    (tmp_path / "a").symlink_to("a")
    (tmp_path / "__MACOSX/imgs").mkdir(parents=True)
    (tmp_path / "__MACOSX/labels").mkdir()
    (tmp_path / "aa").mkdir()
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "aa":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError) as caught:
        find_pairs(tmp_path)
    assert str(caught.value).endswith(f"Did you mean {tmp_path / 'b'}?")
    assert "MACOSX" not in str(caught.value)


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.EIO])
def test_an_unreadable_subfolder_is_a_one_line_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    _touch(tmp_path / "imgs/a.jpg", tmp_path / "labels/a.png", tmp_path / "content/x.jpg")

    def refuse(path: Path) -> object:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "scandir", refuse)
    for find in (find_pairs, find_test_layouts, find_unpaired, find_content, images_by_stem):
        with pytest.raises(UserError, match=r"expected a readable folder, got .+\. .+\.") as caught:
            find(tmp_path)
        assert "\n" not in str(caught.value)


def test_images_one_level_deeper_are_reported(tmp_path: Path) -> None:
    _touch(tmp_path / "imgs/street/a.jpg", tmp_path / "labels/street/a.png")
    with pytest.raises(UserError, match=r"got none that can be read; 2 entries not used .*move"):
        find_pairs(tmp_path)


def test_images_of_an_unreadable_format_are_reported(tmp_path: Path) -> None:
    _touch(tmp_path / "imgs/a.heic", tmp_path / "imgs/b.heic", tmp_path / "labels/a.png")
    with pytest.raises(UserError) as caught:
        find_pairs(tmp_path)
    assert "HEIC, from a phone; convert it to JPEG (a.heic, b.heic)" in str(caught.value)
    with pytest.raises(UserError, match=r"HEIC, from a phone; convert .*a\.heic"):
        images_by_stem(tmp_path / "imgs")
