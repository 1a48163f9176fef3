"""Choose the pairs worth training on: Total, Selection I and Selection II, with reasons.

    python -m tools.filter_dataset --input_path DIR
    python -m tools.filter_dataset --input_path DIR --target 0.81 0.73

Writes into DIR/selections (or --output_path): total.txt, selection_1.txt and selection_2.txt, which
train.py reads; report.csv, a row a pair; thresholds.json; report.html to look through. Stems in
keep.txt or drop.txt there overrule the machine. Nothing of DIR itself is touched, nor are lists and
reports that a person has changed: those stop it before the work. Interrupted, the
same command goes on; run again with other thresholds, it answers from what it has measured.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from data.check import Fault, recognize_first_id
from data.classes import CONTEST_CLASSES, MAX_CLASSES
from data.cleaning.duplicates import layout_likeness
from data.cleaning.evidence import odd_segment, oddness
from data.cleaning.measures import PAIR_MEASURES
from data.cleaning.page import PageFacts, write_page
from data.cleaning.survey import Settings, Survey, read_drawings, survey
from data.cleaning.verdicts import (
    LIKENESS,
    Overrule,
    Verdict,
    find_thresholds,
    judge,
    meet_targets,
    read_thresholds,
)
from data.folders import find_pairs
from data.ownership import OutputFolder
from data.selections import SUBSETS, explain_misses, read_stems, stem_to_cell, write_stems
from options.errors import UserError
from options.paths import exists, expand
from tools.arguments import ToolParser, exit_codes
from tools.progress import ProgressBar

CACHE = ".measures.sqlite"
FILES = ("report.csv", "report.html", "thresholds.json", *(f"{name}.txt" for name in SUBSETS))
FIX = (
    "name another folder with --output_path (train.py looks into results/RUN/selections first); "
    "single pairs are overruled in keep.txt and drop.txt"
)
_COLUMNS = ("stem", "selection", "reason", "measure", "value", "threshold", "group")
_DOCUMENTED: dict[str, Callable] = {
    **PAIR_MEASURES,
    "oddness": oddness,
    "odd_segment": odd_segment,
    LIKENESS: layout_likeness,
}


@dataclass(frozen=True)
class Selections:
    """What was chosen: how many stems each subset has, where it is written, what to say of it."""

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
    """Measure a dataset and write its selections and reports.

    output_path: None is `input_path`/selections. first_id: label id of the first class; None is 0,
    or 1 if the labels tell (see data.check.recognize_first_id). target: shares of all stems to keep
    in Selection I and II. thresholds_path: a thresholds.json to take numbers from. kept: how many
    stay of a group of near-duplicates. workers: processes; None is one per core.

    Raises UserError if there is no pair, none is readable, the output cannot be written, or a file
    is in the way that is a person's or was changed by one.
    """
    root = expand(input_path)
    output = expand(output_path) if output_path is not None else root / "selections"
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    if workers < 0:
        raise UserError(f"workers must be 0 or more: {workers}; 0 and 1 use this process alone")
    if not 1 <= classes < MAX_CLASSES:
        raise UserError(f"classes must be 1..{MAX_CLASSES - 1}: {classes}")
    if first_id is not None and not 0 <= first_id <= MAX_CLASSES - classes:
        raise UserError(f"--first_id: expected 0..{MAX_CLASSES - classes}, got {first_id}.")
    if kept is not None and kept < 1:
        raise UserError(f"kept must be 1 or more: {kept}; one of each group stays at least")
    if target is not None and thresholds_path is not None:
        raise UserError("thresholds are given or made to meet a target: drop one of the two flags")
    folder = find_pairs(root)
    names = [name for name in FILES if not _is_given(output / name, thresholds_path)]
    results = OutputFolder(output, FIX)
    replaced = results.check(names)
    refused = why_not_writable(output)
    if refused:
        raise UserError(
            f"the selections need a folder that can be written: {output}: {refused}; name "
            "another with --output_path: train.py looks into results/RUN/selections first"
        )
    overrule = Overrule(_read_list(output / "keep.txt"), _read_list(output / "drop.txt"))
    both = overrule.keep & overrule.drop
    if both:
        raise UserError(
            f"a stem is kept or dropped, not both: {_safe(min(both))} is in keep.txt and drop.txt "
            f"of {output}; remove it from one"
        )
    if first_id is None:
        first_id = recognize_first_id(folder, classes, unknown_label, workers)
    settings = Settings(classes, unknown_label, first_id)
    with ExitStack() as bars:
        measuring, comparing = (
            bars.enter_context(ProgressBar(title, unit)) if progress else None
            for title, unit in (("measuring", "pairs"), ("comparing", "%"))
        )
        found = survey(folder, settings, output / CACHE, workers, measuring, comparing)
    if not found.pairs:
        first = f"; the first: {found.faults[0]}" if found.faults else ""
        raise UserError(f"at least one pair must be readable: none of {found.total} is{first}")
    thresholds = find_thresholds(found.table)
    if thresholds_path is not None:
        thresholds = read_thresholds(thresholds_path, thresholds)
    if kept is not None:
        thresholds = replace(thresholds, kept=kept)
    if target is not None:
        thresholds = meet_targets(found.table, thresholds, target, found.total, overrule)
    verdicts = judge(found.table, thresholds, overrule)
    facts = PageFacts(
        root.name or str(root),
        _command(root, output, settings),
        classes,
        found.faults,
        found.total,
        {name: _told(function) for name, function in _DOCUMENTED.items()},
    )

    def drawings(numbers: Sequence[int]) -> list[tuple[bytes, bytes]]:
        return read_drawings(output / CACHE, [found.keys[number] for number in numbers])

    page = write_page(found.table, thresholds, verdicts, found.statistics, facts, drawings)
    stems = found.table.stems
    lists = {
        subset: [stem for stem, one in zip(stems, verdicts, strict=True) if one.selection >= least]
        for least, subset in enumerate(SUBSETS)
    }
    files = {
        "report.csv": _csv(found, verdicts),
        "report.html": page,
        "thresholds.json": json.dumps(thresholds.to_json(), indent=1) + "\n",
        **{f"{subset}.txt": write_stems(lists[subset]) for subset in SUBSETS},
    }
    try:
        results.write({name: files[name] for name in names})
    except OSError as error:
        raise UserError(
            f"the selections must be writable: {output}: {error.strerror}; make room and run again"
        ) from None
    total, first_left, second_left = (len(lists[subset]) for subset in SUBSETS)
    lines = _lines(found, verdicts, target, overrule)
    if replaced:
        lines.append(f"replaced: the selections of an earlier run in {output}")
    return Selections(total, first_left, second_left, found.total, output, tuple(lines))


@exit_codes(stopped="stopped; the same command goes on from here")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 for what the user must mend, 130 for Ctrl-C."""
    arguments = _parser().parse_args(argv)
    made = make_selections(
        arguments.input_path,
        arguments.output_path,
        classes=arguments.classes,
        unknown_label=arguments.unknown_label,
        first_id=arguments.first_id,
        target=tuple(arguments.target) if arguments.target else None,
        thresholds_path=arguments.thresholds,
        kept=arguments.kept,
        workers=arguments.workers,
    )
    print("\n".join(made.lines))
    return 0


def _lines(
    found: Survey,
    verdicts: Sequence[Verdict],
    target: tuple[float, float] | None,
    overrule: Overrule,
) -> list[str]:
    total = found.total
    counts = [sum(one.selection >= least for one in verdicts) for least in range(3)]
    lines = [
        f"{name}: {number} of {total} ({100 * number / total:.1f}%)"
        for name, number in zip(("total", "selection_1", "selection_2"), counts, strict=True)
    ]
    unreadable = len({fault.stem for fault in found.faults})
    if unreadable:
        lines.append(f"unreadable: {unreadable}, such as {_safe(str(found.faults[0]))}")
    for place in (0, 1):
        reasons = Counter(one.measure or one.reason for one in verdicts if one.selection == place)
        if reasons:
            told = ", ".join(f"{name} {number}" for name, number in reasons.most_common())
            lines.append(f"left out of selection_{place + 1}: {told}")
    if target is not None:
        for wanted, number, name in zip(target, counts[1:], SUBSETS[1:], strict=True):
            if abs(number - wanted * total) > max(1, 0.005 * total):
                lines.append(
                    f"note: {name} could not be brought to {wanted:g} of all, and has "
                    f"{number / total:.3f}"
                )
    known = set(found.table.stems)
    for name, stems in (("keep.txt", overrule.keep), ("drop.txt", overrule.drop)):
        missing = sorted(stems - known)
        if missing:
            bad = {fault.stem for fault in found.faults}
            lines.append(
                f"note: {name} names {len(missing)} that are no readable pairs: "
                f"{'; '.join(explain_misses(missing, found.pairs, bad))}"
            )
    return lines


def _command(root: Path, output: Path, settings: Settings) -> str:
    """Return what makes these selections again at the default thresholds."""
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


def _csv(found: Survey, verdicts: Sequence[Verdict]) -> str:
    table = found.table
    names = list(table.values)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *names])
    # A carriage return is quoted here alone, and would end the row for whoever reads it.
    quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    rows: list[tuple[str, list[str]]] = []
    for item, (stem, one) in enumerate(zip(table.stems, verdicts, strict=True)):
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
        rows.append((stem, [stem_to_cell(stem), "-1", _safe(reason)] + [""] * (4 + len(names))))
    for _, row in sorted(rows):
        (quoting if "\r" in row[0] + row[2] else writer).writerow(row)
    return text.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.6g}"


def _told(function: Callable) -> str:
    return " ".join((function.__doc__ or "").split())


def why_not_writable(folder: Path) -> str | None:
    """Make a folder and return why nothing can be written into it, None where it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _read_list(path: Path) -> frozenset[str]:
    """Read keep.txt or drop.txt, in the form of a selection; a missing one is empty."""
    return read_stems(path) if exists(path) else frozenset()


def _safe(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _is_given(path: Path, given: Path | str | None) -> bool:
    """Whether a file of ours is what --thresholds names: a person has changed it, and it stays."""
    if given is None:
        return False
    try:
        return path.samefile(Path(given).expanduser())
    except OSError:
        return False  # one of them is not there


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser("filter_dataset", __doc__)
    add = parser.add_argument
    add("--input_path", "--input-path", "--data", required=True, metavar="DIR", help="the dataset")
    add("--output_path", "--output-path", metavar="DIR", help="else DIR/selections")
    add("--classes", type=int, default=29, metavar="K", help="ids are 0..K-1 (29)")
    add("--unknown_label", "--unknown-label", type=int, metavar="ID", help="id of unknown pixels")
    add("--first_id", "--first-id", type=int, metavar="ID", help="id of the first class (0)")
    add(
        "--target", type=float, nargs=2, metavar=("I", "II"),
        help="shares of the pairs to keep; the contest's were 0.81 0.73",
    )  # fmt: skip
    add("--thresholds", metavar="FILE", help="a thresholds.json to take numbers from")
    add("--kept", type=int, metavar="N", help="how many stay of near-duplicate layouts (3)")
    add("--workers", type=int, metavar="N", help="processes (one a core)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
