"""Mask accuracy, confusion matrix, accuracy and IoU: counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.segmentation import (
    Confusion,
    ImageAgreement,
    SegmentationCounts,
    class_accuracies,
    class_ious,
    confusion_matrix,
    largest_confusion,
    mean_iou,
    pixel_accuracy,
)

TRUTH = np.array([[0, 0, 0], [1, 1, 2]])
PREDICTED = np.array([[0, 0, 1], [1, 3, 1]])
MATRIX = [[2, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 1, 0, 0, 0], [0] * 5, [0] * 5]


def test_rows_are_true_classes() -> None:
    matrix = confusion_matrix(TRUTH.astype(np.int32), PREDICTED.astype(np.uint8), 5)
    np.testing.assert_array_equal(matrix, MATRIX)


def test_measures_by_hand() -> None:
    matrix = np.array(MATRIX)
    assert pixel_accuracy(matrix) == pytest.approx(3 / 6)
    np.testing.assert_allclose(class_accuracies(matrix), [2 / 3, 1 / 2, 0, np.nan, np.nan])
    # class 3 is only predicted: its IoU is 0; class 4 never occurs
    np.testing.assert_allclose(class_ious(matrix), [2 / 3, 1 / 4, 0, 0, np.nan])
    assert mean_iou(matrix) == pytest.approx((2 / 3 + 1 / 4) / 4)


def test_the_largest_confusion() -> None:
    # equal counts: the first one, row by row
    assert largest_confusion(np.array(MATRIX)) == Confusion(0, 1, pytest.approx(1 / 6))
    matrix = np.array([[50, 0, 3], [7, 9, 0], [0, 0, 11]])
    assert largest_confusion(matrix) == Confusion(1, 0, 7 / 80)
    assert largest_confusion(np.diag([5, 0, 2])) is None
    np.testing.assert_array_equal(matrix.diagonal(), [50, 9, 11])  # as before


def test_the_mask_accuracy_weighs_images_equally() -> None:
    counts = SegmentationCounts(3)
    small = counts.add(np.zeros((1, 2), np.int32), np.array([[0, 1]]))
    large = counts.add(np.full((4, 5), 2), np.full((4, 5), 2))
    assert small == ImageAgreement(0.5, Confusion(0, 1, 0.5))
    assert large == ImageAgreement(1, None)
    assert counts.mask_accuracy == pytest.approx(0.75)
    assert pixel_accuracy(counts.matrix) == pytest.approx(21 / 22)
    np.testing.assert_array_equal(counts.matrix, [[1, 1, 0], [0, 0, 0], [0, 0, 20]])


def test_with_equal_sizes_the_mask_accuracy_is_the_pixel_accuracy() -> None:
    random = np.random.default_rng(0)
    counts = SegmentationCounts(4)
    for _ in range(5):
        truth, predicted = random.integers(0, 4, (2, 6, 7))
        counts.add(truth, predicted)
    assert counts.mask_accuracy == pytest.approx(pixel_accuracy(counts.matrix), rel=1e-12)


def test_without_pixels_no_measure_is_a_number() -> None:
    counts = SegmentationCounts(2)
    measures = (counts.mask_accuracy, pixel_accuracy(counts.matrix), mean_iou(counts.matrix))
    assert np.isnan(measures).all()


@pytest.mark.parametrize(
    ("truth", "predicted", "words"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), "equal shapes"),
        (np.full((1, 1), 3), np.zeros((1, 1)), r"truth: expected ids 0..2, got 3..3"),
        (np.zeros((1, 1)), np.full((1, 1), -1), r"predicted: expected ids 0..2, got -1..-1"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "expected pixels"),
    ],
)
def test_wrong_layouts_are_refused(truth: np.ndarray, predicted: np.ndarray, words: str) -> None:
    counts = SegmentationCounts(3)
    with pytest.raises(ValueError, match=words):
        counts.add(truth.astype(np.int32), predicted.astype(np.int32))
    assert not counts.matrix.any() and np.isnan(counts.mask_accuracy)


def test_the_floor_is_the_best_constant_prediction() -> None:
    truths = [np.array([[0, 0, 0, 1]]), np.full((9, 9), 2), np.array([[0], [1]]), np.array([[2]])]
    counts = SegmentationCounts(4)
    for truth in truths:
        counts.add(truth, np.full_like(truth, 3))
    shares = [np.mean([(truth == one).mean() for truth in truths]) for one in range(4)]
    assert counts.images == 4 and counts.mask_accuracy == 0
    # the image of 81 pixels weighs as much as the others
    assert counts.floor == (2, pytest.approx(max(shares)))
    assert max(shares) == 0.5


def test_without_images_the_floor_is_unknown() -> None:
    assert np.isnan(SegmentationCounts(2).floor[1]) and SegmentationCounts(2).images == 0
