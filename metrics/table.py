"""Measures as rows of a table.

print(format_table([Row("mask accuracy", 0.9, images=1000)]))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from data.classes import class_names
from metrics.aesthetics import BEST, Aesthetics
from metrics.contrast import Contrast
from metrics.scores import Score, score_2022, score_2023
from metrics.segmentation import SegmentationCounts, mean_iou
from metrics.style import hue_similarity, joint_similarity

GUESSES = {"hue": hue_similarity, "BGR + HSV": joint_similarity}
AESTHETIC, CONTRAST = "aesthetic", "contrastive score"

# The measure that the scores take as aesthetic.
AestheticSource: TypeAlias = Literal["nima", "contrastive"]


@dataclass(frozen=True)
class Row:
    """A measure: its value, None if not measured, the counts it is based on, and a note."""

    name: str
    value: float | None
    images: int | None = None
    photos: int | None = None
    note: str = ""


def mask_rows(counts: SegmentationCounts | None, why_none: str = "") -> list[Row]:
    """Return mask accuracy, its floor, and mIoU of generated images; `why_none` if not measured."""
    if counts is None:
        return [Row(name, None, note=why_none) for name in ("mask accuracy", "mIoU")]
    commonest, floor = counts.floor
    name = class_names(len(counts.matrix))[commonest]
    return [
        Row("mask accuracy", counts.mask_accuracy, counts.images),
        Row("mask accuracy, floor", floor, counts.images, note=f"all {name}"),
        Row("mIoU", mean_iou(counts.matrix), counts.images),
    ]


def photo_mask_rows(counts: SegmentationCounts | None, note: str) -> list[Row]:
    """Return the accuracy of the segmenter on photos and their layouts, None if not measured."""
    names = ("mask accuracy on photos", "mIoU on photos")
    if counts is None:
        return [Row(name, None, note=note) for name in names]
    values = (counts.mask_accuracy, mean_iou(counts.matrix))
    return [
        Row(name, value, photos=counts.images, note=note)
        for name, value in zip(names, values, strict=True)
    ]


def aesthetic_rows(found: Aesthetics | None, why_none: str = "") -> list[Row]:
    """Return the mean score of NIMA and the deviation of ratings; `why_none` if not measured."""
    names = (AESTHETIC, "deviation of ratings")
    if found is None:
        return [Row(name, None, note=why_none) for name in names]
    notes = (f"NIMA, 1 to {BEST}", "within an image")
    return [
        Row(name, value, len(found.scores), note=note)
        for name, value, note in zip(names, (found.mean, found.deviation), notes, strict=True)
    ]


def contrast_rows(found: Contrast | None, why_none: str = "") -> list[Row]:
    """Return the contrastive score and the accuracy of its scorer; `why_none` if not measured."""
    names = (CONTRAST, "contrastive AUC")
    if found is None:
        return [Row(name, None, note=why_none) for name in names]
    notes = ("0 to 1, not on NIMA's scale", "0.5: images and photos cannot be told apart")
    return [
        Row(name, value, len(found.scores), found.photos, note)
        for name, value, note in zip(names, (found.mean, found.auc), notes, strict=True)
    ]


def score_rows(values: Mapping[str, float | None], source: AestheticSource = "nima") -> list[Row]:
    """Return the rows of the scores, from the measures by name.

    The aesthetic measure is that of `source`. Its 10 of 2022 is the 1 of 2023.
    """
    mask, fid = values["mask accuracy"], values["FID"]
    value = values[AESTHETIC if source == "nima" else CONTRAST]
    if source == "nima":
        named = {10: "aesthetic: NIMA", 1: f"aesthetic: NIMA / {BEST}"}
        share = None if value is None else value / BEST
    else:
        named = {10: "aesthetic: 10 x contrastive score", 1: "aesthetic: contrastive score"}
        share = value
    notes = {most: "" if share is None else note for most, note in named.items()}
    score = score_2022(mask, None if share is None else 10 * share, fid)
    rows = _score_rows("score 2022", "", score, notes[10])
    for guess in GUESSES:
        score = score_2023(mask, share, values[f"style similarity, {guess}"], fid)
        rows += _score_rows("score 2023", f", {guess}", score, notes[1])
    return rows


def _score_rows(name: str, guess: str, score: Score, note: str) -> list[Row]:
    """A score with its measured terms, and the same without the aesthetic term.

    The terms are multiplied by the mask accuracy.
    """
    known = [f"{term} {value:.4f}" for term, value in score.terms.items() if value is not None]
    missing = f"missing: {', '.join(score.missing)}" if score.missing else ""
    terms = f"terms: {', '.join(known)}" if known else ""
    notes = "; ".join(filter(None, (missing, terms, note)))
    return [
        Row(f"{name}{guess}", score.total, note=notes),
        Row(f"{name} without aesthetic{guess}", score.without_aesthetic),
    ]


def format_table(rows: Sequence[Row]) -> str:
    """Return the rows as a table for a terminal."""
    cells: list[tuple[str, ...]] = [("measure", "value", "images", "photos", "note")]
    for row in rows:
        value = "not measured" if row.value is None else f"{row.value:.4f}"
        counts = ("" if count is None else str(count) for count in (row.images, row.photos))
        cells.append((row.name, value, *counts, row.note))
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = []
    for name, *numbers, note in cells:
        shown = [cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *shown, note]).rstrip())
    return "\n".join(lines)
