"""The submission with a painter that needs no network."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.classes import palette
from options.errors import UserError
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
        return np.random.default_rng([seed, *name.encode()]).normal(size=(1, 3))

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
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
    assert not list(tmp_path.glob("results/run/.s*"))


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
    again, _ = draw(replace(options, output_path=str(tmp_path / "b"), batch_size=3), encoder=True)
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
    assert len(plan.unused) == 2 and "(e.jpg)" in plan.unused[0] and "notes" in plan.unused[1]
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
    assert len(plan.unused) == 1 and "HEIC, of a phone" in plan.unused[0]


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


def test_a_failure_leaves_the_last_submission(
    run: TestOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = draw(run)
    before = read_files(folder)

    def fail(self: Painter, layout: np.ndarray, **rest: Any) -> np.ndarray:
        if len(list(folder.parent.glob(".submission-*/*.jpg"))) == 2:
            raise KeyboardInterrupt
        return np.zeros((*self.size, 3), np.uint8)

    monkeypatch.setattr(Painter, "paint", fail)
    with pytest.raises(KeyboardInterrupt):
        draw(run)
    assert read_files(folder) == before
    assert [path.name for path in folder.parent.iterdir() if path.name[0] == "."] == []


def test_the_runs_own_folder_is_replaced_and_another_is_added_to(
    run: TestOptions, dataset: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("keep")
    draw(run)
    draw(replace(run, output_path=str(mine)))
    (dataset / "val/labels/tëst 5.png").unlink()
    folder, _ = draw(run)
    draw(replace(run, output_path=str(mine)))
    assert "tëst 5.jpg" not in read_files(folder)
    assert (mine / "notes.txt").read_text() == "keep"
    with zipfile.ZipFile(mine / "submission.zip") as archive:
        assert len(archive.namelist()) == 3


def test_a_folder_that_cannot_be_written(run: TestOptions, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="the submission must be written"):
        draw(replace(run, output_path=str(tmp_path / "file/here")))


def test_which_generator(run: TestOptions, tmp_path: Path) -> None:
    assert plan_submission(replace(run, name=None)).snapshot.step == 2
    with pytest.raises(UserError, match=r"run-2 is not there; there are run"):
        plan_submission(replace(run, name="run-2"))
    path = tmp_path / "results/run/checkpoints/generator-0001.safetensors"
    plan = plan_submission(replace(run, name=None, checkpoint=str(path)))
    assert plan.output_path == tmp_path / "results/run/submission"
    with pytest.raises(UserError, match="No such file"):
        plan_submission(replace(run, checkpoint=str(tmp_path / "absent.safetensors")))


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
    monkeypatch.setattr(
        submission, "_write_zip", lambda folder, names: write_zip(folder, names[1:])
    )
    assert submit(plan, painter) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and "must hold 4 pictures" in printed.err
    assert not printed.out and read_files(folder) == before
