"""Sources of images: which files are found, and how bad ones are reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.conditioning import conditioner_of
from inference.submission import plan_submission
from options.errors import UserError
from options.groups import DataOptions
from options.test import TestOptions
from tests.inference.conftest import SIZE
from tests.inference.fakes import change_run, generate, read_files
from tests.tiny import CLASSES


def test_layouts_of_lossless_formats_are_used_and_other_files_are_named(
    run: TestOptions, dataset: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    source = Image.open(dataset / "val/labels/tëst 5.png").convert("L")
    for name in ("a.png", "b.bmp", "c.tif", "d.gif", "e.jpg"):
        source.save(mixed / name)
    (mixed / "notes.txt").touch()
    options = replace(run, input_path=str(mixed), output_path=str(tmp_path / "out"))
    plan = plan_submission(options)
    assert [job.name for job in plan.jobs] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    unused = [note for note in plan.notes if " not used in " in note]
    assert len(unused) == 2 and "(e.jpg)" in unused[0] and "notes" in unused[1]
    images = read_files(generate(options))
    assert images["a.jpg"] == images["b.jpg"] == images["c.jpg"] == images["d.jpg"]


def test_layouts_with_reordered_colors_are_refused(run: TestOptions, dataset: Path) -> None:
    """An optimizer of PNG files has sorted the colors of each file differently."""
    colors = np.array([[90, 200, 30], [200, 90, 30], [30, 90, 200], [250, 250, 10]], np.uint8)
    for number, path in enumerate(sorted((dataset / "val/labels").iterdir())):
        ids = np.asarray(Image.open(path))
        order = np.roll(np.arange(CLASSES), number)
        image = Image.fromarray(np.argsort(order)[ids].astype(np.uint8), "P")
        image.putpalette(colors[order].tobytes())
        image.save(path)
    with pytest.raises(
        UserError, match=r"^4 of 4 layouts are invalid: .*a color that is one id in all labels"
    ):
        plan_submission(run)


def test_ids_that_count_from_one(run: TestOptions, dataset: Path, tmp_path: Path) -> None:
    plain = generate(replace(run, output_path=str(tmp_path / "plain")))
    change_run(run, "data", first_id=1)
    with pytest.raises(UserError, match=r"expected ids 1\.\.4, got id 0 at row"):
        plan_submission(run)
    for path in [*(dataset / "train/labels").iterdir(), *(dataset / "val/labels").iterdir()]:
        Image.fromarray(np.asarray(Image.open(path)) + np.uint16(1)).save(path)
    shifted = generate(replace(run, output_path=str(tmp_path / "shifted")))
    assert read_files(plain) == read_files(shifted)


def test_bad_layouts_are_listed_and_no_file_is_written(
    run: TestOptions, dataset: Path, tmp_path: Path
) -> None:
    labels = dataset / "val/labels"
    Image.fromarray(np.full(SIZE, 77, np.uint16)).save(labels / "tëst 6.png")
    (labels / "tëst 8.png").write_bytes((labels / "tëst 8.png").read_bytes()[:50])
    with pytest.raises(UserError) as error:
        plan_submission(run)
    text = str(error.value)
    assert "\n" not in text and text.startswith("2 of 4 layouts are invalid: ")
    assert "tëst 6.png" in text and "id 77" in text
    assert "tëst 8.png: expected a complete " in text
    assert not (tmp_path / "results/run/submission").exists()


def test_only_the_first_bad_layouts_are_described(run: TestOptions, dataset: Path) -> None:
    labels = dataset / "val/labels"
    for index in range(3):
        (labels / f"a{index}.png").write_bytes((labels / "tëst 8.png").read_bytes())
    for path in labels.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"^7 of 7 layouts are invalid: .* And 2 more\.$") as error:
        plan_submission(run)
    assert str(error.value).count(".png: ") == 5


def test_style_photos_and_instance_maps_are_decoded_first(
    run: TestOptions, dataset: Path, tmp_path: Path
) -> None:
    photo = dataset / "train/imgs/p2.png"
    photo.write_bytes(photo.read_bytes()[:40])
    with pytest.raises(UserError, match=r"^1 of 4 style photos are invalid: .*p2\.png"):
        plan_submission(run)
    change_run(run, "data", instances=True)
    maps = tmp_path / "maps"
    maps.mkdir()
    for index in range(5, 9):
        size = (32, 24) if index != 7 else (32, 23)
        Image.new("L", size).save(maps / f"tëst {index}.png")
    cut = maps / "tëst 8.png"
    cut.write_bytes(cut.read_bytes()[:40])
    styled = replace(run, style=str(dataset / "train/imgs/p0.png"), instance_path=str(maps))
    with pytest.raises(UserError) as error:
        plan_submission(styled)
    text = str(error.value)
    assert text.startswith("2 of 4 instance maps are invalid: ") and "tëst 8.png" in text
    assert "tëst 7.png: expected the size of its layout, 24 x 32, got 23 x 32" in text


def test_sources_are_read_and_rendered(dataset: Path) -> None:
    layouts = conditioner_of(DataOptions(classes=CLASSES))
    path = dataset / "val/labels/tëst 5.png"
    ids = layouts.read(path, (16, 32))
    assert ids.dtype == np.int32 and ids.shape == (16, 32)
    assert layouts.render(ids, (8, 8)).shape == (8, 8, 3)
    thumbnail, seen = layouts.thumbnail(path, (12, 16))
    assert thumbnail.shape == (12, 16, 3)
    assert seen == set(np.unique(np.asarray(Image.open(path))).tolist())

    photos = conditioner_of(DataOptions(task="translation", height=16, width=32))
    assert photos.image_size == (16, 32) and layouts.image_size == (384, 512)
    photo = photos.read(dataset / "train/imgs/p1.png", (16, 32))
    np.testing.assert_array_equal(photo, np.full((16, 32, 3), 60, np.uint8))
    np.testing.assert_array_equal(photos.render(photo, (8, 8)), photo)
    thumbnail, seen = photos.thumbnail(dataset / "train/imgs/p1.png", (12, 16))
    assert thumbnail.shape == (12, 16, 3) and seen == set()
