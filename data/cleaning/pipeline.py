"""Selections of a dataset: from the scan of its pairs to lists, tables and the HTML report.

    made = make_selections("dataset", classes=29)

Writes total.txt, selection_1.txt and selection_2.txt, which train.py reads; report.csv, one row per
pair; thresholds.json; and report.html. Stems in keep.txt or drop.txt override the decisions.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from data.check import Fault
from data.classes import CONTEST_CLASSES, MAX_CLASSES
from data.cleaning.class_consistency import label_outlier_score, outlier_segment
from data.cleaning.decisions import (
    SIMILARITY,
    Decision,
    Overrides,
    Thresholds,
    decide,
    find_thresholds,
    meet_targets,
    read_thresholds,
)
from data.cleaning.duplicates import layout_similarity
from data.cleaning.measures import PAIR_MEASURES
from data.cleaning.report import ReportFacts, write_report
from data.cleaning.scan import Scan, Settings, read_thumbnails, scan
from data.folders import PairFolder, find_pairs
from data.label_ids import recognize_first_id
from data.ownership import OutputFolder
from data.selections import explain_misses, read_stems, stem_to_cell, write_stems
from options.errors import UserError
from options.paths import exists, expand, path_error
from options.schedule import SUBSETS
from runtime.progress import ProgressBar

CACHE = ".measures.sqlite"
FILES = ("report.csv", "report.html", "thresholds.json", *(f"{name}.txt" for name in SUBSETS))
FIX = (
    "name another folder with --output_path (train.py looks into results/RUN/selections first); "
    "to override decisions on single pairs, use keep.txt and drop.txt"
)
_COLUMNS = ("stem", "selection", "reason", "measure", "value", "threshold", "group")
_DOCUMENTED: dict[str, Callable] = {
    **PAIR_MEASURES,
    "label_outlier_score": label_outlier_score,
    "outlier_segment": outlier_segment,
    SIMILARITY: layout_similarity,
}


@dataclass(frozen=True)
class Selections:
    """The result: number of stems per subset and in all, the output folder, lines for the log."""

    total: int
    selection_1: int
    selection_2: int
    stems: int
    output_path: Path
    lines: tuple[str, ...]


def make_selections(
    input_path: Path | str,
    output_path: Path | str | None = None,
    *,
    classes: int = len(CONTEST_CLASSES),
    unknown_label: int | None = None,
    first_id: int | None = None,
    target: tuple[float, float] | None = None,
    thresholds_path: Path | str | None = None,
    kept: int | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Selections:
    """Scan a dataset and write its selections and reports.

    output_path: None is `input_path`/selections. first_id: label id of the first class; None
    recognizes it (see data.label_ids.recognize_first_id). target: shares of all stems to keep in
    Selection I and II. thresholds_path: a thresholds.json to read. kept: pairs to keep per group of
    near-duplicates. workers: processes; None is one per core.

    Raises UserError if no pair is readable, if the output cannot be written, or if a file of the
    user is in the way.
    """
    root = expand(input_path)
    output = expand(output_path) if output_path is not None else root / "selections"
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    _check_arguments(classes, first_id, kept, workers)
    if target is not None and thresholds_path is not None:
        raise UserError("--target, --thresholds: expected one of them, got both. Remove one.")
    folder = find_pairs(root)
    names = [name for name in FILES if not _is_given(output / name, thresholds_path)]
    results = OutputFolder(output, FIX)
    replaced = results.check(names)
    overrides = _read_overrides(output)
    if first_id is None:
        first_id = recognize_first_id(folder, classes, unknown_label, workers)
    settings = Settings(classes, unknown_label, first_id)
    found = _scan(folder, settings, output / CACHE, workers, progress)
    thresholds = find_thresholds(found.table)
    if thresholds_path is not None:
        thresholds = read_thresholds(thresholds_path, thresholds)
    if kept is not None:
        thresholds = replace(thresholds, kept=kept)
    if target is not None:
        thresholds = meet_targets(found.table, thresholds, target, found.total, overrides)
    decisions = decide(found.table, thresholds, overrides)
    lists = _lists(found, decisions)
    files = {
        "report.csv": _csv(found, decisions),
        "report.html": _html(found, thresholds, decisions, settings, root, output),
        "thresholds.json": json.dumps(thresholds.to_json(), indent=1) + "\n",
        **{f"{subset}.txt": write_stems(stems) for subset, stems in lists.items()},
    }
    try:
        results.write({name: files[name] for name in names})
    except OSError as error:
        raise path_error(output, error, "a writable folder for the selections") from None
    lines = _lines(found, decisions, target, overrides)
    if replaced:
        lines.append(f"replaced: the selections of an earlier run in {output}")
    total, first, second = (len(lists[subset]) for subset in SUBSETS)
    return Selections(total, first, second, found.total, output, tuple(lines))


def why_not_writable(folder: Path) -> str | None:
    """Create a folder and return why it cannot be written, None if it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _check_arguments(classes: int, first_id: int | None, kept: int | None, workers: int) -> None:
    if workers < 0:
        raise UserError(f"--workers: expected 0 or more, got {workers} (e.g. --workers 2).")
    if not 1 <= classes < MAX_CLASSES:
        raise UserError(f"--classes: expected 1..{MAX_CLASSES - 1}, got {classes}.")
    if first_id is not None and not 0 <= first_id <= MAX_CLASSES - classes:
        raise UserError(f"--first_id: expected 0..{MAX_CLASSES - classes}, got {first_id}.")
    if kept is not None and kept < 1:
        raise UserError(f"--kept: expected 1 or more, got {kept} (e.g. --kept 3).")


def _read_overrides(output: Path) -> Overrides:
    """Read keep.txt and drop.txt of the output folder, which must be writable."""
    refused = why_not_writable(output)
    if refused:
        raise UserError(
            f"{output}: expected a writable folder for the selections, got: {refused}. Name "
            "another with --output_path (train.py looks into results/RUN/selections first)."
        )
    overrides = Overrides(_read_list(output / "keep.txt"), _read_list(output / "drop.txt"))
    both = overrides.keep & overrides.drop
    if both:
        raise UserError(
            f"{output}: expected a stem in one list, got {_printable(min(both))} in keep.txt and "
            "drop.txt. Remove it from one."
        )
    return overrides


def _scan(
    folder: PairFolder, settings: Settings, cache_path: Path, workers: int, progress: bool
) -> Scan:
    with ExitStack() as bars:
        measuring, comparing = (
            bars.enter_context(ProgressBar(title, unit)) if progress else None
            for title, unit in (("measuring", "pairs"), ("comparing", "%"))
        )
        found = scan(folder, settings, cache_path, workers, measuring, comparing)
    if not found.pairs:
        first = f" The first fault: {found.faults[0]}" if found.faults else ""
        raise UserError(
            f"{folder.root}: expected at least one readable pair, got none of {found.total}.{first}"
        )
    return found


def _lists(found: Scan, decisions: Sequence[Decision]) -> dict[str, list[str]]:
    """Return the stems of each subset."""
    stems = found.table.stems
    return {
        subset: [stem for stem, one in zip(stems, decisions, strict=True) if one.selection >= least]
        for least, subset in enumerate(SUBSETS)
    }


def _html(
    found: Scan,
    thresholds: Thresholds,
    decisions: Sequence[Decision],
    settings: Settings,
    root: Path,
    output: Path,
) -> str:
    facts = ReportFacts(
        root.name or str(root),
        _command(root, output, settings),
        settings.classes,
        found.faults,
        found.total,
        {name: _description(function) for name, function in _DOCUMENTED.items()},
    )

    def thumbnails(rows: Sequence[int]) -> list[tuple[bytes, bytes]]:
        return read_thumbnails(output / CACHE, [found.keys[row] for row in rows])

    return write_report(found.table, thresholds, decisions, found.statistics, facts, thumbnails)


def _lines(
    found: Scan,
    decisions: Sequence[Decision],
    target: tuple[float, float] | None,
    overrides: Overrides,
) -> list[str]:
    """Return the lines for the log: sizes, reasons and notes."""
    total = found.total
    counts = [sum(one.selection >= least for one in decisions) for least in range(3)]
    lines = [
        f"{name}: {number} of {total} ({100 * number / total:.1f}%)"
        for name, number in zip(SUBSETS, counts, strict=True)
    ]
    unreadable = len({fault.stem for fault in found.faults})
    if unreadable:
        lines.append(f"unreadable: {unreadable}, such as {_printable(str(found.faults[0]))}")
    for place in (0, 1):
        reasons = Counter(one.measure or one.reason for one in decisions if one.selection == place)
        if reasons:
            text = ", ".join(f"{name} {number}" for name, number in reasons.most_common())
            lines.append(f"left out of selection_{place + 1}: {text}")
    if target is not None:
        for wanted, number, name in zip(target, counts[1:], SUBSETS[1:], strict=True):
            if abs(number - wanted * total) > max(1, 0.005 * total):
                lines.append(
                    f"note: {name} has a share of {number / total:.3f}; the target of {wanted:g} "
                    "cannot be met"
                )
    known = set(found.table.stems)
    for name, stems in (("keep.txt", overrides.keep), ("drop.txt", overrides.drop)):
        missing = sorted(stems - known)
        if missing:
            bad = {fault.stem for fault in found.faults}
            lines.append(
                f"note: {name} has {len(missing)} names of no readable pair: "
                f"{'; '.join(explain_misses(missing, found.pairs, bad))}"
            )
    return lines


def _command(root: Path, output: Path, settings: Settings) -> str:
    """Return the command that makes these selections with the default thresholds."""
    words = ["python", "-m", "tools.filter_dataset", "--input_path", str(root)]
    if output != root / "selections":
        words += ["--output_path", str(output)]
    if settings.classes != len(CONTEST_CLASSES):
        words += ["--classes", str(settings.classes)]
    if settings.unknown_label is not None:
        words += ["--unknown_label", str(settings.unknown_label)]
    if settings.first_id:
        words += ["--first_id", str(settings.first_id)]
    return shlex.join(words)


def _csv(found: Scan, decisions: Sequence[Decision]) -> str:
    table = found.table
    names = list(table.values)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *names])
    # An unquoted carriage return ends the row for readers, and this writer quotes only line feeds.
    quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    rows: list[tuple[str, list[str]]] = []
    for item, (stem, one) in enumerate(zip(table.stems, decisions, strict=True)):
        start = [
            stem_to_cell(stem), str(one.selection), one.reason, one.measure, _cell(one.value),
            _cell(one.threshold), str(one.group or ""),
        ]  # fmt: skip
        rows.append((stem, start + [_cell(float(table.values[name][item])) for name in names]))
    broken: dict[str, list[Fault]] = {}
    for fault in found.faults:
        broken.setdefault(fault.stem, []).append(fault)
    for stem, faults in broken.items():
        reason = "; ".join(f"{one.path.name}: {one.rule}: {one.value}" for one in faults)
        rows.append(
            (stem, [stem_to_cell(stem), "-1", _printable(reason)] + [""] * (4 + len(names)))
        )
    for _, row in sorted(rows):
        (quoting if "\r" in row[0] + row[2] else writer).writerow(row)
    return text.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.6g}"


def _description(function: Callable) -> str:
    return " ".join((function.__doc__ or "").split())


def _read_list(path: Path) -> frozenset[str]:
    """Read keep.txt or drop.txt, in the form of a selection; a missing one is empty."""
    return read_stems(path) if exists(path) else frozenset()


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _is_given(path: Path, given: Path | str | None) -> bool:
    """Return whether --thresholds names this output file; the user edited it, so it is kept."""
    if given is None:
        return False
    try:
        return path.samefile(Path(given).expanduser())
    except OSError:
        return False  # one of them is missing
