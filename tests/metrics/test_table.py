"""Rows of the table: masks, scores and the printed form."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.aesthetics import rate
from metrics.contrast import Contrast
from metrics.segmentation import SegmentationCounts
from metrics.table import (
    Row,
    aesthetic_rows,
    contrast_rows,
    format_table,
    mask_rows,
    photo_mask_rows,
    score_rows,
)


def counts(classes: int) -> SegmentationCounts:
    """Half of the pixels are right; class 1 is the commonest."""
    counted = SegmentationCounts(classes)
    for _ in range(3):
        counted.add(np.array([[1, 1, 1, 0]]), np.array([[1, 1, 0, 1]]))
    return counted


@pytest.mark.parametrize(("classes", "name"), [(2, "class 1"), (29, "sky"), (30, "sky")])
def test_rows_of_images(classes: int, name: str) -> None:
    rows = {row.name: row for row in mask_rows(counts(classes))}
    assert rows["mask accuracy"] == Row("mask accuracy", 0.5, 3)
    assert rows["mask accuracy, floor"] == Row("mask accuracy, floor", 0.75, 3, None, f"all {name}")
    # IoU 1/2 and 0; other classes do not occur
    assert rows["mIoU"] == Row("mIoU", pytest.approx(0.25), 3)


def test_rows_of_photos() -> None:
    accuracy, iou = photo_mask_rows(counts(2), "a note")
    assert accuracy == Row("mask accuracy on photos", 0.5, None, 3, "a note")
    assert iou == Row("mIoU on photos", pytest.approx(0.25), None, 3, "a note")


def test_rows_that_are_not_measured() -> None:
    rows = mask_rows(None, "why") + photo_mask_rows(None, "why")
    rows += aesthetic_rows(None, "why") + contrast_rows(None, "why")
    assert [row.name for row in rows] == [
        "mask accuracy", "mIoU", "mask accuracy on photos", "mIoU on photos",
        "aesthetic", "deviation of ratings", "contrastive score", "contrastive AUC",
    ]  # fmt: skip
    assert all(row.value is None and row.note == "why" for row in rows)


def test_rows_of_aesthetics() -> None:
    one, two = np.eye(10)[[1, 5]]
    mean, deviation = aesthetic_rows(rate(np.stack([one, (one + two) / 2])))
    assert mean == Row("aesthetic", pytest.approx(3), 2, None, "NIMA, 1 to 10")
    assert deviation == Row("deviation of ratings", pytest.approx(1), 2, None, "within an image")


def test_rows_of_the_contrastive_scorer() -> None:
    score, accuracy = contrast_rows(Contrast(np.array([0.1, 0.2, 0.3]), 0.9, 7))
    assert score.name == "contrastive score" and score.value == pytest.approx(0.2)
    assert accuracy.name == "contrastive AUC" and accuracy.value == 0.9
    assert (score.images, score.photos) == (accuracy.images, accuracy.photos) == (3, 7)
    assert "not on NIMA's scale" in score.note


def values(changed: dict[str, float | None] | None = None) -> dict[str, float | None]:
    styles = {"style similarity, hue": 0.4, "style similarity, BGR + HSV": 0.2}
    aesthetics = {"aesthetic": None, "contrastive score": 0.3}
    return {"mask accuracy": 0.8, "FID": 30.0, **styles, **aesthetics, **(changed or {})}


def test_scores_without_the_aesthetic_term() -> None:
    rows = {row.name: row for row in score_rows(values())}
    assert rows["score 2022 without aesthetic"].value == pytest.approx(0.8 * 0.35)
    for guess, style in (("hue", 0.4), ("BGR + HSV", 0.2)):
        term = (style / 2 + 0.5) * 0.3
        found = rows[f"score 2023 without aesthetic, {guess}"].value
        assert found == pytest.approx(0.8 * (term + 0.35))
        whole = rows[f"score 2023, {guess}"]
        assert whole.value is None
        assert whole.note == f"missing: aesthetic; terms: style similarity {term:.4f}, FID 0.3500"
    assert rows["score 2022"].value is None
    # not even if it is measured: it is no aesthetic measure unless the user says so
    assert not any("contrastive" in row.note for row in rows.values())


def test_scores_with_nima() -> None:
    rows = {row.name: row for row in score_rows(values({"aesthetic": 5.0}))}
    assert rows["score 2022"].value == pytest.approx(0.8 * (0.25 + 0.35))
    assert rows["score 2022"].note == "terms: aesthetic 0.2500, FID 0.3500; aesthetic: NIMA"
    assert rows["score 2022 without aesthetic"].value == pytest.approx(0.8 * 0.35)
    whole = rows["score 2023, hue"]
    assert whole.value == pytest.approx(0.8 * (0.1 + 0.21 + 0.35))
    assert whole.note.endswith(
        "aesthetic 0.1000, style similarity 0.2100, FID 0.3500; aesthetic: NIMA / 10"
    )


def test_scores_with_the_contrastive_score() -> None:
    for aesthetic in (None, 5.0):
        found = score_rows(values({"aesthetic": aesthetic}), "contrastive")
        rows = {row.name: row for row in found}
        assert rows["score 2022"].value == pytest.approx(0.8 * (0.15 + 0.35))
        assert rows["score 2022"].note.endswith("aesthetic: 10 x contrastive score")
        whole = rows["score 2023, BGR + HSV"]
        assert whole.value == pytest.approx(0.8 * (0.06 + 0.18 + 0.35))
        assert whole.note.endswith("; aesthetic: contrastive score")
    unmeasured = score_rows(values({"aesthetic": 5.0, "contrastive score": None}), "contrastive")
    assert unmeasured[0].value is None and unmeasured[0].note.startswith("missing: aesthetic; ")


@pytest.mark.parametrize("missing", ["mask accuracy", "FID"])
def test_no_number_replaces_a_missing_measure(missing: str) -> None:
    rows = score_rows(values({missing: None}))
    assert len(rows) == 6 and all(row.value is None for row in rows)
    assert all(
        missing in row.note for row in rows if "without" not in row.name and row.note[0] == "m"
    )


def test_the_table_has_aligned_columns() -> None:
    rows = [Row("a", 0.5, 10, 200, "note"), Row("longer name", None)]
    assert format_table(rows).splitlines() == [
        "measure             value  images  photos  note",
        "a                  0.5000      10     200  note",
        "longer name  not measured",
    ]
