"""A dataset measured: in parallel, once, resumed, by content."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data.cleaning.survey import Settings, Survey, find, read_drawings, survey
from data.cleaning.verdicts import LIKENESS
from data.folders import find_pairs
from data.images import read_image
from data.labels import read_label
from tests.data.cleaning.scenes import draw_scene, write_scene, write_scenes

SETTINGS = Settings(29)


def _survey(root: Path, cache: Path, workers: int = 1, **options) -> Survey:  # type: ignore[no-untyped-def]
    return survey(find_pairs(root), options.pop("settings", SETTINGS), cache, workers, **options)


def test_workers_change_nothing(tmp_path: Path) -> None:
    write_scenes(tmp_path / "set", 30)
    one = _survey(tmp_path / "set", tmp_path / "one")
    two = _survey(tmp_path / "set", tmp_path / "two", workers=2)
    assert one.table.stems == two.table.stems and one.keys == two.keys
    for name, values in one.table.values.items():
        np.testing.assert_array_equal(values, two.table.values[name])
    assert one.statistics == two.statistics and len(one.statistics) == 6
    assert one.measured == two.measured == 30


def test_values_are_those_of_the_pair(tmp_path: Path) -> None:
    write_scenes(tmp_path / "set", 3)
    found = _survey(tmp_path / "set", tmp_path / "cache")
    pair = found.pairs[1]
    alone = find(read_image(pair.image_path), read_label(pair.label_path), SETTINGS)
    assert {name: found.table.values[name][1] for name in alone.measures} == alone.measures
    photograph, layout = read_drawings(tmp_path / "cache", found.keys)[1]
    assert Image.open(io.BytesIO(photograph)).size == (160, 120)
    drawn = cv2.imdecode(np.frombuffer(layout, np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == (120, 160, 3)


def test_what_is_known_is_not_measured_again(tmp_path: Path) -> None:
    root, cache = tmp_path / "set", tmp_path / "cache"
    stems = write_scenes(root, 6)
    first = _survey(root, cache)
    seen: list[tuple[int, int]] = []
    again = _survey(root, cache, progress=lambda *step: seen.append(step))
    assert again.measured == 0 and seen == []
    for name, values in first.table.values.items():
        np.testing.assert_array_equal(values, again.table.values[name])
    assert again.statistics == first.statistics

    # Touched and renamed: the content tells. Changed: measured.
    os.utime(root / "train/imgs" / f"{stems[0]}.jpg", (1, 1))
    for part, suffix in (("imgs", "jpg"), ("labels", "png")):
        folder = root / "train" / part
        (folder / f"{stems[1]}.{suffix}").rename(folder / f"été 湖.{suffix}")
    write_scene(root, stems[2], *draw_scene(99))
    third = _survey(root, cache)
    assert third.measured == 1
    assert "été 湖" in third.table.stems
    assert _survey(root, cache, settings=Settings(40)).measured == 6
    assert _survey(root, cache).measured == 0


def test_a_copied_dataset_is_known_by_content(tmp_path: Path) -> None:
    write_scenes(tmp_path / "set", 3)
    _survey(tmp_path / "set", tmp_path / "cache")
    shutil.copytree(tmp_path / "set", tmp_path / "copy")
    assert _survey(tmp_path / "copy", tmp_path / "cache").measured == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_it_goes_on(tmp_path: Path, workers: int) -> None:
    root, cache = tmp_path / "set", tmp_path / "cache"
    write_scenes(root, 40)

    def stop(done: int, total: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _survey(root, cache, workers=workers, progress=stop)
    assert 0 < _survey(root, cache, workers=workers).measured <= 24


def test_broken_files_are_faults_in_the_words_of_the_check(tmp_path: Path) -> None:
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
        found = _survey(root, tmp_path / f"cache{workers}", workers)
        assert [pair.stem for pair in found.pairs] == stems[10:]
        assert found.total == 12
        told = {fault.stem: f"{fault.rule}: {fault.value}" for fault in found.faults}
        assert told.keys() == set(stems[:10])
        assert "an empty file" in told[stems[0]]
        assert "a complete picture" in told[stems[1]]
        assert told[stems[2]] == "ids 0..28: id 77"
        assert "label 96 x 96, photograph 96 x 128" in told[stems[3]]
        assert "a partner: a label" in told[stems[4]]
        assert "a partner: a photograph" in told[stems[5]]
        assert "a label of whole numbers, or of 8-bit RGB: mode F" in told[stems[6]]
        assert "a photograph of 8 bits" in told[stems[7]] and "mode I;16" in told[stems[7]]
        assert "ids 0..28: id 77" in told[stems[8]] or "palette" in told[stems[8]]
        assert "a complete picture" in told[stems[9]]
    assert len(_survey(root, tmp_path / "cache1").faults) == 10


def test_sizes_of_one_shape_are_no_fault(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_scenes(root, 2)
    layout = draw_scene(0)[1]
    small = Image.fromarray(layout[::2, ::2].astype(np.uint16))
    small.save(root / "train/labels" / "scene 000.png")
    assert _survey(root, tmp_path / "cache").faults == []


def test_unknown_pixels(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_scenes(root, 2)
    layout = draw_scene(0)[1]
    layout[:20] = 255
    write_scene(root, "scene 000", draw_scene(0)[0], layout)
    assert len(_survey(root, tmp_path / "cache").faults) == 1
    known = _survey(root, tmp_path / "cache", settings=Settings(29, 255))
    assert known.faults == [] and np.isfinite(known.table.values[LIKENESS]).all()
