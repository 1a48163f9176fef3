"""python -m tools.evaluate --segmenter: rows, layouts and errors, with a segmenter of colors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference.metric_networks import DIMENSIONS
from metrics.features import FeatureNetwork
from metrics.predictions import Predictor
from options.groups import DataOptions, GeneratorOptions, LossOptions, TrainingOptions
from options.train import RunOptions
from tests.tiny import CLASSES, random_layout, write_dataset
from tools import evaluate
from tools.evaluate import main

Measures = dict[str, dict[str, Any]]
SIZES = [(32, 48), (64, 96), (32, 48)]


def predict(batch: np.ndarray) -> np.ndarray:
    """The class in the red channel, 60 per class, as `write_dataset` writes photos."""
    return np.rint((batch[:, 0] + 1) * 127.5 / 60).astype(np.int32)


def fake_network(name: str, weights: str | None) -> FeatureNetwork:
    def features(image: np.ndarray) -> np.ndarray:
        found = np.zeros(DIMENSIONS[name], np.float32)
        found[:3] = image.reshape(-1, 3).mean(0) / 255
        return found

    return FeatureNetwork(name, DIMENSIONS[name], features, lambda batch: batch)


@pytest.fixture(autouse=True)
def without_jittor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "start_jittor", lambda device: None)
    monkeypatch.setattr(evaluate, "load_network", fake_network)
    set_classes(monkeypatch, CLASSES)


def set_classes(monkeypatch: pytest.MonkeyPatch, classes: int) -> None:
    def load(path: Path) -> Predictor:
        assert path == Path("FILE")
        return Predictor(classes, predict, smallest_side=29)

    monkeypatch.setattr(evaluate, "load_predictor", load)


def predicted_ids(number: int) -> np.ndarray:
    return random_layout(50 + number, SIZES[number])


def write_images(folder: Path) -> Path:
    """Images t0, t1, t2, in which the segmenter finds `predicted_ids`."""
    folder.mkdir(parents=True)
    for number in range(len(SIZES)):
        red = predicted_ids(number) * 60
        image = np.stack([red, 255 - red, red * 0 + 7], axis=-1).astype(np.uint8)
        Image.fromarray(image).save(folder / f"t{number}.png")
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three pairs, whose layouts the segmenter finds, and layouts t0, t1, t2 of 32 x 48."""
    return write_dataset(tmp_path / "dataset", pairs=3, tests=3)


def truth_of(dataset: Path, number: int) -> np.ndarray:
    """The layout of an image at the size of the image: t1 is twice as large."""
    ids = np.asarray(Image.open(dataset / f"val/labels/t{number}.png"))
    factor = SIZES[number][0] // ids.shape[0]
    return np.kron(ids, np.ones((factor, factor), np.int64))


def expected_measures(dataset: Path) -> tuple[float, float, float]:
    """Mask accuracy, mIoU and the best constant prediction."""
    numbers = range(len(SIZES))
    truths, found = [truth_of(dataset, n) for n in numbers], [predicted_ids(n) for n in numbers]
    accuracy = np.mean([(a == b).mean() for a, b in zip(truths, found, strict=True)])
    truth, predicted = (np.concatenate([ids.ravel() for ids in part]) for part in (truths, found))
    ious = [
        ((truth == one) & (predicted == one)).sum() / ((truth == one) | (predicted == one)).sum()
        for one in range(CLASSES)
    ]
    floor = max(np.mean([(ids == one).mean() for ids in truths]) for one in range(CLASSES))
    return float(accuracy), float(np.mean(ious)), float(floor)


def run(tmp_path: Path, *flags: object) -> Measures:
    """The measures by name, from the JSON file of a run that succeeds."""
    path = tmp_path / "numbers.json"
    assert main([*map(str, flags), "--json", str(path)]) == 0
    return {row.pop("name"): row for row in json.loads(path.read_text())["measures"]}


def fails(capsys: pytest.CaptureFixture[str], *flags: object) -> str:
    """The one line of an error with exit code 2."""
    capsys.readouterr()
    assert main([*map(str, flags)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    return captured.err


def folder_flags(tmp_path: Path, dataset: Path) -> list[object]:
    images = write_images(tmp_path / "images")
    return ["--images", images, "--photos", dataset / "train/imgs", "--segmenter", "FILE"]


def test_rows_of_images_and_photos(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*folder_flags(tmp_path, dataset), "--layouts", dataset / "val/labels"]
    measures = run(tmp_path, *flags, "--classes", CLASSES)
    accuracy, iou, floor = expected_measures(dataset)
    assert measures["mask accuracy"]["value"] == pytest.approx(accuracy)
    assert measures["mIoU"]["value"] == pytest.approx(iou)
    assert measures["mask accuracy, floor"]["value"] == pytest.approx(floor)
    assert measures["mask accuracy"]["images"] == 3
    for name in ("mask accuracy on photos", "mIoU on photos"):
        assert (measures[name]["value"], measures[name]["photos"]) == (1, 3)
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith("mask accuracy  "))
    assert line.split()[:3] == ["mask", "accuracy", f"{accuracy:.4f}"]


def test_the_files_have_classes_and_examples(tmp_path: Path, dataset: Path) -> None:
    flags = [*folder_flags(tmp_path, dataset), "--layouts", dataset / "val/labels"]
    page = tmp_path / "page.html"
    run(tmp_path, *flags, "--classes", CLASSES, "--styles", tmp_path / "images", "--html", page)
    masks = json.loads((tmp_path / "numbers.json").read_text())["masks"]
    assert masks["segmenter"] == "FILE"
    shares = [np.mean(truth_of(dataset, n) == predicted_ids(n)) for n in range(len(SIZES))]
    assert [one["name"] for one in masks["files"]] == ["t0.png", "t1.png", "t2.png"]
    assert [one["share"] for one in masks["files"]] == pytest.approx(shares)
    pixels = sum(height * width for height, width in SIZES)
    assert np.sum(masks["images"]["confusion"]) == pixels
    photos = np.array(masks["photos"]["confusion"])
    np.testing.assert_array_equal(photos, np.diag(photos.diagonal()))
    text = page.read_text("utf-8")
    order = re.findall(r'class="rank">\d</span> (t\d)\.png', text)
    ascending = [f"t{n}" for n in np.argsort(shares, kind="stable")]
    assert order == ascending  # two are the worst, one is the best
    assert text.count("style photo</figcaption>") == 3


def test_the_scores_have_the_mask_accuracy(tmp_path: Path, dataset: Path) -> None:
    flags = [*folder_flags(tmp_path, dataset), "--layouts", dataset / "val/labels"]
    flags += ["--classes", CLASSES, "--inception-weights", "weights.pth"]
    styles = tmp_path / "styles"
    styles.mkdir()
    for number in range(3):
        (styles / f"t{number}.png").write_bytes((tmp_path / f"images/t{number}.png").read_bytes())
    measures = run(tmp_path, *flags, "--styles", styles)
    accuracy, fid = (measures[name]["value"] for name in ("mask accuracy", "FID"))
    term = (100 - fid) / 200
    assert measures["score 2022 without aesthetic"]["value"] == pytest.approx(accuracy * term)
    style = measures["style similarity, hue"]["value"]
    assert style == pytest.approx(1)
    found = measures["score 2023 without aesthetic, hue"]["value"]
    assert found == pytest.approx(accuracy * (0.3 + term))
    assert measures["score 2022"]["value"] is None
    assert measures["score 2022"]["note"].startswith("missing: aesthetic;")


def test_without_a_segmenter_it_is_not_measured(tmp_path: Path, dataset: Path) -> None:
    measures = run(tmp_path, *folder_flags(tmp_path, dataset)[:4])
    for name in ("mask accuracy", "mIoU"):
        assert measures[name]["value"] is None and "--segmenter FILE" in measures[name]["note"]
    assert "mIoU on photos" not in measures


def test_photos_without_layouts_are_not_measured(tmp_path: Path, dataset: Path) -> None:
    flags = [*folder_flags(tmp_path, dataset), "--layouts", dataset / "val/labels"]
    (dataset / "train/labels").rename(dataset / "train/other")
    measures = run(tmp_path, *flags, "--classes", CLASSES)
    assert measures["mask accuracy on photos"]["value"] is None
    assert measures["mask accuracy on photos"]["note"] == "needs photos with layouts"
    assert measures["mask accuracy"]["value"] is not None


def test_ids_of_the_layouts_follow_the_flags(tmp_path: Path, dataset: Path) -> None:
    flags = [*folder_flags(tmp_path, dataset), "--layouts", dataset / "val/labels"]
    accuracy, _, _ = expected_measures(dataset)
    for path in dataset.rglob("*abels/*.png"):
        ids = np.asarray(Image.open(path))
        Image.fromarray(np.where(ids == 3, 200, ids + 1).astype(np.uint8)).save(path)
    measures = run(tmp_path, *flags, "--classes", 3, "--unknown-label", 200, "--first-id", 1)
    assert measures["mask accuracy"]["value"] == pytest.approx(accuracy)
    assert measures["mask accuracy on photos"]["value"] == 1


def write_run(tmp_path: Path, dataset: Path, **data: Any) -> list[object]:
    """A run with a submission of three images; returns the flags that name it."""
    options = RunOptions(
        data=DataOptions(**{"input_path": str(dataset), "classes": CLASSES, **data}),
        generator=GeneratorOptions(start="noise"),
        loss=LossOptions(lambda_feature=1.0),
        training=TrainingOptions(name="run", results_path=str(tmp_path / "results")),
    )
    submission = write_images(tmp_path / "results/run/submission")
    (submission.parent / "options.json").write_text(options.to_json())
    results = tmp_path / "results"
    return ["--name", "run", "--results-path", results, "--segmenter", "FILE"]


def test_a_run_has_layouts_and_classes(tmp_path: Path, dataset: Path) -> None:
    measures = run(tmp_path, *write_run(tmp_path, dataset))
    accuracy, iou, _ = expected_measures(dataset)
    assert measures["mask accuracy"]["value"] == pytest.approx(accuracy)
    assert measures["mIoU"]["value"] == pytest.approx(iou)
    assert measures["mask accuracy on photos"]["value"] == 1


def test_the_unknown_class_of_a_run_counts(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = write_run(tmp_path, dataset, unknown_label=255)
    error = fails(capsys, *flags)
    assert "FILE: expected a segmenter of 5 classes, the last one unknown, got one of 4" in error


def test_a_translation_has_no_layouts(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("content", "style"):
        (dataset / name).mkdir()
        for path in (dataset / "train/imgs").iterdir():
            (dataset / name / path.name).write_bytes(path.read_bytes())
    flags = write_run(tmp_path, dataset, task="translation", classes=29)
    assert "--segmenter: expected a run with layouts, got --task tran" in fails(capsys, *flags)


@pytest.mark.parametrize("classes", [3, 5])
def test_another_number_of_classes_is_refused(
    tmp_path: Path,
    dataset: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    classes: int,
) -> None:
    set_classes(monkeypatch, classes)
    monkeypatch.setattr(evaluate, "measure_distances", None)  # before any work
    flags = [*folder_flags(tmp_path, dataset), "--layouts", dataset / "val/labels"]
    error = fails(capsys, *flags, "--classes", CLASSES)
    assert f"FILE: expected a segmenter of 4 classes, got one of {classes}" in error


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("OK", "--layouts: expected the layouts of the images, got none"),
        ("OK --layouts none", "none: expected a folder"),
        ("OK --layouts SHORT", "SHORT: expected a layout for each image, got none for 2 of 3 (t1."),
        ("FULL --classes 2", "t0.png: expected ids 0..1"),
        ("FULL --classes 0", "--classes: expected 1..65535, got 0"),
        ("FULL --classes 70000", "--classes: expected 1..65535, got 70000"),
        ("FULL --unknown-label -1", "--unknown-label: expected 0..65535, got -1"),
        ("FULL --first_id 65508", "--first-id: expected 0..65507, got 65508"),
        ("PLAIN --layouts SHORT", "--layouts has no effect without --segmenter"),
        ("PLAIN --classes 4", "--classes has no effect without --segmenter"),
        ("PLAIN --unknown_label 0", "--unknown-label has no effect without --segmenter"),
        ("--name run --segmenter FILE --first-id 0", "--first-id has no effect with --name"),
    ],
)
def test_bad_flags(
    tmp_path: Path,
    dataset: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
    words: str,
) -> None:
    write_images(tmp_path / "images")
    (tmp_path / "SHORT").mkdir()
    (tmp_path / "SHORT/t0.png").write_bytes((dataset / "val/labels/t0.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    set_classes(monkeypatch, 2)
    flags = flags.replace("FULL", "OK --layouts dataset/val/labels")
    flags = flags.replace("OK", "PLAIN --segmenter FILE")
    flags = flags.replace("PLAIN", "--images images --photos dataset/train/imgs")
    assert words in fails(capsys, *flags.split())


def test_an_image_below_the_smallest_side_is_named(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*folder_flags(tmp_path, dataset), "--layouts", dataset / "val/labels"]
    Image.new("RGB", (40, 28)).save(tmp_path / "images/t1.png")
    error = fails(capsys, *flags, "--classes", CLASSES)
    assert "t1.png: expected sides of 29 pixels or more for the segmenter, got 28 x 40" in error
