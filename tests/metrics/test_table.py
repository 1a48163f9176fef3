"""Rows of the table: masks, scores and the printed form."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.segmentation import SegmentationCounts
from metrics.table import Row, format_table, mask_rows, photo_mask_rows, score_rows


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
    assert [row.name for row in rows] == [
        "mask accuracy", "mIoU", "mask accuracy on photos", "mIoU on photos"
    ]  # fmt: skip
    assert all(row.value is None and row.note == "why" for row in rows)


def values(**changed: float | None) -> dict[str, float | None]:
    styles = {"style similarity, hue": 0.4, "style similarity, BGR + HSV": 0.2}
    return {"mask accuracy": 0.8, "FID": 30.0, **styles, **changed}


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
    assert rows["score 2022"].value is None and rows["aesthetic"].value is None


@pytest.mark.parametrize("missing", ["mask accuracy", "FID"])
def test_no_number_replaces_a_missing_measure(missing: str) -> None:
    rows = score_rows(values(**{missing: None}))
    assert len(rows) == 7 and all(row.value is None for row in rows)
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
