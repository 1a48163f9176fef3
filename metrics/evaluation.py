"""The measures of a set of images, and their agreement with layouts: as JSON and in words.

write_json(Evaluation("results/run/submission", rows, masks))
describe(masks.made.images[0], masks.class_names)       # 'sea predicted as river: 31% of the image'
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.classes import class_names
from metrics.predictions import Agreement
from metrics.segmentation import ImageAgreement, SegmentationCounts, class_accuracies, class_ious
from metrics.table import Row

FORMAT = "jittor-landscape evaluation 1"


@dataclass(frozen=True, eq=False)
class MaskResults:
    """Agreement of images, and of photos, with their layouts.

    segmenter: its file. files: names of the images. photos: None if not measured. note: tells which
    photos.
    """

    segmenter: str
    files: Sequence[str]
    images: Agreement
    photos: Agreement | None
    note: str

    @property
    def class_names(self) -> tuple[str, ...]:
        return class_names(len(self.images.counts.matrix))

    @property
    def photo_counts(self) -> SegmentationCounts | None:
        return None if self.photos is None else self.photos.counts


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The rows of the table; `images` is their folder, `masks` None if not measured."""

    images: str
    rows: Sequence[Row]
    masks: MaskResults | None = None


@dataclass(frozen=True)
class ClassRow:
    """A class: its true and predicted pixels, and its measures, None without such pixels."""

    name: str
    pixels: int
    predicted_pixels: int
    accuracy: float | None
    iou: float | None


def class_rows(matrix: NDArray[np.int64]) -> list[ClassRow]:
    """Return the numbers of each class of a confusion matrix (K, K), in the order of the ids."""
    columns = zip(
        class_names(len(matrix)),
        matrix.sum(axis=1).tolist(),
        matrix.sum(axis=0).tolist(),
        class_accuracies(matrix).tolist(),
        class_ious(matrix).tolist(),
        strict=True,
    )
    return [
        ClassRow(name, true, predicted, _known(accuracy), _known(iou))
        for name, true, predicted, accuracy, iou in columns
    ]


def worst_and_best(images: Sequence[ImageAgreement], most: int) -> tuple[list[int], list[int]]:
    """Return the places of the images with the least and the most equal pixels, `most` of each.

    The most extreme one is first. No image is in both lists.
    """
    order = sorted(range(len(images)), key=lambda index: images[index].share)
    half = (len(order) + 1) // 2
    return order[: min(most, half)], order[half:][::-1][:most]


def describe(image: ImageAgreement, names: Sequence[str]) -> str:
    """Return the largest confusion of an image in words."""
    one = image.confusion
    if one is None:
        return "every pixel agrees"
    true, predicted = names[one.true], names[one.predicted]
    return f"{true} predicted as {predicted}: {percent(one.share)} of the image"


def percent(share: float) -> str:
    """Return a share as a percentage, to a tenth."""
    if 0 < share < 0.001:
        return "less than 0.1%"
    return f"{100 * share:.1f}".removesuffix(".0") + "%"


def write_json(evaluation: Evaluation) -> str:
    """Return the numbers as JSON, null for those that are not measured (docs/formats.md)."""
    masks = evaluation.masks
    content = {
        "format": FORMAT,
        "images": evaluation.images,
        "measures": [asdict(row) for row in evaluation.rows],
        "masks": None if masks is None else _mask_content(masks),
    }
    text = json.dumps(content, indent=1)
    # Each row of a matrix on one line. No string of JSON has a line break.
    return re.sub(r"\[\n[\d,\n ]+\]", lambda row: re.sub(r"\n *", "", row[0]), text) + "\n"


def _mask_content(masks: MaskResults) -> dict[str, Any]:
    names = masks.class_names
    return {
        "segmenter": masks.segmenter,
        "images": _agreement_content(masks.images),
        "photos": None if masks.photos is None else _agreement_content(masks.photos),
        "files": [
            _file_content(name, image, names)
            for name, image in zip(masks.files, masks.images.images, strict=True)
        ],
    }


def _agreement_content(agreement: Agreement) -> dict[str, Any]:
    matrix = agreement.counts.matrix
    return {
        "classes": [asdict(row) for row in class_rows(matrix)],
        "confusion": matrix.tolist(),
    }


def _file_content(name: str, image: ImageAgreement, names: Sequence[str]) -> dict[str, Any]:
    one = image.confusion
    largest = None
    if one is not None:
        largest = {"true": names[one.true], "predicted": names[one.predicted], "share": one.share}
    return {"name": name, "share": image.share, "largest_confusion": largest}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
