"""Pixels per image and class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.reading import LayoutClasses
from metrics.image_counts import ImageCounts, count_per_image
from metrics.predictions import Predictor, measure_masks
from metrics.segmentation import class_accuracies

CLASSES = 4
SIZE = (16, 24)


def predict(batch: np.ndarray) -> np.ndarray:
    """The class in the red channel, 60 per class."""
    return np.rint((batch[:, 0] + 1) * 127.5 / 60).astype(np.int32)


def write(folder: Path, count: int) -> tuple[list[Path], list[Path]]:
    """Images whose prediction differs from the layouts, which have classes 0, 1 and 3 only."""
    rng = np.random.default_rng(0)
    images, layouts = [], []
    for number in range(count):
        truth = rng.choice([0, 1, 3], SIZE).astype(np.uint8)
        found = np.where(rng.random(SIZE) < 0.4, rng.integers(0, 4, SIZE), truth) * 60
        images.append(folder / f"i{number}.png")
        layouts.append(folder / f"l{number}.png")
        Image.fromarray(np.stack([found] * 3, axis=-1).astype(np.uint8)).save(images[-1])
        Image.fromarray(truth).save(layouts[-1])
    return images, layouts


@pytest.mark.parametrize("count", [1, 2, 11])
def test_sums_are_those_of_the_confusion_matrix(tmp_path: Path, count: int) -> None:
    images, layouts = write(tmp_path, count)
    sizes: list[int] = []

    def segment(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return predict(batch)

    predictor, classes = Predictor(CLASSES, segment), LayoutClasses(CLASSES)
    shown: list[tuple[int, int]] = []
    found = count_per_image(images, layouts, classes, predictor, lambda *place: shown.append(place))
    assert sum(sizes) == count and max(sizes) <= 8 and shown[-1] == (count, count)
    expected = measure_masks(images, layouts, classes, Predictor(CLASSES, predict)).counts
    assert (found.correct.sum(0) == np.diag(expected.matrix)).all()
    assert (found.pixels.sum(0) == expected.matrix.sum(1)).all()
    assert found.mask_accuracy == pytest.approx(expected.mask_accuracy)
    np.testing.assert_allclose(found.class_accuracies, class_accuracies(expected.matrix))
    assert np.isnan(found.class_accuracies[2])
    assert (found.pixels.sum(1) == SIZE[0] * SIZE[1]).all()


def test_photos_are_resized(tmp_path: Path) -> None:
    images, layouts = write(tmp_path, 3)
    for factor, path in enumerate(images, 1):
        Image.open(path).resize((SIZE[1] * factor, SIZE[0] * factor)).save(path)
    seen: list[tuple[int, ...]] = []

    def segment(batch: np.ndarray) -> np.ndarray:
        seen.append(batch.shape[1:])
        return predict(batch).clip(0, 3)

    classes = LayoutClasses(CLASSES)
    found = count_per_image(images, layouts, classes, Predictor(CLASSES, segment), size=(8, 12))
    assert set(seen) == {(3, 8, 12)} and (found.pixels.sum(1) == 96).all()


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 3 classes, got 4"):
        count_per_image([], [], LayoutClasses(3), Predictor(4, predict))


def test_some_images() -> None:
    counts = ImageCounts(np.array([[1, 0], [3, 4]]), np.array([[2, 2], [4, 4]]))
    assert counts.shares.tolist() == [0.25, 0.875]
    assert counts.take(np.array([1])).mask_accuracy == 0.875
    assert counts.class_accuracies.tolist() == [4 / 6, 4 / 6]
