"""The submission with a painter that needs no network."""

from __future__ import annotations

import json
import os
import signal
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.classes import palette
from data.ownership import MARKER, Partial
from options.errors import Failure, UserError
from options.run import DataOptions, GeneratorOptions, RunOptions, TestOptions
from tools import submission
from tools.submission import (
    BadSubmission,
    check_zip,
    find_run_layouts,
    make_submission,
    plan_submission,
    submit,
)
from training.checkpoint import SNAPSHOT_FORMAT
from training.tensor_file import read_tensors, write_tensors

CLASSES = 4
SIZE = (24, 32)


class Painter:
    """Paints layout and style side by side, so that files tell what they were made from."""

    def __init__(self, options: RunOptions, *, encoder: bool = False) -> None:
        self.options = options
        self.classes = CLASSES
        self.size = (options.data.height, options.data.width)
        self.has_encoder = encoder
        self.takes_noise = encoder
        self.takes_style = True
        self.painted: list[str] = []

    def sample_noise(self, seed: int, name: str) -> np.ndarray | None:
        if not self.takes_noise:
            return None
        self.painted.append(name)
        return np.random.default_rng([seed, *os.fsencode(name)]).normal(size=(1, 3))

    def paint(
        self, layout: np.ndarray, *, style: np.ndarray | None, noise: np.ndarray | None
    ) -> np.ndarray:
        assert layout.shape == self.size
        picture = palette(CLASSES)[layout] // 2
        if style is not None:
            assert style.shape == (*self.size, 3)
            picture = picture + style // 2
        if noise is not None:
            assert style is None
            picture = picture + np.uint8(abs(noise).sum() * 10)
        return picture.astype(np.uint8)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    for name in ("train/imgs", "train/labels", "val/labels"):
        (root / name).mkdir(parents=True)
    for index in range(9):
        random = np.random.default_rng(index)
        layout = np.kron(random.integers(0, CLASSES, (3, 4)), np.ones((8, 8))).astype(np.uint16)
        if index < 5:
            Image.fromarray(layout).save(root / f"train/labels/p{index}.png")
            image = np.full((*SIZE, 3), 40 * index + 20, np.uint8)
            Image.fromarray(image).save(root / f"train/imgs/p{index}.png")
        else:
            # the layouts of p0, p1, p2 and p3
            same = Image.open(root / f"train/labels/p{index - 5}.png")
            same.save(root / f"val/labels/tëst {index}.png")
    return root


@pytest.fixture
def run(tmp_path: Path, dataset: Path) -> TestOptions:
    options = RunOptions(
        data=DataOptions(input_path=str(dataset), height=16, width=32, classes=CLASSES, workers=1),
        generator=GeneratorOptions(halvings=4),
    )
    folder = tmp_path / "results/run/checkpoints"
    folder.mkdir(parents=True)
    path = folder / "generator-0001.safetensors"
    metadata = {
        "format": SNAPSHOT_FORMAT,
        "options": options.to_json(),
        "epoch": "1",
        "step": "2",
    }
    write_tensors(path, {}, metadata)
    (folder / "latest").write_text(path.name)
    return TestOptions(name="run", results_path=str(tmp_path / "results"), height=48, width=64)


def draw(options: TestOptions, **settings: Any) -> tuple[Path, Painter]:
    plan = plan_submission(options)
    painter = Painter(plan.snapshot.options, **settings)
    result = make_submission(plan, painter)
    return result.folder, painter


def read_files(folder: Path) -> dict[str, bytes]:
    """All that a person sees: hidden are the marker and what is not finished."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name[0] != "." and p.is_file()}


def test_pictures_zip_and_overview(run: TestOptions, tmp_path: Path) -> None:
    folder, _ = draw(run)
    assert folder == tmp_path / "results/run/submission"
    names = [f"tëst {index}.jpg" for index in range(5, 9)]
    assert sorted(read_files(folder)) == sorted([*names, "submission.zip", "overview.png"])
    with zipfile.ZipFile(folder / "submission.zip") as archive:
        assert archive.namelist() == names
        for name in names:
            assert archive.read(name) == (folder / name).read_bytes()
    with Image.open(folder / names[0]) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (64, 48))
    with Image.open(folder / "overview.png") as overview:
        assert overview.width > 3 * 256
        colours = {tuple(palette(CLASSES)[index].tolist()) for index in range(CLASSES)}
        assert colours <= {colour for _, colour in overview.getcolors(1 << 20)}
    assert [path.name for path in folder.glob(".*")] == [MARKER]


def test_the_nearest_layouts_photograph_is_the_style(run: TestOptions) -> None:
    styles = [job.style_path for job in plan_submission(run).jobs]
    assert [path.name for path in styles if path] == ["p0.png", "p1.png", "p2.png", "p3.png"]


def test_a_table_names_the_styles(run: TestOptions, dataset: Path, tmp_path: Path) -> None:
    table = {f"tëst {index}.png": f"p{9 - index}.jpg" for index in range(5, 9)}
    (dataset / "label_to_img.json").write_text(json.dumps(table))
    expected = ["p4.png", "p3.png", "p2.png", "p1.png"]
    jobs = plan_submission(run).jobs
    assert [job.style_path.name for job in jobs if job.style_path] == expected
    del table["tëst 7.png"]
    (dataset / "label_to_img.json").write_text(json.dumps(table))
    with pytest.raises(UserError, match=r"tëst 7\.png"):
        plan_submission(run)


def test_photographs_of_ones_own(run: TestOptions, tmp_path: Path) -> None:
    folder = tmp_path / "styles"
    folder.mkdir()
    grey = Image.new("RGB", (32, 24), (9, 9, 9))
    grey.save(folder / "p3.png")
    options = replace(run, img_path=str(folder))
    # Only p3 is there: the nearest of one.
    assert {job.style_path for job in plan_submission(options).jobs} == {folder / "p3.png"}
    for index in range(5, 9):
        grey.save(folder / f"tëst {index}.png")
    names = [job.style_path.name for job in plan_submission(options).jobs if job.style_path]
    assert names == [f"tëst {index}.png" for index in range(5, 9)]
    one = replace(run, style=str(folder / "p3.png"))
    assert {job.style_path for job in plan_submission(one).jobs} == {folder / "p3.png"}
    with pytest.raises(UserError, match=r"--style is reference, noise or a photograph"):
        plan_submission(replace(run, style="nose"))


def test_the_same_seed_gives_the_same_files_in_any_order(run: TestOptions, tmp_path: Path) -> None:
    options = replace(run, style="noise", seed=5, output_path=str(tmp_path / "a"))
    first, _ = draw(options, encoder=True)
    again, _ = draw(replace(options, output_path=str(tmp_path / "b")), encoder=True)
    assert read_files(first) == read_files(again)
    plan = plan_submission(replace(options, output_path=str(tmp_path / "c")))
    turned = replace(plan, jobs=plan.jobs[::-1][:2])
    result = make_submission(turned, Painter(plan.snapshot.options, encoder=True))
    for job in turned.jobs:
        assert (result.folder / job.name).read_bytes() == (first / job.name).read_bytes()
    other, _ = draw(replace(options, seed=6, output_path=str(tmp_path / "d")), encoder=True)
    assert read_files(other)["tëst 5.jpg"] != read_files(first)["tëst 5.jpg"]


def test_noise_needs_a_generator_that_takes_it(run: TestOptions) -> None:
    with pytest.raises(UserError, match="--style noise needs a generator that takes noise"):
        draw(replace(run, style="noise"))


def test_the_first_layouts_alone(run: TestOptions, tmp_path: Path) -> None:
    folder, _ = draw(replace(run, limit=2, output_path=str(tmp_path / "two")))
    pictures = sorted(path.name for path in folder.glob("*.jpg"))
    assert pictures == ["tëst 5.jpg", "tëst 6.jpg"]


def test_instance_maps_become_borders(
    run: TestOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "instances"
    folder.mkdir()
    plane = np.zeros(SIZE, np.uint8)
    plane[:, 16:] = 200
    for index in range(5, 8):
        Image.fromarray(plane).save(folder / f"tëst {index}.png")
    options = replace(run, instance_path=str(folder))
    with pytest.raises(UserError, match=r"--instance-path needs a generator that reads borders"):
        plan_submission(options)
    path = next((tmp_path / "results/run/checkpoints").glob("*.safetensors"))
    tensors, metadata = read_tensors(path)
    settings = json.loads(metadata["options"])
    settings["data"]["instances"] = True
    write_tensors(path, tensors, metadata | {"options": json.dumps(settings)})
    with pytest.raises(UserError, match=r"has none for tëst 8, nor for 0 more"):
        plan_submission(options)
    Image.fromarray(plane).save(folder / "tëst 8.png")
    seen: list[np.ndarray] = []

    def paint(self: Painter, layout: np.ndarray, *, edges: np.ndarray, **rest: Any) -> np.ndarray:
        seen.append(edges)
        return np.zeros((*self.size, 3), np.uint8)

    monkeypatch.setattr(Painter, "paint", paint)
    draw(options)
    assert len(seen) == 4
    expected = np.zeros((1, 16, 32), np.float32)
    expected[:, :, 15:17] = 1
    np.testing.assert_array_equal(seen[0], expected)
    assert seen[0].dtype == np.float32


def test_a_photograph_for_a_generator_that_takes_none(run: TestOptions, tmp_path: Path) -> None:
    path = next((tmp_path / "results/run/checkpoints").glob("*.safetensors"))
    tensors, metadata = read_tensors(path)
    settings = json.loads(metadata["options"])
    settings["generator"]["style_stream"] = False
    write_tensors(path, tensors, metadata | {"options": json.dumps(settings)})
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="--style needs a generator that takes its style from"):
        plan_submission(replace(run, style=str(tmp_path / "a.png")))


def test_layouts_of_other_formats_are_drawn_and_the_rest_is_named(
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
    folder, _ = draw(options)
    drawn = read_files(folder)
    assert drawn["a.jpg"] == drawn["b.jpg"] == drawn["c.jpg"] == drawn["d.jpg"]


def test_photographs_that_are_not_used_are_named(run: TestOptions, tmp_path: Path) -> None:
    styles = tmp_path / "styles"
    styles.mkdir()
    for index in range(5, 9):
        Image.new("RGB", (32, 24)).save(styles / f"tëst {index}.jpg")
    (styles / "a.heic").touch()
    plan = plan_submission(replace(run, img_path=str(styles)))
    unused = [note for note in plan.notes if " not used in " in note]
    assert len(unused) == 1 and "HEIC, of a phone" in unused[0]


def test_layouts_that_an_optimizer_has_sorted_are_refused(
    run: TestOptions, dataset: Path, tmp_path: Path
) -> None:
    colors = np.array([[90, 200, 30], [200, 90, 30], [30, 90, 200], [250, 250, 10]], np.uint8)
    for number, path in enumerate(sorted((dataset / "val/labels").iterdir())):
        ids = np.asarray(Image.open(path))
        order = np.roll(np.arange(CLASSES), number)
        picture = Image.fromarray(np.argsort(order)[ids].astype(np.uint8), "P")
        picture.putpalette(colors[order].tobytes())
        picture.save(path)
    with pytest.raises(UserError, match=r"4 of 4 are not: .*a color that is one id in all labels"):
        plan_submission(run)


def test_layouts_whose_ids_count_from_one(run: TestOptions, dataset: Path, tmp_path: Path) -> None:
    plain, _ = draw(replace(run, output_path=str(tmp_path / "plain")))
    snapshot = tmp_path / "results/run/checkpoints/generator-0001.safetensors"
    tensors, metadata = read_tensors(snapshot)
    options = RunOptions.from_json(metadata["options"])
    shifted = replace(options, data=replace(options.data, first_id=1))
    write_tensors(snapshot, tensors, {**metadata, "options": shifted.to_json()})
    with pytest.raises(UserError, match=r"expected ids 1\.\.4, got id 0 at row"):
        plan_submission(run)
    for path in [*(dataset / "train/labels").iterdir(), *(dataset / "val/labels").iterdir()]:
        Image.fromarray(np.asarray(Image.open(path)) + np.uint16(1)).save(path)
    again, _ = draw(replace(run, output_path=str(tmp_path / "again")))
    assert read_files(plain) == read_files(again)


def test_bad_layouts_are_named_and_nothing_is_written(
    run: TestOptions, dataset: Path, tmp_path: Path
) -> None:
    labels = dataset / "val/labels"
    Image.fromarray(np.full((24, 32), 77, np.uint16)).save(labels / "tëst 6.png")
    (labels / "tëst 8.png").write_bytes((labels / "tëst 8.png").read_bytes()[:50])
    with pytest.raises(UserError) as error:
        plan_submission(run)
    text = str(error.value)
    assert "\n" not in text
    assert "2 of 4 are not" in text and "tëst 6.png" in text and "id 77" in text
    assert "tëst 8.png: expected a complete picture" in text
    assert not (tmp_path / "results/run/submission").exists()


def test_the_runs_own_folder_has_one_set_and_another_is_added_to(
    run: TestOptions, dataset: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    own, _ = draw(run)
    for folder in (mine, own):
        (folder / "notes.txt").write_text("keep")
        (folder / "selects").mkdir()
        (folder / "selects/tëst 5.jpg").write_text("the best")
    draw(replace(run, output_path=str(mine)))
    (dataset / "val/labels/tëst 5.png").unlink()
    draw(run)
    draw(replace(run, output_path=str(mine)))
    assert "tëst 5.jpg" not in read_files(own) and "tëst 5.jpg" in read_files(mine)
    for folder in (mine, own):
        assert (folder / "notes.txt").read_text() == "keep"
        assert (folder / "selects/tëst 5.jpg").read_text() == "the best"
        with zipfile.ZipFile(folder / "submission.zip") as archive:
            assert len(archive.namelist()) == 3


def test_which_generator(run: TestOptions, tmp_path: Path) -> None:
    assert plan_submission(replace(run, name=None)).snapshot.step == 2
    with pytest.raises(UserError, match=r"run-2 is not there; there are run"):
        plan_submission(replace(run, name="run-2"))
    path = tmp_path / "results/run/checkpoints/generator-0001.safetensors"
    plan = plan_submission(replace(run, name=None, checkpoint=str(path)))
    assert plan.output_path == tmp_path / "results/run/submission"
    with pytest.raises(UserError, match="No such file"):
        plan_submission(replace(run, checkpoint=str(tmp_path / "absent.safetensors")))
    # A run's folder, or that of its checkpoints, stands for its newest snapshot.
    for folder in (path.parent, path.parents[1]):
        plan = plan_submission(replace(run, name=None, checkpoint=str(folder)))
        assert plan.snapshot.path == path
        assert plan.output_path == tmp_path / "results/run/submission"
    with pytest.raises(UserError, match=r"got the folder .*results; it holds no \.safetensors"):
        plan_submission(replace(run, checkpoint=str(tmp_path / "results")))
    (path.parent / "latest").unlink()
    with pytest.raises(UserError, match=r"it holds generator-0001\.safetensors; name the file"):
        plan_submission(replace(run, checkpoint=str(path.parent)))


def test_training_layouts_are_no_test_layouts(tmp_path: Path, dataset: Path) -> None:
    assert len(find_run_layouts(str(dataset)).paths) == 4
    plain = tmp_path / "plain"
    plain.mkdir()
    (dataset / "train/imgs").rename(plain / "imgs")
    (dataset / "train/labels").rename(plain / "labels")
    with pytest.raises(UserError, match="test layouts are others than"):
        find_run_layouts(str(plain))


def make_zip(path: Path, files: dict[str, Image.Image], kind: str = "JPEG") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, picture in files.items():
            with archive.open(name, "w") as file:
                picture.save(file, kind)
    return path


def test_the_zip_is_looked_at(tmp_path: Path) -> None:
    good = Image.new("RGB", (64, 48))
    path = tmp_path / "a.zip"
    check_zip(make_zip(path, {"a.jpg": good}), ["a.jpg"], (48, 64))
    for files, kind, rule in (
        ({}, "JPEG", "must hold 1 pictures: it holds 0; off is a.jpg"),
        ({"a.jpg": good, "b.jpg": good}, "JPEG", "off is b.jpg"),
        ({"x/a.jpg": good}, "JPEG", "off is"),
        ({"a.jpg": good.convert("L")}, "JPEG", "a.jpg is JPEG L of 48 x 64"),
        ({"a.jpg": good.resize((64, 47))}, "JPEG", "of 47 x 64"),
        ({"a.jpg": good}, "PNG", "a.jpg is PNG RGB"),
    ):
        with pytest.raises(BadSubmission, match=rule):
            check_zip(make_zip(path, files, kind), ["a.jpg"], (48, 64))


def test_where_the_submission_is_or_why_there_is_none(
    run: TestOptions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_submission(run)
    painter = Painter(plan.snapshot.options)
    assert submit(plan, painter) == 0
    said = capsys.readouterr().out.splitlines()
    folder = plan.output_path
    assert said[:2] == [f"4 pictures: {folder}", f"submission: {folder / 'submission.zip'}"]
    assert said[2] == f"overview:   {folder / 'overview.png'}"
    before = read_files(folder)
    write_zip = submission._write_zip
    monkeypatch.setattr(submission, "_write_zip", lambda folder, jobs: write_zip(folder, jobs[1:]))
    assert submit(plan, painter) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and "must hold 4 pictures" in printed.err
    assert not printed.out and read_files(folder) == before


def test_what_a_person_has_put_there_is_named_before_the_work(
    run: TestOptions, dataset: Path, tmp_path: Path
) -> None:
    """Each in the place of one of our names; one that is changed after a submission too."""
    folder = tmp_path / "results/run/submission"
    folder.mkdir()
    for name in ("tëst 6.jpg", "submission.zip", "overview.png"):
        (folder / name).write_text("mine")
        with pytest.raises(UserError) as error:
            plan_submission(run)
        assert f"{folder / name} is in the way: this program did not write it" in str(error.value)
        assert "--output_path" in str(error.value) and "\n" not in str(error.value)
        (folder / name).unlink()
    draw(run)
    (folder / "overview.png").write_text("with my arrows on it")
    with pytest.raises(UserError, match=r"overview\.png is in the way: it was changed since"):
        plan_submission(run)
    assert (folder / "overview.png").read_text() == "with my arrows on it"


def test_what_comes_while_images_are_drawn_stays(
    run: TestOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = draw(run)
    paint = Painter.paint

    def paint_slowly(self: Painter, layout: np.ndarray, **rest: Any) -> np.ndarray:
        (folder / "tëst 8.jpg").write_text("retouched")
        return paint(self, layout, **rest)

    before = read_files(folder)
    monkeypatch.setattr(Painter, "paint", paint_slowly)
    with pytest.raises(UserError, match=r"tëst 8\.jpg is in the way.*4 finished images are kept"):
        draw(run)
    assert read_files(folder) == before | {"tëst 8.jpg": b"retouched"}
    (folder / "tëst 8.jpg").rename(folder / "mine.jpg")
    draw(run)
    assert read_files(folder) == before | {"mine.jpg": b"retouched"}


def notes_of(options: TestOptions) -> list[str]:
    """Without that of the stretched layouts: they are 24 x 32, and the generator draws 16 x 32."""
    return [note for note in plan_submission(options).notes if "stretched" not in note]


def test_replacing_an_earlier_submission_is_announced(run: TestOptions, dataset: Path) -> None:
    assert notes_of(run) == []
    folder, _ = draw(run)
    full = read_files(folder)
    assert notes_of(run) == ["replaces 4 images of an earlier submission with 4"]
    few = replace(run, limit=1)
    assert notes_of(few) == [
        "replaces 4 images of an earlier submission with 1; its submission.zip is kept under "
        "another name"
    ]
    for kept in ("submission-4.zip", "submission-4-2.zip"):
        draw(few)
        assert read_files(folder).keys() == {
            *("tëst 5.jpg", "submission.zip", "overview.png", "submission-4.zip", kept)
        }
        # Nothing that was drawn is lost: the whole submission is in that zip.
        assert (folder / kept).read_bytes() == full["submission.zip"]
        draw(run)
    # Of a set that is not larger nothing is kept.
    draw(few)
    draw(replace(few, limit=2))
    assert "submission-1.zip" not in read_files(folder)


def test_into_the_layouts_own_folder_twice(run: TestOptions, dataset: Path) -> None:
    labels = dataset / "val/labels"
    mine = read_files(labels)
    options = replace(run, input_path=str(labels), output_path=str(labels))
    for _ in range(2):
        draw(options)
        made = read_files(labels)
        assert len(made) == 4 + 6 and {name: made[name] for name in mine} == mine
        with zipfile.ZipFile(labels / "submission.zip") as archive:
            assert len(archive.namelist()) == 4


def test_a_failure_leaves_the_last_submission_and_what_was_drawn(
    run: TestOptions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = draw(run)
    before = read_files(folder)
    real, drawn = Painter.paint, []

    def paint(self: Painter, layout: np.ndarray, **rest: Any) -> np.ndarray:
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(layout)
        return 255 - real(self, layout, **rest)

    monkeypatch.setattr(Painter, "paint", paint)
    with pytest.raises(KeyboardInterrupt):
        draw(run)
    assert read_files(folder) == before
    (kept,) = folder.glob(".submission-*")
    assert len(list(kept.glob("*.jpg"))) == 2
    said = capsys.readouterr().err
    assert said == (
        f"stopped: 2 finished images are kept in {kept}: the same command resumes there\n"
    )
    # Other options draw anew and leave that be; the same ones take what is there.
    monkeypatch.setattr(Painter, "paint", real)
    other = replace(run, seed=1)
    assert notes_of(other)[1:] == [
        f"note: {kept} keeps 2 images of an unfinished set with other options"
    ]
    draw(other)
    assert notes_of(run)[1:] == [f"resumes: 2 images are drawn already, in {kept}"]
    draw(run)
    after = read_files(folder)
    changed = {name for name in before if name.endswith(".jpg") and after[name] != before[name]}
    assert changed == {"tëst 5.jpg", "tëst 6.jpg"}
    assert not kept.exists()


def test_an_image_whose_files_changed_is_drawn_again(
    run: TestOptions, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        submission, "_write_zip", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt())
    )
    with pytest.raises(KeyboardInterrupt):
        draw(run)
    monkeypatch.undo()
    layout = dataset / "val/labels/tëst 6.png"
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(layout)
    style = dataset / "train/imgs/p3.png"
    style.write_bytes(style.read_bytes() + b"\0")  # the style of tëst 8
    painted = []
    real = Painter.paint

    def paint(self: Painter, layout: np.ndarray, **rest: Any) -> np.ndarray:
        painted.append(layout)
        return real(self, layout, **rest)

    monkeypatch.setattr(Painter, "paint", paint)
    draw(run)
    assert len(painted) == 2 and not painted[0].any()


def _fail_in_zip(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(folder: Path, jobs: list[submission.Job]) -> None:
        (folder / "submission.zip").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(submission, "_write_zip", write)


def _fail_in_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*_: object) -> None:
        raise BadSubmission("the zip is off")

    monkeypatch.setattr(submission, "check_zip", check)


def _fail_in_overview(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise UserError("a layout is gone")

    monkeypatch.setattr(submission, "draw_sheet", lambda *_, **__: fail())


def _fail_at_the_last_image(monkeypatch: pytest.MonkeyPatch) -> None:
    add, count = Partial.add, []

    def fail(self: Partial, name: str, key: str, content: bytes) -> None:
        count.append(name)
        if len(count) == 4:
            (self.path / name).write_bytes(content[:9])
            raise OSError(28, "No space left on device")
        add(self, name, key, content)

    monkeypatch.setattr(Partial, "add", fail)


@pytest.mark.parametrize(
    ("fail", "words", "count", "code"),
    [
        (_fail_in_zip, "No space left on device", 4, 2),
        (_fail_in_check, "the zip is off", 4, 1),
        (_fail_in_overview, "a layout is gone", 4, 2),
        (_fail_at_the_last_image, "No space left on device", 3, 2),
    ],
)
def test_images_outlive_a_failure_of_any_later_stage(
    run: TestOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fail: Any,
    words: str,
    count: int,
    code: int,
) -> None:
    with monkeypatch.context() as patch:
        fail(patch)
        with pytest.raises(UserError if code == 2 else Failure) as error:
            draw(run)
    folder = tmp_path / "results/run/submission"
    (kept,) = folder.glob(".submission-*")
    assert words in str(error.value) and "\n" not in str(error.value)
    assert f"{count} finished images are kept in {kept}" in str(error.value)
    assert read_files(folder) == {} and not (kept / "submission.zip").exists()

    def refuse(self: Painter, layout: np.ndarray, **rest: Any) -> np.ndarray:
        assert count < 4
        return np.zeros((*self.size, 3), np.uint8)

    monkeypatch.setattr(Painter, "paint", refuse)
    draw(run)
    assert len(read_files(folder)) == 6 and not kept.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_image(
    run: TestOptions,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    real, painted = Painter.paint, []

    def paint(self: Painter, layout: np.ndarray, **rest: Any) -> np.ndarray:
        painted.append(layout)
        if len(painted) == 2:
            os.kill(os.getpid(), number)
        return real(self, layout, **rest)

    monkeypatch.setattr(Painter, "paint", paint)
    plan = plan_submission(run)
    assert submit(plan, Painter(plan.snapshot.options)) == 128 + number
    assert "stopped: 2 finished images are kept" in capsys.readouterr().err
    assert submit(plan, Painter(plan.snapshot.options)) == 0 and len(painted) == 4


def test_an_image_that_is_not_finite_is_not_written(
    run: TestOptions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, painted = Painter.paint, []

    def paint(self: Painter, layout: np.ndarray, **rest: Any) -> np.ndarray:
        painted.append(layout)
        if len(painted) == 3:
            raise Failure("the generator's output is not finite (NaN or infinity)")
        return real(self, layout, **rest)

    monkeypatch.setattr(Painter, "paint", paint)
    plan = plan_submission(run)
    assert submit(plan, Painter(plan.snapshot.options)) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "val/labels/tëst 7.png: the generator's output is not" in said
    assert "2 finished images are kept" in said
    assert read_files(plan.output_path) == {}


def test_names_that_a_zip_does_not_carry_everywhere(
    run: TestOptions, dataset: Path, tmp_path: Path
) -> None:
    """Such as a zip made on a Chinese Windows leaves: the images are drawn under those names."""
    labels = dataset / "val/labels"
    gbk = os.fsdecode("湖".encode("gbk"))
    for index, name in enumerate((gbk, "a\nb", "c\\d", "湖\u3000e"), 5):
        (labels / f"tëst {index}.png").rename(labels / f"{name}.png")
    assert notes_of(run) == [
        "note: 3 names hold characters that a zip does not carry to every system; in "
        "submission.zip a\\nb.jpg is called a%0Ab.jpg; to have names of your own, rename the "
        "layouts (convmv does it for GBK names)"
    ]
    folder, _ = draw(replace(run, style="noise"), encoder=True)
    assert {f"{gbk}.jpg", "a\nb.jpg", "c\\d.jpg", "湖\u3000e.jpg"} <= read_files(folder).keys()
    with zipfile.ZipFile(folder / "submission.zip") as archive:
        assert sorted(archive.namelist()) == [
            "%BA%FE.jpg",
            "a%0Ab.jpg",
            "c%5Cd.jpg",
            "湖\u3000e.jpg",
        ]
    draw(replace(run, style="noise"), encoder=True)  # recognized as its own


@pytest.mark.parametrize(
    "names", [("A", "a"), ("straße", "STRASSE"), (os.fsdecode(b"\xba\xfe"), "%BA%FE")]
)
def test_images_that_would_have_one_name(
    run: TestOptions, dataset: Path, names: tuple[str, str]
) -> None:
    labels = dataset / "val/labels"
    for index, name in enumerate(names, 5):
        (labels / f"tëst {index}.png").rename(labels / f"{name}.png")
    with pytest.raises(UserError, match="expected image names that differ on every system"):
        plan_submission(run)


def test_styles_and_instance_maps_are_read_before_the_work(
    run: TestOptions, dataset: Path, tmp_path: Path
) -> None:
    broken = dataset / "train/imgs/p2.png"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(UserError, match=r"every style photograph must be good: 1 of 4 .*p2\.png"):
        plan_submission(run)
    path = next((tmp_path / "results/run/checkpoints").glob("*.safetensors"))
    tensors, metadata = read_tensors(path)
    settings = json.loads(metadata["options"])
    settings["data"]["instances"] = True
    write_tensors(path, tensors, metadata | {"options": json.dumps(settings)})
    maps = tmp_path / "maps"
    maps.mkdir()
    for index in range(5, 9):
        size = (32, 24) if index != 7 else (32, 23)
        Image.new("L", size).save(maps / f"tëst {index}.png")
    whole = maps / "tëst 8.png"
    whole.write_bytes(whole.read_bytes()[:40])
    with pytest.raises(UserError) as error:
        plan_submission(
            replace(run, style=str(dataset / "train/imgs/p0.png"), instance_path=str(maps))
        )
    text = str(error.value)
    assert "every instance map must be good: 2 of 4 are not" in text and "tëst 8.png" in text
    assert "tëst 7.png: expected the size of its layout, 24 x 32, got 23 x 32" in text


def test_too_little_space_is_said_before_the_work(
    run: TestOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "BYTES_PER_PIXEL", 1e12)
    with pytest.raises(UserError, match="MB of free space"):
        plan_submission(run)


def test_stretched_layouts_are_told(run: TestOptions, dataset: Path) -> None:
    """The dataset's layouts are 24 x 32; the generator draws 16 x 32."""
    said = "note: 4 of 4 layouts are stretched: tëst 5.png is 24 x 32 (height x width), its image"
    path = next(Path(run.results_path).glob("run/checkpoints/*.safetensors"))
    assert plan_submission(run).notes == [f"{said} is drawn at 16 x 32"]
    change_data(path, width=64, height=48)
    assert plan_submission(run).notes == []
    wide = plan_submission(replace(run, height=48, width=48)).notes
    assert wide == [f"{said} is written at 48 x 48"]
    Image.fromarray(np.zeros((25, 33), np.uint16)).save(dataset / "val/labels/tëst 5.png")
    assert plan_submission(run).notes[0].startswith("note: 1 of 4 layouts are stretched")


def change_data(path: Path, **values: int) -> None:
    tensors, metadata = read_tensors(path)
    settings = json.loads(metadata["options"])
    settings["data"] |= values
    write_tensors(path, tensors, metadata | {"options": json.dumps(settings)})


def test_a_table_that_names_none_of_the_layouts_is_not_theirs(
    run: TestOptions, dataset: Path, tmp_path: Path
) -> None:
    (dataset / "label_to_img.json").write_text(json.dumps({"tëst 5.png": "p0.jpg"}))
    mine, photos = tmp_path / "mine", tmp_path / "photos"
    mine.mkdir()
    photos.mkdir()
    for index in range(2):
        (dataset / f"val/labels/tëst {index + 5}.png").rename(mine / f"m{index}.png")
    options = replace(run, input_path=str(mine))
    note = f"not used: {dataset / 'label_to_img.json'} names none of these 2 layouts"
    assert notes_of(options) == [note]
    plan = plan_submission(options)
    # The nearest training layouts' photographs, or, where all have one, those of the own names.
    assert [job.style_path.name for job in plan.jobs] == ["p0.png", "p1.png"]
    for index in range(2):
        Image.new("RGB", (32, 24)).save(photos / f"m{index}.png")
    plan = plan_submission(replace(options, img_path=str(photos)))
    assert [job.style_path for job in plan.jobs] == [photos / "m0.png", photos / "m1.png"]
    # --limit does not make a table another's.
    (mine / "label_to_img.json").write_text(json.dumps({"m1.png": "p0.jpg"}))
    with pytest.raises(UserError, match=r"got none for 1 of 1 \(m0\.png\)"):
        plan_submission(replace(options, limit=1))


def test_a_dataset_that_is_gone_is_told_with_who_named_it(
    run: TestOptions, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next((tmp_path / "results/run/checkpoints").glob("*.safetensors"))
    dataset.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError) as error:
        plan_submission(run)
    assert f"{path} was trained on {dataset}, which is not there; name --input_path" in str(
        error.value
    )
    options = replace(run, input_path=str(tmp_path / "elsewhere/val/labels"))
    with pytest.raises(UserError, match=r"was trained on .*or --style PHOTOGRAPH"):
        plan_submission(options)
    change_data(path, input_path="dataset")
    monkeypatch.chdir("/")
    with pytest.raises(UserError, match=r"trained on dataset, which is not there \(seen from /\)"):
        plan_submission(run)
