"""python -m tools.evaluate: its table, its files and its errors, with fake feature networks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.images import read_image
from inference.metric_networks import DIMENSIONS, EFFICIENTNET, INCEPTION
from metrics.features import FeatureNetwork
from metrics.frechet import frechet_distance, statistics_of
from metrics.kernel import squared_mmd
from metrics.style import hue_similarity, joint_similarity
from options.groups import DataOptions, GeneratorOptions, LossOptions, TrainingOptions
from options.train import RunOptions
from tests.tiny import CLASSES, write_dataset
from tools import evaluate
from tools.evaluate import main

Measures = dict[str, dict[str, Any]]


def colors_of(image: np.ndarray) -> np.ndarray:
    return image.reshape(-1, 3).mean(0, np.float32) / 255


def features_of(image: np.ndarray, name: str) -> np.ndarray:
    """The mean color in the first three of all features; Inception's are twice as large."""
    features = np.zeros(DIMENSIONS[name], np.float32)
    features[:3] = colors_of(image) * (2 if name == INCEPTION else 1)
    return features


def fake_network(name: str, weights: str | None) -> FeatureNetwork:
    assert (name == INCEPTION) <= (weights == "weights.pth")
    return FeatureNetwork(
        name, DIMENSIONS[name], lambda image: features_of(image, name), lambda batch: batch
    )


@pytest.fixture(autouse=True)
def without_jittor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "start_jittor", lambda device: None)
    monkeypatch.setattr(evaluate, "load_network", fake_network)


def write_images(folder: Path, count: int, seed: int, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        low, high = np.sort(random.integers(0, 256, (2, 3)), axis=0)
        size = (8 + number % 3, 10, 3)
        image = random.integers(low, high + 1, size).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{number}{suffix}")
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    images = write_images(tmp_path / "images", 5, 0)
    return images, write_images(tmp_path / "photos", 7, 1)


def run(tmp_path: Path, *flags: object) -> Measures:
    """The measures by name, from the JSON file of a run that succeeds."""
    path = tmp_path / "numbers.json"
    assert main([*map(str, flags), "--json", str(path)]) == 0
    return {row.pop("name"): row for row in json.loads(path.read_text())["measures"]}


def expected_distances(images: Path, photos: Path, name: str) -> tuple[float, float]:
    made, real = (
        np.stack([features_of(read_image(path), name) for path in sorted(folder.iterdir())])
        for folder in (images, photos)
    )
    return frechet_distance(statistics_of(made), statistics_of(real)), squared_mmd(made, real)


def test_distances_of_efficientnet_have_their_own_names(
    tmp_path: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    images, photos = folders
    measures = run(tmp_path, "--images", images, "--photos", photos)
    frechet, kernel = expected_distances(images, photos, EFFICIENTNET)
    assert measures["FD-EffNet"]["value"] == pytest.approx(frechet, rel=1e-6)
    # subsets of five of the seven photos
    assert measures["KD-EffNet x 1000"]["value"] == pytest.approx(1000 * kernel, rel=0.2)
    for name in ("FD-EffNet", "KD-EffNet x 1000"):
        assert (measures[name]["images"], measures[name]["photos"]) == (5, 7)
    for name in ("FID", "KID x 1000"):
        assert measures[name]["value"] is None
        assert "--inception-weights" in measures[name]["note"]
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["measure", "value", "images", "photos", "note"]
    assert table[1].split()[:4] == ["FD-EffNet", f"{frechet:.4f}", "5", "7"]
    assert [line.split("  ")[0] for line in table[1:]] == list(measures)
    assert table[5].startswith("FID ") and "not measured" in table[5]


def test_fid_needs_the_weights_of_inception(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    images, photos = folders
    flags = ("--images", images, "--photos", photos, "--inception_weights", "weights.pth")
    measures = run(tmp_path, *flags)
    frechet, kernel = expected_distances(images, photos, INCEPTION)
    assert measures["FID"]["value"] == pytest.approx(frechet, rel=1e-6)
    assert measures["FID"]["value"] == pytest.approx(4 * measures["FD-EffNet"]["value"], rel=1e-5)
    assert measures["KID x 1000"]["value"] == pytest.approx(1000 * kernel, rel=0.2)
    term = (100 - frechet) / 200
    assert f"FID {term:.4f}" in measures["score 2022"]["note"]


def test_scores_need_what_is_not_measured(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    images, photos = folders
    measures = run(tmp_path, "--images", images, "--photos", photos)
    for name in ("score 2022", "score 2023, hue", "score 2023, BGR + HSV"):
        assert measures[name]["value"] is None
        # FD-EffNet does not take the place of FID
        assert "missing: mask accuracy, aesthetic" in measures[name]["note"]
        assert "FID" in measures[name]["note"].split("; ")[0]
        assert "terms" not in measures[name]["note"]
    assert "style similarity" in measures["score 2023, hue"]["note"]
    for name in ("mask accuracy", "aesthetic", "style similarity, hue"):
        assert measures[name]["value"] is None


def test_statistics_of_the_photos_are_written_then_read(
    tmp_path: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, photos = folders
    flags = ["--images", images, "--inception-weights", "weights.pth"]
    flags += ["--statistics", tmp_path / "a.npz", "--inception-statistics", tmp_path / "b.npz"]
    first = run(tmp_path, *flags, "--photos", photos)
    assert (tmp_path / "a.npz").is_file() and (tmp_path / "b.npz").is_file()

    def load_network(name: str, weights: str | None) -> FeatureNetwork:
        def prepare(image: np.ndarray) -> np.ndarray:
            prepared.append(name)
            return features_of(image, name)

        return replace(fake_network(name, weights), prepare=prepare)

    prepared: list[str] = []
    monkeypatch.setattr(evaluate, "load_network", load_network)
    for given in ((), ("--photos", photos)):
        prepared.clear()
        again = run(tmp_path, *flags, *given)
        assert len(prepared) == 10  # the five images, for two networks
        for name in ("FD-EffNet", "KD-EffNet x 1000", "FID", "KID x 1000"):
            assert again[name]["value"] == pytest.approx(first[name]["value"], rel=1e-6)
            assert again[name]["photos"] == 7


def test_a_file_of_pytorch_fid_gives_fid_but_no_kid(
    tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    images, photos = folders
    features = np.stack([features_of(read_image(path), INCEPTION) for path in photos.iterdir()])
    path = tmp_path / "theirs.npz"
    np.savez(path, mu=features.mean(0, np.float64), sigma=np.cov(features.T))
    flags = ("--images", images, "--photos", photos, "--inception-weights", "weights.pth")
    measures = run(tmp_path, *flags, "--inception-statistics", path)
    expected, _ = expected_distances(images, photos, INCEPTION)
    assert measures["FID"]["value"] == pytest.approx(expected, rel=1e-4)
    assert measures["FID"]["photos"] is None and "number of photos" in measures["FID"]["note"]
    assert measures["KID x 1000"]["value"] is None
    assert "no features of photos" in measures["KID x 1000"]["note"]


def expected_styles(images: Path, references: list[Path]) -> list[float]:
    pairs = list(zip(sorted(images.iterdir()), references, strict=True))
    return [
        float(np.mean([similarity(read_image(image), read_image(photo)) for image, photo in pairs]))
        for similarity in (hue_similarity, joint_similarity)
    ]


def test_the_style_of_a_table(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    images, photos = folders
    order = [3, 3, 0, 6, 1]
    table = tmp_path / "label_to_img.json"
    table.write_text(json.dumps({f"{i}.png": f"{photo}.png" for i, photo in enumerate(order)}))
    measures = run(tmp_path, "--images", images, "--photos", photos, "--styles", table)
    hue, joint = expected_styles(images, [photos / f"{number}.png" for number in order])
    found = measures["style similarity, hue"]
    assert found["value"] == pytest.approx(hue, abs=1e-12)
    assert (found["images"], found["photos"]) == (5, 4)
    assert measures["style similarity, BGR + HSV"]["value"] == pytest.approx(joint, abs=1e-12)
    term = f"style similarity {(hue / 2 + 0.5) * 0.3:.4f}"
    assert term in measures["score 2023, hue"]["note"]


def test_the_style_of_photos_with_equal_names(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    images, photos = folders
    styles = write_images(tmp_path / "styles", 6, 2, ".jpg")
    measures = run(tmp_path, "--images", images, "--photos", photos, "--styles", styles)
    hue, _ = expected_styles(images, [styles / f"{number}.jpg" for number in range(5)])
    assert measures["style similarity, hue"]["value"] == pytest.approx(hue, abs=1e-12)


def write_run(tmp_path: Path, **data: Any) -> tuple[Path, list[str]]:
    """A run with a submission of two images; returns its dataset and the flags that name it."""
    dataset = write_dataset(tmp_path / "dataset", pairs=4, tests=2)
    options = RunOptions(
        data=DataOptions(**{"input_path": str(dataset), "classes": CLASSES, **data}),
        generator=GeneratorOptions(start="noise"),
        loss=LossOptions(lambda_feature=1.0),
        training=TrainingOptions(name="run", results_path=str(tmp_path / "results")),
    )
    submission = write_images(tmp_path / "results/run/submission", 2, 3)
    for number in range(2):
        (submission / f"{number}.png").rename(submission / f"t{number}.png")
    (submission.parent / "options.json").write_text(options.to_json())
    return dataset, ["--name", "run", "--results-path", str(tmp_path / "results")]


def test_a_run_is_compared_with_the_photos_of_its_dataset(tmp_path: Path) -> None:
    dataset, flags = write_run(tmp_path)
    measures = run(tmp_path, *flags)
    images = tmp_path / "results/run/submission"
    expected, _ = expected_distances(images, dataset / "train/imgs", EFFICIENTNET)
    assert measures["FD-EffNet"]["value"] == pytest.approx(expected, rel=1e-6)
    assert (measures["FD-EffNet"]["images"], measures["FD-EffNet"]["photos"]) == (2, 4)
    assert "no label_to_img.json" in measures["style similarity, hue"]["note"]


def test_the_reference_photos_of_a_run(tmp_path: Path) -> None:
    dataset, flags = write_run(tmp_path)
    (dataset / "label_to_img.json").write_text('{"t0.png": "p2.jpg", "t1.png": "p0.jpg"}')
    references = [dataset / "train/imgs/p2.png", dataset / "train/imgs/p0.png"]
    hue, _ = expected_styles(tmp_path / "results/run/submission", references)
    found = run(tmp_path, *flags)["style similarity, hue"]
    assert found["value"] == pytest.approx(hue, abs=1e-12) and found["images"] == 2


def test_a_translation_is_compared_with_the_photos_of_its_style(tmp_path: Path) -> None:
    _, flags = write_run(
        tmp_path, task="translation", input_path=str(tmp_path / "unpaired"), classes=29
    )
    write_images(tmp_path / "unpaired/content", 3, 4)
    style = write_images(tmp_path / "unpaired/style", 6, 5)
    images = tmp_path / "results/run/submission"
    measures = run(tmp_path, *flags)
    expected, _ = expected_distances(images, style, EFFICIENTNET)
    assert measures["FD-EffNet"]["value"] == pytest.approx(expected, rel=1e-6)
    assert measures["FD-EffNet"]["photos"] == 6


def fails(capsys: pytest.CaptureFixture[str], *flags: object) -> str:
    """The one line of an error with exit code 2."""
    capsys.readouterr()
    assert main([*map(str, flags)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    return captured.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("", "--images: expected --images DIR or --name RUN, got neither"),
        ("--images IMAGES --name run", "got both"),
        ("--images IMAGES", "--photos: expected the folder of the photos, got none"),
        ("--images none --photos PHOTOS", "none: expected a folder"),
        ("--images EMPTY --photos PHOTOS", "expected images, got nothing"),
        ("--images IMAGES --photos EMPTY", "expected images, got nothing"),
        ("--images ONE --photos PHOTOS", "--images: expected two or more images"),
        ("--images IMAGES --photos ONE", "--photos: expected two or more photos"),
        ("--images BROKEN --photos PHOTOS", "BROKEN/2.png: expected an image"),
        ("--images IMAGES --photos BROKEN", "BROKEN/2.png: expected an image"),
        ("--name gone", "--name: expected a run with a submission in results/gone/submission"),
        ("--name a/b", "--name"),
        ("OK --styles none", "--styles: expected label_to_img.json or a folder of photos"),
        ("OK --styles ONE", "ONE: expected a photo for each image, got none for 4 of 5 (1.png, "),
        ("OK --styles BAD_TABLE", "BAD_TABLE: expected JSON"),
        ("OK --styles SHORT_TABLE", "expected a photo for each image, got none for 4 of 5 (1.png"),
        ("OK --styles OTHER_TABLE", "expected a photo for each image, got none for 1 of 5 (4.png"),
        ("OK --statistics x.dat", "--statistics: expected a file name that ends in .npz"),
        ("OK --statistics OTHER.npz", "expected the arrays mu and sigma"),
        ("OK --inception-statistics x.npz", "no effect without --inception-weights"),
        ("OK --statistics x.npz --json x.npz", "expected distinct files"),
        ("OK --html x.npz --json x.npz", "--json, --html: expected distinct files"),
        ("--name a --html results/a/evaluation/evaluation.json", "expected distinct files"),
        ("OK --aesthetic nima", "--aesthetic nima: expected --aesthetic-weights FILE, got none"),
        ("OK --json OTHER.npz", "is in the way"),
        ("OK --html OTHER.npz", "or name another file with --html"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path,
    folders: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
    words: str,
) -> None:
    folders[0].rename(tmp_path / "IMAGES")
    folders[1].rename(tmp_path / "PHOTOS")
    (tmp_path / "EMPTY").mkdir()
    write_images(tmp_path / "ONE", 1, 0)
    write_images(tmp_path / "BROKEN", 3, 0)
    (tmp_path / "BROKEN/2.png").write_bytes(b"text")
    (tmp_path / "BAD_TABLE").write_text("no json")
    (tmp_path / "SHORT_TABLE").write_text('{"0.png": "0.png"}')
    (tmp_path / "OTHER_TABLE").write_text(
        json.dumps({f"{number}.png": f"{number + 3}.png" for number in range(5)})
    )
    np.savez(tmp_path / "OTHER.npz", other=1)
    monkeypatch.chdir(tmp_path)
    flags = flags.replace("OK ", "--images IMAGES --photos PHOTOS ")
    before = sorted(tmp_path.rglob("*"))
    assert words in fails(capsys, *flags.split())
    assert sorted(tmp_path.rglob("*")) == before


def test_statistics_of_other_photos_are_refused(
    tmp_path: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    images, photos = folders
    flags = ("--images", images, "--statistics", tmp_path / "s.npz", "--photos", photos)
    run(tmp_path, *flags)
    (photos / "6.png").unlink()
    assert "expected statistics of 6 photos, got those of 7" in fails(capsys, *flags)


def test_a_table_without_photos_is_refused(
    tmp_path: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    images, photos = folders
    flags = ("--images", images, "--statistics", tmp_path / "s.npz")
    run(tmp_path, *flags, "--photos", photos)
    (tmp_path / "table.json").write_text("{}")
    assert "--styles: expected --photos" in fails(
        capsys, *flags, "--styles", tmp_path / "table.json"
    )


def test_a_run_of_no_training_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, flags = write_run(tmp_path)
    (tmp_path / "results/run/options.json").unlink()
    assert "--name: expected a run that was trained here" in fails(capsys, *flags)


def test_the_users_report_is_not_replaced(
    tmp_path: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    images, photos = folders
    flags = ("--images", images, "--photos", photos)
    run(tmp_path, *flags)
    run(tmp_path, *flags)  # its own is replaced
    (tmp_path / "numbers.json").write_text("{}")
    error = fails(capsys, *flags, "--json", tmp_path / "numbers.json")
    assert "is in the way" in error and "--json" in error
    assert (tmp_path / "numbers.json").read_text() == "{}"


def test_the_page_of_folders(
    tmp_path: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    images, photos = folders
    page = tmp_path / "new" / "page.html"
    measures = run(tmp_path, "--images", images, "--photos", photos, "--html", page)
    text = page.read_text("utf-8")
    assert f"<b>{measures['FD-EffNet']['value']:.4f}</b>" in text
    assert f"<title>Evaluation of {images}</title>" in text and "--segmenter FILE" in text
    assert "written" not in capsys.readouterr().out


def test_a_run_has_its_own_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, flags = write_run(tmp_path)
    folder = tmp_path / "results/run/evaluation"
    for _ in range(2):  # its own files are replaced
        assert main(flags) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-2:] == [
            f"written: {folder}/evaluation.json", f"written: {folder}/evaluation.html"
        ]  # fmt: skip
    content = json.loads((folder / "evaluation.json").read_text())
    assert content["images"] == str(folder.parent / "submission") and content["masks"] is None
    assert "<h1>Evaluation</h1>" in (folder / "evaluation.html").read_text()

    (folder / "evaluation.html").write_text("changed by the user")
    error = fails(capsys, *flags)
    assert "evaluation.html is in the way" in error and "--html" in error
    run(tmp_path, *flags, "--html", tmp_path / "page.html")
    assert (folder / "evaluation.html").read_text() == "changed by the user"
    assert (tmp_path / "page.html").is_file() and (tmp_path / "numbers.json").is_file()
