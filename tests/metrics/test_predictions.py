"""Predictions for image files: sizes, batches, classes and errors, with a segmenter of colors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.images import ImageError
from data.labels import LabelError
from data.reading import LayoutClasses
from metrics import predictions
from metrics.predictions import Predictor, measure_masks
from metrics.segmentation import confusion_matrix, mean_iou

CLASSES = 4


class ColorSegmenter:
    """Finds the class in the red channel, 60 per class; keeps the shapes of its inputs."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        assert batch.dtype == np.float32 and -1 <= batch.min() <= batch.max() <= 1
        assert len(batch) * batch[0, 0].size <= predictions.BATCH_PIXELS or len(batch) == 1
        self.shapes.append(batch.shape)
        return np.rint((batch[:, 0] + 1) * 127.5 / 60).astype(np.int32)


def write(folder: Path, stem: str, predicted: np.ndarray, truth: np.ndarray) -> tuple[Path, Path]:
    """An image in which the segmenter finds `predicted`, and a layout with the ids `truth`."""
    folder.mkdir(exist_ok=True)
    colors = np.stack([predicted * 60, predicted * 0 + 200, 255 - predicted * 60], axis=-1)
    image, layout = folder / f"{stem}.png", folder / f"{stem}_layout.png"
    Image.fromarray(colors.astype(np.uint8)).save(image)
    Image.fromarray(truth.astype(np.uint8)).save(layout)
    return image, layout


def random_ids(seed: int, size: tuple[int, int], classes: int = CLASSES) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, size)


def test_images_of_unequal_sizes_are_segmented_at_their_own_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "BATCH_SIZE", 4)
    monkeypatch.setattr(predictions, "BATCH_PIXELS", 200)
    sizes = [(6, 8), (9, 5), (6, 8), (6, 8), (30, 40), (7, 7), (12, 12), (12, 12), (6, 8)]
    predicted = [random_ids(seed, size) for seed, size in enumerate(sizes)]
    truths = [random_ids(100 + seed, size) for seed, size in enumerate(sizes)]
    files = [
        write(tmp_path, str(i), *ids) for i, ids in enumerate(zip(predicted, truths, strict=True))
    ]
    segmenter, shown = ColorSegmenter(), []
    agreement = measure_masks(
        [image for image, _ in files],
        [layout for _, layout in files],
        LayoutClasses(CLASSES),
        Predictor(CLASSES, segmenter),
        lambda done, total: shown.append((done, total)),
    )
    expected = [(one == other).mean() for one, other in zip(predicted, truths, strict=True)]
    assert [one.share for one in agreement.images] == pytest.approx(expected)
    counts = agreement.counts
    assert counts.mask_accuracy == pytest.approx(np.mean(expected))
    matrix = sum(
        confusion_matrix(truth, found, CLASSES)
        for truth, found in zip(truths, predicted, strict=True)
    )
    np.testing.assert_array_equal(counts.matrix, matrix)
    assert mean_iou(counts.matrix) == mean_iou(matrix)
    assert shown == [(4, 9), (8, 9), (9, 9)]
    # equal sizes share a batch, as far as the pixels allow
    assert segmenter.shapes[:2] == [(3, 3, 6, 8), (1, 3, 9, 5)]
    assert [shape[0] for shape in segmenter.shapes if shape[2] > 10] == [1, 1, 1]
    assert sum(shape[0] for shape in segmenter.shapes) == 9


def test_a_layout_is_resized_by_nearest_pixels(tmp_path: Path) -> None:
    coarse = random_ids(0, (4, 5))
    fine = np.kron(coarse, np.ones((3, 2), np.int64))
    for predicted, truth in ((fine, coarse), (coarse, fine)):
        image, layout = write(tmp_path, "a", predicted, truth)
        counts = measure_masks(
            [image], [layout], LayoutClasses(CLASSES), Predictor(CLASSES, ColorSegmenter())
        ).counts
        assert counts.mask_accuracy == 1
        assert counts.matrix.sum() == predicted.size


def test_ids_become_classes(tmp_path: Path) -> None:
    truth = np.array([[1, 2, 3, 255]])
    image, layout = write(tmp_path, "a", np.array([[0, 1, 2, 3]]), truth)
    classes = LayoutClasses(3, unknown_label=255, first_id=1)
    assert classes.count == 4
    predictor = Predictor(4, ColorSegmenter())
    assert measure_masks([image], [layout], classes, predictor).counts.mask_accuracy == 1
    with pytest.raises(LabelError, match="id 255 at row 0, column 3"):
        measure_masks([image], [layout], LayoutClasses(4), predictor)


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    image, layout = write(tmp_path, "a", random_ids(0, (4, 4)), random_ids(1, (4, 4)))
    for classes in (LayoutClasses(3), LayoutClasses(4, unknown_label=255)):
        with pytest.raises(ValueError, match=f"expected {classes.count} classes, got 4"):
            measure_masks([image], [layout], classes, Predictor(4, ColorSegmenter()))


def test_an_image_below_the_smallest_side_is_named(tmp_path: Path) -> None:
    image, layout = write(tmp_path, "a", random_ids(0, (29, 28)), random_ids(1, (29, 28)))
    predictor = Predictor(CLASSES, ColorSegmenter(), smallest_side=29)
    with pytest.raises(ImageError, match=r"a\.png: expected sides of 29 .* got 29 x 28"):
        measure_masks([image], [layout], LayoutClasses(CLASSES), predictor)
    image, layout = write(tmp_path, "a", random_ids(0, (29, 29)), random_ids(0, (29, 29)))
    assert (
        measure_masks([image], [layout], LayoutClasses(CLASSES), predictor).counts.mask_accuracy
        == 1
    )
