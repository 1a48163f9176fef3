"""The style of each image: a reference photo per layout, one photo for all, or noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from inference.submission import plan_submission
from options.errors import UserError
from options.test import TestOptions
from tests.inference.conftest import SIZE
from tests.inference.fakes import change_run, generate, notes_of, snapshot_path


def style_names(options: TestOptions) -> list[str]:
    return [job.style_path.name for job in plan_submission(options).jobs if job.style_path]


def test_the_default_is_the_photo_of_the_nearest_layout(run: TestOptions) -> None:
    assert style_names(run) == ["p0.png", "p1.png", "p2.png", "p3.png"]


def test_a_table_names_the_photos(run: TestOptions, dataset: Path) -> None:
    table = {f"tëst {index}.png": f"p{9 - index}.jpg" for index in range(5, 9)}
    (dataset / "label_to_img.json").write_text(json.dumps(table))
    assert style_names(run) == ["p4.png", "p3.png", "p2.png", "p1.png"]
    del table["tëst 7.png"]
    (dataset / "label_to_img.json").write_text(json.dumps(table))
    with pytest.raises(UserError, match=r"tëst 7\.png"):
        plan_submission(run)


def test_photos_of_the_user(run: TestOptions, tmp_path: Path) -> None:
    folder = tmp_path / "styles"
    folder.mkdir()
    gray = Image.new("RGB", SIZE[::-1], (9, 9, 9))
    gray.save(folder / "p3.png")
    options = replace(run, img_path=str(folder))
    # Only p3 has a photo there: the nearest of one layout.
    assert {job.style_path for job in plan_submission(options).jobs} == {folder / "p3.png"}
    for index in range(5, 9):
        gray.save(folder / f"tëst {index}.png")
    assert style_names(options) == [f"tëst {index}.png" for index in range(5, 9)]
    one = replace(run, style=str(folder / "p3.png"))
    assert {job.style_path for job in plan_submission(one).jobs} == {folder / "p3.png"}
    with pytest.raises(UserError, match=r"--style: expected reference, noise or a photo, got nose"):
        plan_submission(replace(run, style="nose"))


def test_photos_of_other_layouts_are_refused(run: TestOptions, tmp_path: Path) -> None:
    folder = tmp_path / "styles"
    folder.mkdir()
    Image.new("RGB", SIZE[::-1]).save(folder / "other.png")
    with pytest.raises(UserError, match=r"--img_path: expected photos with the names of training"):
        plan_submission(replace(run, img_path=str(folder)))


def test_noise_needs_a_generator_that_takes_it(run: TestOptions) -> None:
    with pytest.raises(UserError, match="--style noise: expected a generator that takes noise"):
        generate(replace(run, style="noise"))


def test_a_photo_needs_a_generator_that_takes_it(run: TestOptions, tmp_path: Path) -> None:
    change_run(run, "generator", style_stream=False)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(
        UserError, match="--style: expected a generator that takes its style from a photo"
    ):
        plan_submission(replace(run, style=str(tmp_path / "a.png")))


def test_a_table_that_names_no_layout_is_skipped(
    run: TestOptions, dataset: Path, tmp_path: Path
) -> None:
    (dataset / "label_to_img.json").write_text(json.dumps({"tëst 5.png": "p0.jpg"}))
    labels, photos = tmp_path / "labels", tmp_path / "photos"
    labels.mkdir()
    photos.mkdir()
    for index in range(2):
        (dataset / f"val/labels/tëst {index + 5}.png").rename(labels / f"m{index}.png")
    options = replace(run, input_path=str(labels))
    note = f"not used: {dataset / 'label_to_img.json'} names none of these 2 layouts"
    assert notes_of(options) == [note]
    # The photos of the nearest training layouts, or those of the layouts' own names if all exist.
    assert style_names(options) == ["p0.png", "p1.png"]
    for index in range(2):
        Image.new("RGB", SIZE[::-1]).save(photos / f"m{index}.png")
    plan = plan_submission(replace(options, img_path=str(photos)))
    assert [job.style_path for job in plan.jobs] == [photos / "m0.png", photos / "m1.png"]
    # With --limit, the table is that of all layouts of the folder.
    (labels / "label_to_img.json").write_text(json.dumps({"m1.png": "p0.jpg"}))
    with pytest.raises(UserError, match=r"got none for 1 of 1 \(m0\.png\)"):
        plan_submission(replace(options, limit=1))


def test_a_missing_dataset_is_reported_with_its_snapshot(
    run: TestOptions, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = snapshot_path(run)
    dataset.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError) as error:
        plan_submission(run)
    assert str(error.value) == (
        f"{path}: expected its training data in {dataset}, which does not exist. Name --input_path "
        "LABELS"
    )
    options = replace(run, input_path=str(tmp_path / "elsewhere/val/labels"))
    with pytest.raises(UserError, match=r"expected its training data in .*or --style PHOTO"):
        plan_submission(options)
    change_run(run, "data", input_path="dataset")
    monkeypatch.chdir("/")
    with pytest.raises(
        UserError, match=r"training data in dataset, which does not exist \(relative to /\)"
    ):
        plan_submission(run)
    change_run(run, "data", input_path=None)
    with pytest.raises(UserError, match=r"does not record its training data\. Name --input_path"):
        plan_submission(run)
