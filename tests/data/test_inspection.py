from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data.inspection
from data.check import Report, check_pairs, check_photos
from data.folders import find_content, find_pairs
from data.images import ImageFacts, inspect_image


def _gray(path: Path, value: int, size: tuple[int, int] = (24, 32)) -> None:
    Image.fromarray(np.full(size, value, dtype=np.uint8)).save(path)


def test_cache_reads_changed_pairs_only(
    make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_dataset(6)
    cache = tmp_path / "check.json"
    _gray(root / "train/labels/photo 002.png", 77)
    (root / "train/imgs/photo 003.png").write_bytes(b"")
    read: list[str] = []

    def counted(path: Path) -> ImageFacts:
        read.append(path.stem)
        return inspect_image(path)

    monkeypatch.setattr(data.inspection, "inspect_image", counted)

    def check(classes: int = 29) -> Report:
        read.clear()
        return check_pairs(find_pairs(root), classes, cache_path=cache, size=(12, 16))

    first = check()
    assert len(read) == 6
    again = check()
    # A file that could not be read is read again: the disk may work now.
    assert read == ["photo 003"]
    assert again == first and len(first.faults) == 2
    _gray(root / "train/labels/photo 002.png", 7)
    os.utime(root / "train/imgs/photo 004.png", ns=(1, 1))
    changed = check()
    assert sorted(read) == ["photo 002", "photo 003", "photo 004"]
    assert len(changed.faults) == 1
    check(classes=28)
    assert len(read) == 6
    full = check_pairs(find_pairs(root), 29, cache_path=tmp_path / "gone/cache.json")
    assert full.good == changed.good
    for damaged in ("", "[]", '{"form": [3, 29, false], "pairs": {"photo 000": 3}}'):
        cache.write_text(damaged)
        assert check() == changed and len(read) == 6


def test_photos_are_not_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        _gray(tmp_path / f"{name}.png", 1)
    read: list[str] = []

    def inspect(path: Path) -> ImageFacts:
        read.append(path.name)
        return inspect_image(path)

    monkeypatch.setattr(data.inspection, "inspect_image", inspect)
    cache = tmp_path / ".cache.json"
    reports = [check_photos(find_content(tmp_path), cache_path=cache) for _ in range(2)]
    assert read == ["a.png", "b.png"] and reports[0] == reports[1]
    _gray(tmp_path / "b.png", 2, (30, 30))
    again = check_photos(find_content(tmp_path), cache_path=cache, size=(24, 32))
    assert read[2:] == ["b.png"]
    assert "1 photo of 30 x 30 resized to 24 x 32, stretched by 33%" in again.notes
