"""The scan of a dataset: parallel, cached by content, resumable."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data.cleaning.decisions import SIMILARITY
from data.cleaning.scan import Scan, Settings, read_thumbnails, scan, scan_pair
from data.folders import find_pairs
from data.images import read_image
from data.labels import read_label
from tests.data.cleaning.scenes import make_scene, write_scene, write_scenes

SETTINGS = Settings(29)


def _scan(root: Path, cache: Path, workers: int = 1, **options) -> Scan:  # type: ignore[no-untyped-def]
    return scan(find_pairs(root), options.pop("settings", SETTINGS), cache, workers, **options)


def test_results_do_not_depend_on_workers(tmp_path: Path) -> None:
    write_scenes(tmp_path / "set", 30)
    one = _scan(tmp_path / "set", tmp_path / "one")
    two = _scan(tmp_path / "set", tmp_path / "two", workers=2)
    assert one.table.stems == two.table.stems and one.keys == two.keys
    for name, values in one.table.values.items():
        np.testing.assert_array_equal(values, two.table.values[name])
    assert one.statistics == two.statistics and len(one.statistics) == 6
    assert one.measured == two.measured == 30


def test_values_are_those_of_the_pair(tmp_path: Path) -> None:
    write_scenes(tmp_path / "set", 3)
    found = _scan(tmp_path / "set", tmp_path / "cache")
    pair = found.pairs[1]
    alone = scan_pair(read_image(pair.image_path), read_label(pair.label_path), SETTINGS)
    assert {name: found.table.values[name][1] for name in alone.measures} == alone.measures
    photo, layout = read_thumbnails(tmp_path / "cache", found.keys)[1]
    assert Image.open(io.BytesIO(photo)).size == (160, 120)
    colors = cv2.imdecode(np.frombuffer(layout, np.uint8), cv2.IMREAD_COLOR)
    assert colors.shape == (120, 160, 3)


def test_cached_pairs_are_not_measured_again(tmp_path: Path) -> None:
    root, cache = tmp_path / "set", tmp_path / "cache"
    stems = write_scenes(root, 6)
    first = _scan(root, cache)
    seen: list[tuple[int, int]] = []
    again = _scan(root, cache, progress=lambda *step: seen.append(step))
    assert again.measured == 0 and seen == []
    for name, values in first.table.values.items():
        np.testing.assert_array_equal(values, again.table.values[name])
    assert again.statistics == first.statistics

    # Touched or renamed files have known content; changed ones are measured.
    os.utime(root / "train/imgs" / f"{stems[0]}.jpg", (1, 1))
    for part, suffix in (("imgs", "jpg"), ("labels", "png")):
        folder = root / "train" / part
        (folder / f"{stems[1]}.{suffix}").rename(folder / f"été 湖.{suffix}")
    write_scene(root, stems[2], *make_scene(99))
    third = _scan(root, cache)
    assert third.measured == 1
    assert "été 湖" in third.table.stems
    assert _scan(root, cache, settings=Settings(40)).measured == 6
    assert _scan(root, cache).measured == 0


def test_a_copied_dataset_is_recognized_by_content(tmp_path: Path) -> None:
    write_scenes(tmp_path / "set", 3)
    _scan(tmp_path / "set", tmp_path / "cache")
    shutil.copytree(tmp_path / "set", tmp_path / "copy")
    assert _scan(tmp_path / "copy", tmp_path / "cache").measured == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_scan_resumes(tmp_path: Path, workers: int) -> None:
    root, cache = tmp_path / "set", tmp_path / "cache"
    write_scenes(root, 40)

    def stop(done: int, total: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _scan(root, cache, workers=workers, progress=stop)
    assert 0 < _scan(root, cache, workers=workers).measured <= 24


def test_broken_files_have_the_faults_of_the_check(tmp_path: Path) -> None:
    root = tmp_path / "set"
    stems = write_scenes(root, 12)
    images, labels = root / "train/imgs", root / "train/labels"
    (images / f"{stems[0]}.jpg").write_bytes(b"")
    jpeg = images / f"{stems[1]}.jpg"
    jpeg.write_bytes(jpeg.read_bytes()[:-200])
    Image.fromarray(np.full((96, 128), 77, np.uint16)).save(labels / f"{stems[2]}.png")
    Image.fromarray(np.zeros((96, 96), np.uint16)).save(labels / f"{stems[3]}.png")
    (labels / f"{stems[4]}.png").unlink()
    (images / f"{stems[5]}.jpg").unlink()
    Image.fromarray(np.zeros((96, 128), np.float32)).save(labels / f"{stems[6]}.tiff")
    (labels / f"{stems[6]}.png").unlink()
    Image.fromarray(np.zeros((96, 128), np.uint16)).save(images / f"{stems[7]}.png")
    (images / f"{stems[7]}.jpg").unlink()
    Image.fromarray(np.full((96, 128, 3), 77, np.uint8)).save(labels / f"{stems[8]}.png")
    png = labels / f"{stems[9]}.png"
    png.write_bytes(png.read_bytes()[:-60])
    for workers in (1, 2):
        found = _scan(root, tmp_path / f"cache{workers}", workers)
        assert [pair.stem for pair in found.pairs] == stems[10:]
        assert found.total == 12
        texts = {fault.stem: f"{fault.rule}: {fault.value}" for fault in found.faults}
        assert texts.keys() == set(stems[:10])
        assert "an empty file" in texts[stems[0]]
        assert "a complete image" in texts[stems[1]]
        assert texts[stems[2]] == "ids 0..28: id 77"
        assert "label 96 x 96, photo 96 x 128" in texts[stems[3]]
        assert "a partner: a label" in texts[stems[4]]
        assert "a partner: a photo" in texts[stems[5]]
        assert "a label of integers or of 8-bit RGB: mode F" in texts[stems[6]]
        assert "a photo of 8 bits" in texts[stems[7]] and "mode I;16" in texts[stems[7]]
        assert "ids 0..28: id 77" in texts[stems[8]] or "palette" in texts[stems[8]]
        assert "a complete image" in texts[stems[9]]
    assert len(_scan(root, tmp_path / "cache1").faults) == 10


def test_sizes_of_one_aspect_ratio_are_no_fault(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_scenes(root, 2)
    layout = make_scene(0)[1]
    small = Image.fromarray(layout[::2, ::2].astype(np.uint16))
    small.save(root / "train/labels" / "scene 000.png")
    assert _scan(root, tmp_path / "cache").faults == []


def test_unknown_pixels(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_scenes(root, 2)
    layout = make_scene(0)[1]
    layout[:20] = 255
    write_scene(root, "scene 000", make_scene(0)[0], layout)
    assert len(_scan(root, tmp_path / "cache").faults) == 1
    known = _scan(root, tmp_path / "cache", settings=Settings(29, 255))
    assert known.faults == [] and np.isfinite(known.table.values[SIMILARITY]).all()
