"""python -m tools.evaluate: NIMA with weights of a file, and the contrastive score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest
from PIL import Image

from inference.metric_networks import DIMENSIONS, EFFICIENTNET, load_rater
from metrics.aesthetics import nima_input
from metrics.contrast import contrast
from metrics.features import FeatureNetwork, efficientnet_input
from runtime.start import start_jittor
from tests.reference.goldens import load
from tests.weights.keras import keras_arrays
from tools import evaluate
from tools.evaluate import main
from weights.nima import load_nima

start_jittor("cpu")

Measures = dict[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def small_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean color in place of EfficientNet's features."""
    monkeypatch.setattr(evaluate, "load_network", fake_network)


def fake_network(name: str, weights: str | None) -> FeatureNetwork:
    return FeatureNetwork(name, DIMENSIONS[name], efficientnet_input, mean_color)


def mean_color(batch: np.ndarray) -> np.ndarray:
    features = np.zeros((len(batch), DIMENSIONS[EFFICIENTNET]), np.float32)
    features[:, :3] = batch.mean(axis=(2, 3))
    return features


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference's weights as an .npz file."""
    path = tmp_path_factory.mktemp("weights") / "nima.npz"
    np.savez(path, **keras_arrays(load("mobilenet_nima").section("state")))
    return path


def write_images(folder: Path, count: int, seed: int) -> Path:
    folder.mkdir()
    random = np.random.default_rng(seed)
    for number in range(count):
        image = random.integers(0, 256, (5, 8, 3)).astype(np.uint8)
        Image.fromarray(image).resize((80, 50)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    images = write_images(tmp_path / "images", 12, 0)
    photos = write_images(tmp_path / "photos", 13, 1)
    return ["--device", "cpu", "--images", str(images), "--photos", str(photos)]


def run(tmp_path: Path, *flags: object) -> Measures:
    """The measures by name, from the JSON file of a run that succeeds."""
    path = tmp_path / "numbers.json"
    assert main([*map(str, flags), "--json", str(path)]) == 0
    return {row.pop("name"): row for row in json.loads(path.read_text())["measures"]}


def test_the_mean_rating_of_the_images(tmp_path: Path, flags: list[str], weights: Path) -> None:
    measures = run(tmp_path, *flags, "--aesthetic_weights", weights)
    network = load_nima(weights)
    paths = sorted((tmp_path / "images").iterdir())
    batch = np.stack([nima_input(np.array(Image.open(path))) for path in paths])
    with jt.no_grad():
        distributions = network(jt.array(batch)).numpy()
    scores = distributions @ np.arange(1, 11)
    assert measures["aesthetic"]["value"] == pytest.approx(scores.mean(), abs=1e-4)
    assert measures["aesthetic"]["images"] == 12 and scores.std() > 1e-3
    squares = (np.arange(1, 11) - scores[:, None]) ** 2
    deviation = np.sqrt((squares * distributions).sum(axis=1)).mean()
    assert measures["deviation of ratings"]["value"] == pytest.approx(deviation, abs=1e-4)
    # FID and mask accuracy are still missing
    note = measures["score 2022"]["note"]
    assert note.startswith(
        f"missing: mask accuracy, FID; terms: aesthetic {scores.mean() / 20:.4f}"
    )
    assert measures["score 2023, hue"]["note"].endswith("aesthetic: NIMA / 10")


def test_the_rater_is_packed_and_rates_alike(weights: Path) -> None:
    batch = np.random.default_rng(0).uniform(-1, 1, (2, 3, 224, 224)).astype(np.float32)
    rater, network = load_rater(weights), load_nima(weights)
    with jt.no_grad():
        expected = network(jt.array(batch)).numpy()
    found = rater.pooled(batch)
    assert found.shape == (2, rater.dimensions) == (2, 10)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_the_contrastive_score_is_part_of_a_score_only_if_asked(
    tmp_path: Path, flags: list[str]
) -> None:
    measures = run(tmp_path, *flags)
    features = [
        np.concatenate([
            mean_color(efficientnet_input(np.array(Image.open(path)))[None])
            for path in sorted((tmp_path / name).iterdir())
        ])
        for name in ("images", "photos")
    ]  # fmt: skip
    expected = contrast(*features)
    row = measures["contrastive score"]
    assert row["value"] == pytest.approx(expected.mean, abs=1e-6)
    assert (row["images"], row["photos"]) == (12, 13)
    assert measures["contrastive AUC"]["value"] == pytest.approx(expected.auc)
    assert measures["aesthetic"]["value"] is None
    for name in ("score 2022", "score 2023, hue"):
        assert "aesthetic" in measures[name]["note"].split("; ")[0]
        assert "contrastive" not in measures[name]["note"]
    asked = run(tmp_path, *flags, "--aesthetic", "contrastive")
    assert asked["aesthetic"]["value"] is None
    assert asked["contrastive score"] == row
    for name, factor, words in (
        ("score 2022", 0.5, "aesthetic: 10 x contrastive score"),
        ("score 2023, hue", 0.2, "aesthetic: contrastive score"),
    ):
        note = asked[name]["note"]
        assert "aesthetic" not in note.split("; ")[0]
        assert f"aesthetic {factor * expected.mean:.4f}" in note and note.endswith(words)


def test_weights_that_are_no_nima_are_reported_before_any_work(
    tmp_path: Path,
    flags: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluate, "measure_distances", None)
    path = tmp_path / "weights.hdf5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    capsys.readouterr()
    assert main([*flags, "--aesthetic-weights", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert "got an HDF5 file, as Keras writes it. docs/weights.md" in captured.err
