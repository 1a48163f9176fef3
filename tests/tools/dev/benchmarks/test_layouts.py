"""Layouts for timing: from a folder with any number of classes, or random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tools.dev.benchmarks.layouts import read_layouts


def test_a_folder_with_more_classes_is_usable(tmp_path: Path) -> None:
    for name in ("imgs", "labels"):
        (tmp_path / "train" / name).mkdir(parents=True)
    ids = np.array([[0, 7, 12], [200, 255, 11]], np.uint8)
    Image.fromarray(ids).save(tmp_path / "train/labels/a.png")
    Image.new("RGB", (3, 2)).save(tmp_path / "train/imgs/a.png")
    layouts = read_layouts(str(tmp_path), 2, 2, 3, 12)
    np.testing.assert_array_equal(layouts, [[[0, 7, 0], [8, 11, 11]]] * 2)


def test_random_layouts_are_in_range() -> None:
    layouts = read_layouts("random", 2, 40, 50, 5)
    assert layouts.shape == (2, 40, 50) and layouts.min() == 0 and layouts.max() == 4
