"""Examples for the page: their order, panels and legends, with a segmenter of colors."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.classes import colorize
from data.counterparts import Masks
from data.folders import Pair
from data.reading import LayoutClasses
from inference import evaluation
from inference.evaluation import Sources, measure_agreement, render_extremes
from metrics.predictions import Predictor
from metrics.report import Example, Panel

CLASSES = 4


def segment(batch: np.ndarray) -> np.ndarray:
    """The class in the red channel, 60 per class."""
    return np.rint((batch[:, 0] + 1) * 127.5 / 60).astype(np.int32)


PREDICTOR = Predictor(CLASSES, segment)


def write(folder: Path, stem: str, truth: np.ndarray, predicted: np.ndarray) -> Pair:
    """An image in which the segmenter finds `predicted`, and its layout."""
    folder.mkdir(exist_ok=True)
    pair = Pair(stem, folder / f"{stem}.png", folder / f"{stem}_layout.png")
    colors = np.stack([predicted * 60] * 3, axis=-1)
    Image.fromarray(colors.astype(np.uint8)).save(pair.image_path)
    Image.fromarray(truth.astype(np.uint8)).save(pair.label_path)
    return pair


def masks_of(pairs: list[Pair], photos: list[Pair] | None = None) -> Masks:
    layouts = [pair.label_path for pair in pairs]
    return Masks(layouts, photos or [], "a note", LayoutClasses(CLASSES))


def sources_of(pairs: list[Pair], references: list[Path] | None = None) -> Sources:
    return Sources(Path("images"), [pair.image_path for pair in pairs], [], references)


def halves(height: int, width: int, left: int, right: int) -> np.ndarray:
    found = np.full((height, width), left)
    found[:, width // 2 :] = right
    return found


def decode(panel: Panel) -> np.ndarray:
    image = Image.open(BytesIO(panel.content))
    assert image.size == (panel.width, panel.height)
    assert panel.kind == f"image/{str(image.format).lower()}"
    return np.asarray(image.convert("RGB")).astype(int)


def render(pairs: list[Pair], references: list[Path] | None = None) -> list[Example]:
    sources, masks = sources_of(pairs, references), masks_of(pairs)
    results = measure_agreement(sources, masks, PREDICTOR, "s")
    worst, best = render_extremes(sources, masks, PREDICTOR, results)
    return worst + best


def test_images_and_photos_are_measured(tmp_path: Path) -> None:
    truth = halves(8, 10, 1, 2)
    pairs = [write(tmp_path, str(n), truth, np.full((8, 10), n)) for n in range(3)]
    photos = [write(tmp_path / "photos", "p", truth, truth)]
    results = measure_agreement(sources_of(pairs), masks_of(pairs, photos), PREDICTOR, "s.file")
    assert [one.share for one in results.images.images] == [0, 0.5, 0.5]
    assert results.photos is not None and results.photos.counts.mask_accuracy == 1
    assert (results.segmenter, results.note) == ("s.file", "a note")
    assert results.files == ["0.png", "1.png", "2.png"]
    assert measure_agreement(sources_of(pairs), masks_of(pairs), PREDICTOR, "s").photos is None


def test_the_worst_images_are_first_whatever_their_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "EXTREMES", 2)
    pairs = []
    for number, wrong in enumerate((3, 0, 9, 1, 5, 7)):  # of 10 columns
        size = (8, 10) if number % 2 else (16, 10)
        truth, found = np.zeros(size, int), np.zeros(size, int)
        found[:, :wrong] = 1
        pairs.append(write(tmp_path, str(number), truth, found))
    examples = render(pairs)
    assert [one.index for one in examples] == [2, 5, 1, 3]
    for one in examples:
        height = 8 if one.index % 2 else 16  # small images are not enlarged
        assert {(panel.height, panel.width) for panel in one.panels} == {(height, 10)}


def test_the_panels_of_an_example(tmp_path: Path) -> None:
    truth, found = halves(384, 512, 0, 1), halves(384, 512, 0, 2)
    found[:8, :8] = 3  # 64 pixels: too few for the legend
    pairs = [write(tmp_path, name, truth, found) for name in ("a", "b")]
    style = tmp_path / "style.png"
    Image.new("RGB", (60, 90), (200, 10, 90)).save(style)
    first, _ = render(pairs, [style, style])
    assert [panel.caption for panel in first.panels] == [
        "image", "layout", "predicted layout", "wrong pixels", "style photo"
    ]  # fmt: skip
    image, layout, predicted, wrong, photo = map(decode, first.panels)
    assert image.shape == layout.shape == predicted.shape == wrong.shape == (192, 256, 3)
    np.testing.assert_allclose(image[100, 200], 120, atol=3)
    np.testing.assert_array_equal(layout, colorize(halves(192, 256, 0, 1), CLASSES))
    expected = halves(192, 256, 0, 2)
    expected[:4, :4] = 3
    np.testing.assert_array_equal(predicted, colorize(expected, CLASSES))
    equal, unequal = wrong[8:, :120], wrong[:, 136:]
    assert np.ptp(equal, axis=-1).max() < 12
    assert (unequal[..., 0] > unequal[..., 1:].max(axis=-1) + 100).all()
    assert photo.shape == (256, 171, 3)
    np.testing.assert_allclose(photo[100, 100], (200, 10, 90), atol=4)
    assert first.classes == [0, 1, 2]


def test_each_example_has_its_own_style_photo(tmp_path: Path) -> None:
    right = halves(8, 10, 1, 2)
    pairs = [write(tmp_path, "a", right, right), write(tmp_path, "b", right, right * 0)]
    styles = [tmp_path / "style_a.png", tmp_path / "style_b.png"]
    for level, path in zip((30, 220), styles, strict=True):
        Image.new("RGB", (10, 8), (level,) * 3).save(path)
    worst, best = render(pairs, styles)
    assert (worst.index, best.index) == (1, 0)
    assert [round(decode(one.panels[-1]).mean()) for one in (worst, best)] == [220, 30]


def test_without_references_there_is_no_style_photo(tmp_path: Path) -> None:
    truth = halves(8, 10, 1, 2)
    examples = render([write(tmp_path, name, truth, truth) for name in ("a", "b")])
    assert [len(one.panels) for one in examples] == [4, 4]
    assert [one.index for one in examples] == [0, 1]
