"""Real datasets, if they are next to the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.check import check_pairs
from data.classes import colorize
from data.folders import find_pairs, find_test_layouts
from data.labels import read_label
from data.loader import BatchLoader
from data.reading import read_layout
from data.styles import build_layout_index

DATASETS = Path(__file__).resolve().parents[2] / ".." / "shared" / "datasets"
pytestmark = pytest.mark.skipif(not DATASETS.is_dir(), reason="no real datasets here")

FORMS: dict[str, dict[str, Any]] = {
    "camvid": {"pairs": 367, "classes": 12, "unknown_label": None, "instances": False},
    "camvid/val": {"pairs": 101, "classes": 11, "unknown_label": 11, "instances": False},
    "landscape_sample": {"pairs": 4, "classes": 29, "unknown_label": None, "instances": False},
    "coco_stuff": {"pairs": 13, "classes": 182, "unknown_label": 255, "instances": True},
}


@pytest.mark.parametrize("name", FORMS)
def test_found_checked_and_read(name: str) -> None:
    form = dict(FORMS[name])
    count = form.pop("pairs")
    folder = find_pairs(DATASETS / name)
    assert len(folder.pairs) == count
    report = check_pairs(
        folder, form["classes"], form["unknown_label"], instances=form["instances"]
    )
    assert report.faults == [] and len(report.good) == count
    with BatchLoader(
        report.good[:6], height=96, width=128, batch_size=3, workers=2, **form
    ) as loader:
        batches = list(loader.epoch(0))
    assert len(batches) == max(1, min(6, count) // 3)
    for batch in batches:
        assert batch.image.min() >= -1 and batch.image.max() <= 1 and batch.image.std() > 0.1
        known = form["classes"] + (form["unknown_label"] is not None)
        assert batch.content.min() >= 0 and batch.content.max() < known
        assert all(len(np.unique(layout)) > 1 for layout in batch.content)
        assert (batch.edges is not None) == form["instances"]


def test_wrong_class_count_is_explained() -> None:
    folder = find_pairs(DATASETS / "coco_stuff")
    report = check_pairs(folder, 182)
    assert report.faults
    assert all("--unknown-label 255" in fault.fix for fault in report.faults)


def test_contest_layouts_keep_their_ids() -> None:
    folder = find_pairs(DATASETS / "landscape_sample")
    ids = set()
    for pair in folder.pairs:
        layout = read_layout(pair.label_path, 384, 512)
        assert layout.shape == (384, 512)
        ids |= set(np.unique(layout).tolist())
    assert {1, 3, 5, 28} <= ids and max(ids) == 28


def test_the_nearest_layout_is_a_neighboring_frame() -> None:
    pairs = find_pairs(DATASETS / "camvid").pairs[:40]
    index = build_layout_index(pairs[::2], classes=12)
    assert index.features.shape == (20, 48 * 12)
    layout = read_layout(pairs[11].label_path, classes=12)
    assert index.nearest(layout) in {pair.image_path for pair in pairs[6:17]}


def test_test_layouts() -> None:
    layouts = find_test_layouts(DATASETS / "camvid")
    assert layouts.root.parts[-2:] == ("val", "labels") and len(layouts.paths) == 101


@pytest.mark.parametrize("name", ["camvid", "landscape_sample", "coco_stuff"])
@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif"])
def test_labels_saved_by_editors_keep_their_ids(name: str, suffix: str, tmp_path: Path) -> None:
    classes = FORMS[name]["classes"]
    for pair in find_pairs(DATASETS / name).pairs[:4]:
        ids = read_label(pair.label_path, classes)
        gray = Image.fromarray(ids.astype(np.uint8))
        images = [gray, gray.convert("RGB").quantize(256)]
        if ids.max() < classes:
            colors = Image.fromarray(colorize(ids, classes))
            images.append(colors.convert("P", palette=Image.Palette.ADAPTIVE, colors=256))
            if suffix != "gif":
                images.append(colors)
        for number, image in enumerate(images):
            path = tmp_path / f"{number}.{suffix}"
            image.save(path)
            assert (read_label(path, classes) == ids).all(), (pair.stem, number)
