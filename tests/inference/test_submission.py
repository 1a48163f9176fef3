"""The submission: its files, its zip, and the user's files in its folder."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.classes import palette
from data.ownership import MARKER
from inference import submission
from inference.submission import BadSubmission, check_zip, plan_submission, submit
from options.errors import UserError
from options.test import TestOptions
from tests.inference.fakes import FakeSynthesizer, generate, notes_of, read_files
from tests.tiny import CLASSES


def test_images_zip_and_overview(run: TestOptions, tmp_path: Path) -> None:
    folder = generate(run)
    assert folder == tmp_path / "results/run/submission"
    names = [f"tëst {index}.jpg" for index in range(5, 9)]
    assert sorted(read_files(folder)) == sorted([*names, "submission.zip", "overview.png"])
    with zipfile.ZipFile(folder / "submission.zip") as archive:
        assert archive.namelist() == names
        for name in names:
            assert archive.read(name) == (folder / name).read_bytes()
    with Image.open(folder / names[0]) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 48))
    with Image.open(folder / "overview.png") as overview:
        assert overview.width > 3 * 256
        colors = {tuple(palette(CLASSES)[index].tolist()) for index in range(CLASSES)}
        assert colors <= {color for _, color in overview.getcolors(1 << 20)}
    assert [path.name for path in folder.glob(".*")] == [MARKER]


def test_the_folder_of_the_run_has_one_set_and_another_folder_keeps_all(
    run: TestOptions, dataset: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    own = generate(run)
    for folder in (other, own):
        (folder / "notes.txt").write_text("keep")
        (folder / "selects").mkdir()
        (folder / "selects/tëst 5.jpg").write_text("the best")
    generate(replace(run, output_path=str(other)))
    (dataset / "val/labels/tëst 5.png").unlink()
    generate(run)
    generate(replace(run, output_path=str(other)))
    assert "tëst 5.jpg" not in read_files(own) and "tëst 5.jpg" in read_files(other)
    for folder in (other, own):
        assert (folder / "notes.txt").read_text() == "keep"
        assert (folder / "selects/tëst 5.jpg").read_text() == "the best"
        with zipfile.ZipFile(folder / "submission.zip") as archive:
            assert len(archive.namelist()) == 3


def make_zip(path: Path, files: dict[str, Image.Image], kind: str = "JPEG") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, image in files.items():
            with archive.open(name, "w") as file:
                image.save(file, kind)
    return path


def test_the_zip_is_verified(tmp_path: Path) -> None:
    good = Image.new("RGB", (64, 48))
    path = tmp_path / "a.zip"
    check_zip(make_zip(path, {"a.jpg": good}), ["a.jpg"], (48, 64))
    for files, kind, fault in (
        ({}, "JPEG", "expected 1 images, got 0; the first difference is a.jpg"),
        ({"a.jpg": good, "b.jpg": good}, "JPEG", "got 2; the first difference is b.jpg"),
        ({"x/a.jpg": good}, "JPEG", "the first difference is a.jpg"),
        ({"a.jpg": good.convert("L")}, "JPEG", "got a.jpg, JPEG L of 48 x 64"),
        ({"a.jpg": good.resize((64, 47))}, "JPEG", "got a.jpg, JPEG RGB of 47 x 64"),
        ({"a.jpg": good}, "PNG", "got a.jpg, PNG RGB of 48 x 64"),
    ):
        with pytest.raises(BadSubmission) as error:
            check_zip(make_zip(path, files, kind), ["a.jpg"], (48, 64))
        assert str(error.value).startswith(f"{path}: expected ") and fault in str(error.value)


def test_submit_prints_the_files_or_the_failure(
    run: TestOptions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_submission(run)
    synthesizer: Any = FakeSynthesizer(plan.snapshot.options)
    assert submit(plan, synthesizer) == 0
    lines = capsys.readouterr().out.splitlines()
    folder = plan.output_path
    assert lines[:2] == [f"4 images: {folder}", f"submission: {folder / 'submission.zip'}"]
    assert lines[2] == f"overview:   {folder / 'overview.png'}"
    before = read_files(folder)
    write_zip = submission._write_zip
    monkeypatch.setattr(submission, "_write_zip", lambda folder, jobs: write_zip(folder, jobs[1:]))
    assert submit(plan, synthesizer) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and "expected 4 images, got 3" in printed.err
    assert not printed.out and read_files(folder) == before


def test_files_of_the_user_are_reported_before_the_work(run: TestOptions, tmp_path: Path) -> None:
    """Files under the names of images, zip and overview, and a changed overview."""
    folder = tmp_path / "results/run/submission"
    folder.mkdir()
    for name in ("tëst 6.jpg", "submission.zip", "overview.png"):
        (folder / name).write_text("mine")
        with pytest.raises(UserError) as error:
            plan_submission(run)
        text = str(error.value)
        assert f"{folder / name} is in the way: this program did not write it" in text
        assert "--output_path" in text and "\n" not in text
        (folder / name).unlink()
    generate(run)
    (folder / "overview.png").write_text("with arrows on it")
    with pytest.raises(UserError, match=r"overview\.png is in the way: it was changed since"):
        plan_submission(run)
    assert (folder / "overview.png").read_text() == "with arrows on it"


def test_files_that_appear_during_the_work_are_kept(
    run: TestOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = generate(run)
    synthesize = FakeSynthesizer.synthesize

    def synthesize_slowly(self: FakeSynthesizer, layout: np.ndarray, **rest: Any) -> np.ndarray:
        (folder / "tëst 8.jpg").write_text("retouched")
        return synthesize(self, layout, **rest)

    before = read_files(folder)
    monkeypatch.setattr(FakeSynthesizer, "synthesize", synthesize_slowly)
    with pytest.raises(UserError, match=r"tëst 8\.jpg is in the way.*4 finished images are kept"):
        generate(run)
    assert read_files(folder) == before | {"tëst 8.jpg": b"retouched"}
    (folder / "tëst 8.jpg").rename(folder / "copy.jpg")
    generate(run)
    assert read_files(folder) == before | {"copy.jpg": b"retouched"}


def test_the_replacement_of_an_earlier_submission_is_announced(run: TestOptions) -> None:
    assert notes_of(run) == []
    folder = generate(run)
    full = read_files(folder)
    assert notes_of(run) == ["replaces 4 images of an earlier submission with 4"]
    few = replace(run, limit=1)
    assert notes_of(few) == [
        "replaces 4 images of an earlier submission with 1; its submission.zip is kept under "
        "another name"
    ]
    for kept in ("submission-4.zip", "submission-4-2.zip"):
        generate(few)
        assert read_files(folder).keys() == {
            *("tëst 5.jpg", "submission.zip", "overview.png", "submission-4.zip", kept)
        }
        # No image is lost: that zip has all of the earlier submission.
        assert (folder / kept).read_bytes() == full["submission.zip"]
        generate(run)
    # The zip of a set that is not larger is replaced.
    generate(few)
    generate(replace(few, limit=2))
    assert "submission-1.zip" not in read_files(folder)


def test_the_folder_of_the_layouts_as_output_twice(run: TestOptions, dataset: Path) -> None:
    labels = dataset / "val/labels"
    layouts = read_files(labels)
    options = replace(run, input_path=str(labels), output_path=str(labels))
    for _ in range(2):
        generate(options)
        files = read_files(labels)
        assert len(files) == 4 + 6 and {name: files[name] for name in layouts} == layouts
        with zipfile.ZipFile(labels / "submission.zip") as archive:
            assert len(archive.namelist()) == 4


def test_names_that_a_zip_cannot_carry_are_escaped_in_it(run: TestOptions, dataset: Path) -> None:
    """Such as names from a zip made on a Chinese Windows; the image files have them unchanged."""
    labels = dataset / "val/labels"
    gbk = os.fsdecode("湖".encode("gbk"))
    for index, name in enumerate((gbk, "a\nb", "c\\d", "湖\u3000e"), 5):
        (labels / f"tëst {index}.png").rename(labels / f"{name}.png")
    assert notes_of(run) == [
        "note: 3 names hold characters that a zip does not carry to every system; in "
        "submission.zip a\\nb.jpg is called a%0Ab.jpg; to choose the names, rename the layouts "
        "(convmv does it for GBK names)"
    ]
    folder = generate(replace(run, style="noise"), encoder=True)
    assert {f"{gbk}.jpg", "a\nb.jpg", "c\\d.jpg", "湖\u3000e.jpg"} <= read_files(folder).keys()
    with zipfile.ZipFile(folder / "submission.zip") as archive:
        assert sorted(archive.namelist()) == [
            "%BA%FE.jpg",
            "a%0Ab.jpg",
            "c%5Cd.jpg",
            "湖\u3000e.jpg",
        ]
    generate(replace(run, style="noise"), encoder=True)  # the program recognizes its own files


def test_too_little_space_is_reported_before_the_work(
    run: TestOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "BYTES_PER_PIXEL", 1e12)
    with pytest.raises(UserError, match="MB of free space"):
        plan_submission(run)
