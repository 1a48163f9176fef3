"""The plan of a synthesis: its generator, its sources, and the names and sizes of its images."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.plan import Job
from inference.submission import plan_submission
from options.errors import UserError
from options.test import TestOptions
from tests.inference.conftest import SIZE
from tests.inference.fakes import change_run, generate, snapshot_path


def test_the_generator_of_a_run_a_folder_or_a_file(run: TestOptions, tmp_path: Path) -> None:
    assert plan_submission(replace(run, name=None)).snapshot.step == 2
    with pytest.raises(UserError, match=r"--name: .* got run-2, .*; runs: run$"):
        plan_submission(replace(run, name="run-2"))
    path = snapshot_path(run)
    plan = plan_submission(replace(run, name=None, checkpoint=str(path)))
    assert plan.output_path == tmp_path / "results/run/submission"
    with pytest.raises(UserError, match="No such file"):
        plan_submission(replace(run, checkpoint=str(tmp_path / "absent.safetensors")))
    # The folder of a run, or that of its checkpoints, means its newest snapshot.
    for folder in (path.parent, path.parents[1]):
        plan = plan_submission(replace(run, name=None, checkpoint=str(folder)))
        assert plan.snapshot.path == path
        assert plan.output_path == tmp_path / "results/run/submission"
    with pytest.raises(UserError, match=r"got the folder .*results, which holds no \.safetensors"):
        plan_submission(replace(run, checkpoint=str(tmp_path / "results")))
    (path.parent / "latest").unlink()
    with pytest.raises(UserError, match=r"which holds generator-0001\.safetensors\. Name the file"):
        plan_submission(replace(run, checkpoint=str(path.parent)))


def test_without_a_run_there_is_no_generator(run: TestOptions, tmp_path: Path) -> None:
    empty = replace(run, results_path=str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"--name: .*; there is no run yet"):
        plan_submission(empty)
    with pytest.raises(UserError, match=r"no run in .*empty"):
        plan_submission(replace(empty, name=None))


def test_limit_keeps_the_first_layouts(run: TestOptions, tmp_path: Path) -> None:
    folder = generate(replace(run, limit=2, output_path=str(tmp_path / "two")))
    images = sorted(path.name for path in folder.glob("*.jpg"))
    assert images == ["tëst 5.jpg", "tëst 6.jpg"]


def test_names_in_a_zip_are_portable() -> None:
    names = {
        "a": "a.jpg",
        "湖\u3000e": "湖\u3000e.jpg",
        "a\nb": "a%0Ab.jpg",
        "c\\d": "c%5Cd.jpg",
        os.fsdecode("湖".encode("gbk")): "%BA%FE.jpg",
    }
    for stem, name in names.items():
        assert Job(Path(f"{stem}.png"), None).zip_name == name


@pytest.mark.parametrize(
    "names", [("A", "a"), ("straße", "STRASSE"), (os.fsdecode(b"\xba\xfe"), "%BA%FE")]
)
def test_equal_image_names_are_refused(
    run: TestOptions, dataset: Path, names: tuple[str, str]
) -> None:
    labels = dataset / "val/labels"
    for index, name in enumerate(names, 5):
        (labels / f"tëst {index}.png").rename(labels / f"{name}.png")
    with pytest.raises(UserError, match="expected image names that differ on every system"):
        plan_submission(run)


def test_unused_style_photos_are_named(run: TestOptions, tmp_path: Path) -> None:
    styles = tmp_path / "styles"
    styles.mkdir()
    for index in range(5, 9):
        Image.new("RGB", SIZE[::-1]).save(styles / f"tëst {index}.jpg")
    (styles / "a.heic").touch()
    plan = plan_submission(replace(run, img_path=str(styles)))
    unused = [note for note in plan.notes if " not used in " in note]
    assert len(unused) == 1 and "HEIC" in unused[0] and "(a.heic)" in unused[0]


def test_stretched_layouts_are_noted(run: TestOptions, dataset: Path) -> None:
    """The layouts of the dataset are 24 x 32, the images of the generator 16 x 32."""
    line = "note: 4 of 4 layouts are stretched: tëst 5.png is 24 x 32 (height x width), its image"
    assert plan_submission(run).notes == [f"{line} is generated at 16 x 32"]
    change_run(run, "data", width=64, height=48)
    assert plan_submission(run).notes == []
    square = plan_submission(replace(run, height=48, width=48)).notes
    assert square == [f"{line} is written at 48 x 48"]
    Image.fromarray(np.zeros((25, 33), np.uint16)).save(dataset / "val/labels/tëst 5.png")
    assert plan_submission(run).notes[0].startswith("note: 1 of 4 layouts are stretched")
