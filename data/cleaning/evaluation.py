"""Evaluation of the measures and decisions: injects known faults and counts detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from data.cleaning.decisions import RULES, SIMILARITY, decide, find_thresholds, severity
from data.cleaning.duplicates import group_layouts
from data.cleaning.faults import COPIES, FAULTS, Others
from data.cleaning.scan import PairScan, Settings, compare_pairs, scan_pair
from data.folders import Pair, find_pairs
from data.images import read_image
from data.labels import read_label
from data.transforms import map_unknown
from data.workers import Progress, run_all
from options.errors import UserError

# The measure made for each fault; its AUC is reported next to that of the decision.
MEASURE_OF = {
    "swapped": "border_support",
    "shifted": "border_support",
    "mirrored": "mirror_gain",
    "relabeled": "outlier_segment",
    "speckled": "border_density",
    "striped": "border_density",
    "backlit": "backlight",
    "duplicate": SIMILARITY,
    "retaken": SIMILARITY,
}


@dataclass(frozen=True)
class Row:
    """The result of one fault. Shares are 0..1; `injected` counts pairs over all rounds.

    measure_auc: AUC of `measure`, see MEASURE_OF. decision_auc: AUC of the highest severity of all
    measures. clean_dropped: share of clean pairs that are left out.
    """

    fault: str
    injected: int
    measure: str
    measure_auc: float
    decision_auc: float
    precision: float
    recall: float
    clean_dropped: float


@dataclass(frozen=True)
class Evaluation:
    """The results of all faults, and the shares that the clean dataset loses by default.

    clean_out_of_1: left out of selection_1. clean_backlit, clean_thinned: left out of selection_2
    as backlit, and as near-duplicates.
    """

    source: str
    pairs: int
    rows: list[Row]
    clean_out_of_1: float
    clean_backlit: float
    clean_thinned: float

    def text(self) -> str:
        """Return the results as a text table."""
        lines = [
            f"{self.source}: {self.pairs} pairs",
            f"{'fault':12}{'injected':>9}  {'measure':16}{'AUC':>7}{'decision':>9}{'precision':>11}"
            f"{'recall':>8}{'clean out':>11}",
        ]
        lines += [
            f"{row.fault:12}{row.injected:9}  {row.measure:16}{row.measure_auc:7.3f}"
            f"{row.decision_auc:9.3f}{row.precision:11.3f}{row.recall:8.3f}"
            f"{100 * row.clean_dropped:10.1f}%"
            for row in self.rows
        ]
        lines.append(
            f"without faults: {100 * self.clean_out_of_1:.1f}% left out of selection_1; "
            f"{100 * self.clean_backlit:.1f}% more of selection_2 as backlit, "
            f"{100 * self.clean_thinned:.1f}% as near-duplicates"
        )
        return "\n".join(lines)


def evaluate(
    input_path: Path | str,
    *,
    classes: int = 29,
    unknown_label: int | None = None,
    count: int = 150,
    share: float = 0.2,
    rounds: int = 2,
    seed: int = 0,
    workers: int = 2,
    faults: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Inject faults into `count` pairs spread over a dataset and report the detections.

    share: of the pairs that get a fault per round. Raises UserError for under 40 pairs, too few
    for robust statistics.
    """
    chosen = list(faults) if faults is not None else [*FAULTS, *COPIES]
    _check_arguments(chosen, share, rounds)
    pairs = find_pairs(input_path).pairs
    pairs = [pairs[i * len(pairs) // count] for i in range(count)] if count < len(pairs) else pairs
    if len(pairs) < 40:
        raise UserError(f"{input_path}: expected 40 pairs or more, got {len(pairs)}.")
    settings = Settings(classes, unknown_label)
    plan = [
        (i, fault, seed + round_)
        for fault in chosen
        for round_ in range(rounds)
        for i in _faulty_pairs(len(pairs), share, seed + round_, fault)
    ]
    steps = len(pairs) + len(plan)

    def measure(
        tasks: list[tuple[int, str, int]], kinds: NDArray[np.int32], before: int
    ) -> list[PairScan | None]:
        def show(done: int, total: int) -> None:
            if progress is not None:
                progress(before + done, steps)

        return run_all(_Injector, (pairs, settings, kinds), tasks, workers=workers, progress=show)

    unchanged = measure([(i, "", 0) for i in range(len(pairs))], np.zeros(0, np.int32), 0)
    clean = [one for one in unchanged if one is not None]
    kinds = np.unique(np.concatenate([one.grid for one in clean])).astype(np.int32)
    found = dict(zip(plan, measure(plan, kinds[kinds < classes], len(pairs)), strict=True))
    rows = []
    for fault in chosen:
        injected = [
            {
                i: one
                for (i, name, s), one in found.items()
                if (name, s) == (fault, seed + r) and one
            }
            for r in range(rounds)
        ]
        make_row = _duplicate_row if fault in COPIES else _fault_row
        rows.append(make_row(fault, clean, injected, classes))
    table = compare_pairs([str(i) for i in range(len(clean))], clean, classes)
    decisions = decide(table, find_thresholds(table))
    return Evaluation(
        Path(input_path).name,
        len(pairs),
        rows,
        float(np.mean([one.selection == 0 for one in decisions])),
        float(np.mean([one.selection == 1 and one.measure != SIMILARITY for one in decisions])),
        float(np.mean([one.selection == 1 and one.measure == SIMILARITY for one in decisions])),
    )


def _check_arguments(faults: Sequence[str], share: float, rounds: int) -> None:
    unknown = sorted(set(faults) - set(MEASURE_OF))
    if unknown:
        raise UserError(f"--faults: expected some of {', '.join(MEASURE_OF)}, got {unknown[0]}.")
    if not 0 < share < 0.5:
        raise UserError(f"--share: expected a number between 0 and 0.5, got {share:g}.")
    if rounds < 1:
        raise UserError(f"--rounds: expected 1 or more, got {rounds}.")


class _Layouts(Sequence):
    """The layouts of the dataset, read on demand."""

    def __init__(self, pairs: Sequence[Pair], settings: Settings) -> None:
        self._pairs, self._settings = pairs, settings
        self._read = lru_cache(maxsize=64)(self._layout)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._read(int(index))

    def _layout(self, index: int) -> NDArray[np.int32]:
        settings = self._settings
        label = read_label(self._pairs[index].label_path, settings.classes)
        return map_unknown(label, settings.classes, settings.unknown_label)


class _Injector:
    """Reads a pair, injects a fault and measures it; None if the fault would not show."""

    def __init__(self, pairs: list[Pair], settings: Settings, kinds: NDArray[np.int32]) -> None:
        self._pairs, self._settings = pairs, settings
        self._layouts = _Layouts(pairs, settings)
        self._others = Others(self._layouts, kinds, settings.unknown)
        cv2.setNumThreads(1)

    def __call__(self, task: tuple[int, str, int]) -> PairScan | None:
        index, fault, seed = task
        photo, layout = read_image(self._pairs[index].image_path), self._layouts[index]
        if photo.shape[:2] != layout.shape:
            photo = cv2.resize(photo, layout.shape[::-1], interpolation=cv2.INTER_AREA)
        if fault:
            inject = COPIES[fault] if fault in COPIES else FAULTS[fault]
            rng = np.random.default_rng([seed, index, list(MEASURE_OF).index(fault)])
            made = inject(photo, layout, self._others, rng)
            if made is None:
                return None
            photo, layout = made
        return scan_pair(photo, layout, self._settings)


def _faulty_pairs(count: int, share: float, seed: int, fault: str) -> list[int]:
    rng = np.random.default_rng([seed, list(MEASURE_OF).index(fault)])
    return sorted(rng.permutation(count)[: max(1, round(share * count))].tolist())


def _fault_row(
    fault: str, clean: Sequence[PairScan], injected: Sequence[dict[int, PairScan]], classes: int
) -> Row:
    measure = MEASURE_OF[fault]
    rule = next(rule for rule in RULES if rule.measure == measure)
    sign = 1 if rule.worse == "high" else -1
    aucs, decision_aucs, hits, alarms, bad, good = [], [], 0, 0, 0, 0
    for faulty in injected:
        if not faulty:
            continue
        mixed = [faulty.get(i, one) for i, one in enumerate(clean)]
        table = compare_pairs([str(i) for i in range(len(mixed))], mixed, classes)
        thresholds = find_thresholds(table)
        is_bad = np.zeros(len(mixed), bool)
        is_bad[list(faulty)] = True
        aucs.append(_auc(sign * table.values[measure], is_bad))
        decision_aucs.append(_auc(severity(table, thresholds, rule.selection), is_bad))
        decisions = decide(table, thresholds)
        out = np.array([_left_out(one.selection, one.measure, rule.selection) for one in decisions])
        hits += int((out & is_bad).sum())
        alarms += int((out & ~is_bad).sum())
        bad, good = bad + int(is_bad.sum()), good + int((~is_bad).sum())
    return _row(fault, measure, aucs, decision_aucs, hits, alarms, bad, good)


def _left_out(selection: int, measure: str, of: int) -> bool:
    # Near-duplicates are thinned out, not faulty.
    return selection < of and measure != SIMILARITY


def _duplicate_row(
    fault: str, clean: Sequence[PairScan], injected: Sequence[dict[int, PairScan]], classes: int
) -> Row:
    """Count copies and their originals as faulty, and as detected if they share a group."""
    aucs, hits, alarms, bad, good = [], 0, 0, 0, 0
    for copies in injected:
        if not copies:
            continue
        mixed = [*clean, *copies.values()]
        table = compare_pairs([str(i) for i in range(len(mixed))], mixed, classes)
        is_bad = np.zeros(len(mixed), bool)
        is_bad[list(copies)] = True
        is_bad[len(clean) :] = True
        aucs.append(_auc(table.values[SIMILARITY], is_bad))
        group_of = np.zeros(len(mixed), int)
        groups = group_layouts(table.links, find_thresholds(table).similarity)
        for number, members in enumerate(groups, start=1):
            group_of[members] = number
        originals = np.array(list(copies))
        together = (group_of[originals] == group_of[len(clean) :]) & (group_of[originals] > 0)
        hits += 2 * int(together.sum())
        alarms += int(((group_of > 0) & ~is_bad).sum())
        bad, good = bad + int(is_bad.sum()), good + int((~is_bad).sum())
    return _row(fault, SIMILARITY, aucs, aucs, hits, alarms, bad, good)


def _row(
    fault: str,
    measure: str,
    aucs: list[float],
    decision_aucs: list[float],
    hits: int,
    alarms: int,
    bad: int,
    good: int,
) -> Row:
    def mean(values: list[float]) -> float:
        return float(np.mean(values)) if values else float("nan")

    return Row(
        fault,
        bad,
        measure,
        mean(aucs),
        mean(decision_aucs),
        hits / (hits + alarms) if hits + alarms else float("nan"),
        hits / bad if bad else float("nan"),
        alarms / good if good else float("nan"),
    )


def _auc(values: NDArray[np.float64], is_bad: NDArray[np.bool_]) -> float:
    """Return the probability of a bad pair's value above a good one's; ties count half."""
    known = np.where(np.isfinite(values), values, -1e9)
    bad, good = known[is_bad], known[~is_bad]
    return float(mannwhitneyu(bad, good).statistic / (len(bad) * len(good)))
