from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from data.listing import (
    _UNREADABLE,
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    LOSSY,
    find_unused,
    images_by_stem,
    list_images,
    listed,
)
from options.errors import UserError


def test_images_are_listed_by_name_and_other_entries_with_a_reason(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "c.npy", ".hidden.png", "Thumbs.db"):
        (tmp_path / name).touch()
    files, unused = list_images(tmp_path)
    assert [path.name for path in files] == ["a.jpg", "b.png"]
    assert [(one.path.name, one.reason) for one in unused] == [
        ("c.npy", "an array; save it as PNG")
    ]
    labels, unused = list_images(tmp_path, LABEL_SUFFIXES, LOSSY)
    assert [path.name for path in labels] == ["b.png"]
    assert [one.reason for one in unused] == [LOSSY, "an array; save it as PNG"]
    assert list_images(tmp_path / "missing") == ([], [])
    with pytest.raises(UserError, match="expected a folder"):
        find_unused(tmp_path / "missing")


def test_images_by_stem(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    found = images_by_stem(tmp_path)
    assert {stem: path.name for stem, path in found.items()} == {"a": "a.jpg", "b": "b.jpg"}


def test_long_lists_of_names_are_cut() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"


def test_no_suffix_is_both_readable_and_unreadable() -> None:
    assert IMAGE_SUFFIXES.isdisjoint(_UNREADABLE)
