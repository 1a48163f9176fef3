"""The ids of a dataset's labels: their first id, colors of indexed labels, causes of wrong ids."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.folders import PairFolder
from data.images import ImageFileError
from data.labels import Colors, LabelError, read_label
from data.workers import run_all
from options.paths import show_path

# Labels that are read before helper processes start for the others.
_FEW = 24
# Share of the labels with a color that must agree on its id, so that only the others are faults.
_AGREEMENT = 0.95


def ids_of(label: NDArray[np.int32]) -> list[int]:
    """Return the ids that occur in a label (H, W), sorted."""
    return list(np.flatnonzero(np.bincount(label.ravel())).tolist())


def show_ids(class_ids: range, unknown_label: int | None) -> str:
    """Return the valid ids for a message: 'ids 0..28 or 255'."""
    unknown = f" or {unknown_label}" if unknown_label is not None else ""
    return f"ids {class_ids.start}..{class_ids.stop - 1}{unknown}"


def recognize_first_id(
    folder: PairFolder, classes: int, unknown_label: int | None = None, workers: int = 2
) -> int:
    """Return 1 if the ids of labels side by side with photos count from 1, else 0.

    CMP facades count from 1. The answer is 1 only if nothing else fits: of the ids 1..classes the
    last occurs, and 0 does not. Labels that cannot be read are skipped.
    """
    if not folder.side_by_side:
        return 0
    labels = [pair.label_path for pair in folder.pairs]
    ids: set[int] = set()
    # A few labels usually hold class 0, which decides.
    for part in (labels[:_FEW], labels[_FEW:]):
        for found in run_all(_IdReader, (classes + 1,), part, workers=workers):
            ids.update(found)
        ids.discard(-1 if unknown_label is None else unknown_label)
        if ids and min(ids) == 0:
            return 0
    return int(bool(ids) and max(ids) == classes)


def find_color_conflicts(labels: Sequence[tuple[Path, Colors]]) -> dict[Path, LabelError]:
    """Return the errors of indexed labels in which a color has another id than in other labels.

    An optimizer reorders the colors of each file. The index is then no id, and a single file does
    not show it.
    """
    files: dict[int, dict[int, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path, colors in labels:
        for color, one in colors:
            files[color][one].append(path)
    errors: dict[Path, LabelError] = {}
    for color, by_id in sorted(files.items()):
        if len(by_id) == 1:
            continue
        usual = max(by_id, key=lambda one: len(by_id[one]))
        agreed = len(by_id[usual]) >= _AGREEMENT * sum(map(len, by_id.values()))
        for one, paths in by_id.items():
            if agreed and one == usual:
                continue
            other = usual if one != usual else next(key for key in by_id if key != one)
            rgb = (color >> 16, color >> 8 & 255, color & 255)
            partner = show_path(by_id[other][0].name)
            found = f"color {rgb} as id {one}, and as id {other} in {partner}"
            fix = "its indices are no ids: save it as an 8-bit gray PNG of class ids"
            rule = "a color that is one id in all labels"
            for path in paths:
                errors.setdefault(path, LabelError(path, rule, found, fix))
    return errors


def explain_ids(ids: set[int], class_ids: range, unknown_label: int | None) -> str:
    """Return the fix for ids outside `class_ids`: the likely cause if a dataset has all `ids`."""
    known = ids - {unknown_label}
    wrong = sorted(one for one in known if one not in class_ids)
    if not wrong:
        return ""
    if wrong[-1] < class_ids.start:
        return f"give --unknown-label {wrong[-1]} if that marks unknown, else fix the label"
    classes, most = len(class_ids), max(known)
    fix = _explain_pattern(known, class_ids)
    if fix:
        return fix
    spread = [index * 255 / max(1, classes - 1) for index in range(classes)]
    if len(known) > 2 and any(known <= set(map(to_int, spread)) for to_int in (math.floor, round)):
        return f"the ids are spread over 0..255 for display: save 0..{classes - 1} instead"
    if unknown_label is None and len(known) > 2:
        fix = _explain_pattern(known - {255}, class_ids)
        if fix:
            return f"{fix}, and --unknown-label 255 if that marks unknown"
    if len(known) > max(64, 4 * classes):
        return "so many ids are gray levels of an image, not classes: use the label files"
    others = [one for one in known if one < wrong[-1]]
    if unknown_label is None and wrong[-1] == 255 and len(wrong) == 1:
        return "give --unknown-label 255 if that marks unknown, else fix the label"
    fix = f"fix the label, or give --classes {most + 1 - class_ids.start}"
    if unknown_label is None and (not others or wrong[-1] > max(others) + 1):
        fix += f", or --unknown-label {wrong[-1]} if that marks unknown"
    return fix


def _explain_pattern(ids: set[int], class_ids: range) -> str:
    """Return the fix for ids that count from 1 or have a common factor, '' for others."""
    least, most = min(ids), max(ids)
    classes = len(class_ids)
    if class_ids.start == 0 and most == classes:
        if least >= 1:
            return "the ids count from 1: give --first-id 1"
        return (
            "give --first-id 1 --unknown-label 0 if 0 marks unknown, else fix the label, or give "
            f"--classes {most + 1}"
        )
    step = math.gcd(*ids)
    if step > 1 and most >= classes > most // step and (len(ids) > 2 or step >= 17):
        return f"all ids are multiples of {step}, scaled for display: divide them by {step}"
    return ""


class _IdReader:
    """Reads the ids of a label in any process; none if it cannot be read."""

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def __call__(self, path: Path) -> list[int]:
        try:
            return ids_of(read_label(path, self.classes))
        except ImageFileError:
            return []
