"""Classes, reasons, order of images, and the JSON: counted by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from metrics.evaluation import (
    ClassRow,
    Evaluation,
    MaskResults,
    class_rows,
    describe,
    percent,
    worst_and_best,
    write_json,
)
from metrics.predictions import Agreement
from metrics.segmentation import Confusion, ImageAgreement, SegmentationCounts
from metrics.table import Row

NAMES = ("sea", "river", "sky")


def agreement(*layouts: tuple[list[int], list[int]]) -> Agreement:
    """Of true and predicted ids, a row of pixels per image, of three classes."""
    counts = SegmentationCounts(3)
    images = [counts.add(np.array([true]), np.array([found])) for true, found in layouts]
    return Agreement(counts, images)


def test_class_rows() -> None:
    matrix = np.array([[2, 1, 0, 0], [0, 0, 0, 0], [1, 3, 4, 0], [0, 0, 0, 0]])
    assert class_rows(matrix) == [
        ClassRow("class 0", 3, 3, pytest.approx(2 / 3), pytest.approx(2 / 4)),
        ClassRow("class 1", 0, 4, None, 0),
        ClassRow("class 2", 8, 4, 0.5, 0.5),
        ClassRow("class 3", 0, 0, None, None),
    ]


@pytest.mark.parametrize(
    ("confusion", "words"),
    [
        (Confusion(0, 1, 0.31), "sea predicted as river: 31% of the image"),
        (Confusion(2, 0, 0.0123), "sky predicted as sea: 1.2% of the image"),
        (Confusion(1, 2, 1e-5), "river predicted as sky: less than 0.1% of the image"),
        (None, "every pixel agrees"),
    ],
)
def test_reasons(confusion: Confusion | None, words: str) -> None:
    assert describe(ImageAgreement(0.5, confusion), NAMES) == words


@pytest.mark.parametrize(
    ("share", "words"), [(0, "0%"), (0.001, "0.1%"), (0.3449, "34.5%"), (1, "100%")]
)
def test_percent(share: float, words: str) -> None:
    assert percent(share) == words


@pytest.mark.parametrize(
    ("shares", "worst", "best"),
    [
        ([0.5, 0.9, 0.1, 0.7, 0.3, 0.8], [2, 4], [1, 5]),
        ([0.2, 0.9, 0.1], [2, 0], [1]),  # the middle one is not among the best, too
        ([0.4, 0.4], [0], [1]),
        ([], [], []),
    ],
)
def test_the_worst_and_the_best_images(
    shares: list[float], worst: list[int], best: list[int]
) -> None:
    images = [ImageAgreement(share, None) for share in shares]
    assert worst_and_best(images, 2) == (worst, best)


def test_the_numbers_of_the_json() -> None:
    made = agreement(([0, 0, 1, 2], [0, 1, 1, 2]), ([2, 2], [2, 2]), ([0, 1, 1], [2, 2, 2]))
    results = MaskResults("s.safetensors", ["a\udcff.png", "b.png", "[\n1 ].png"], made, None, "")
    rows = [Row("mask accuracy", made.counts.mask_accuracy, 3), Row("FID", None, note="why")]
    text = write_json(Evaluation("folder", rows, results))
    found = json.loads(text)
    assert found["format"] == "jittor-landscape evaluation 1" and found["images"] == "folder"
    assert found["measures"][0]["value"] == pytest.approx((0.75 + 1 + 0) / 3)
    assert found["measures"][1] == {
        "name": "FID", "value": None, "images": None, "photos": None, "note": "why"
    }  # fmt: skip
    masks = found["masks"]
    assert masks["segmenter"] == "s.safetensors" and masks["photos"] is None
    assert masks["images"]["confusion"] == [[1, 1, 1], [0, 1, 2], [0, 0, 3]]
    assert '"confusion": [\n    [1,1,1],\n    [0,1,2],\n    [0,0,3]\n   ]' in text
    assert masks["images"]["classes"][0] == {
        "name": "class 0", "pixels": 3, "predicted_pixels": 1,
        "accuracy": pytest.approx(1 / 3), "iou": pytest.approx(1 / 3),
    }  # fmt: skip
    assert masks["images"]["classes"][2]["iou"] == pytest.approx(3 / 6)
    assert masks["files"] == [
        {
            "name": "a\udcff.png",
            "share": 0.75,
            "largest_confusion": {"true": "class 0", "predicted": "class 1", "share": 0.25},
        },
        {"name": "b.png", "share": 1, "largest_confusion": None},
        {
            "name": "[\n1 ].png",
            "share": 0,
            "largest_confusion": {
                "true": "class 1", "predicted": "class 2", "share": pytest.approx(2 / 3)
            },
        },
    ]  # fmt: skip


def test_the_json_of_photos_and_without_masks() -> None:
    made, real = agreement(([0], [1])), agreement(([1, 2], [1, 2]))
    results = MaskResults("s", ["a.png"], made, real, "a note")
    masks = json.loads(write_json(Evaluation("folder", [], results)))["masks"]
    assert masks["photos"]["confusion"] == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert json.loads(write_json(Evaluation("folder", [])))["masks"] is None
