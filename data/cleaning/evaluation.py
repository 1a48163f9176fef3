"""How well the measures and verdicts find what is wrong: plant known faults and count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from data.cleaning.duplicates import group_layouts
from data.cleaning.faults import COPIES, FAULTS, Others
from data.cleaning.survey import Finding, Settings, compare, find
from data.cleaning.verdicts import LIKENESS, RULES, find_thresholds, judge, suspicion
from data.folders import Pair, find_pairs
from data.images import read_image
from data.labels import read_label
from data.transforms import map_unknown
from data.workers import Progress, run_all
from options.errors import UserError

# The measure that is made for a fault; its AUC is reported beside the verdict's.
MEASURE_OF = {
    "swapped": "border_support",
    "shifted": "border_support",
    "mirrored": "mirror_gain",
    "relabelled": "odd_segment",
    "speckled": "border_density",
    "striped": "border_density",
    "backlit": "backlight",
    "duplicate": LIKENESS,
    "retaken": LIKENESS,
}


@dataclass(frozen=True)
class Row:
    """One fault's result. Shares are 0..1; `planted` counts over all rounds."""

    fault: str
    planted: int
    measure: str
    measure_auc: float
    verdict_auc: float
    precision: float
    recall: float
    clean_dropped: float


@dataclass(frozen=True)
class Evaluation:
    """All faults' results, and what the default thresholds do to the clean dataset."""

    source: str
    pairs: int
    rows: list[Row]
    clean_out_of_1: float
    clean_backlit: float
    clean_thinned: float

    def text(self) -> str:
        """Return a table for reading."""
        lines = [
            f"{self.source}: {self.pairs} pairs",
            f"{'fault':12}{'planted':>8}  {'measure':16}{'AUC':>7}{'verdict':>9}{'precision':>11}"
            f"{'recall':>8}{'clean out':>11}",
        ]
        lines += [
            f"{row.fault:12}{row.planted:8}  {row.measure:16}{row.measure_auc:7.3f}"
            f"{row.verdict_auc:9.3f}{row.precision:11.3f}{row.recall:8.3f}"
            f"{100 * row.clean_dropped:10.1f}%"
            for row in self.rows
        ]
        lines.append(
            f"without faults: {100 * self.clean_out_of_1:.1f}% left out of selection_1; "
            f"{100 * self.clean_backlit:.1f}% more of selection_2 as back-lit, "
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
    """Plant faults in `count` pairs spread over a dataset and report what is found.

    Raises UserError where there are under 40 pairs, as nothing robust is known of fewer.
    """
    chosen = list(faults) if faults is not None else [*FAULTS, *COPIES]
    unknown = sorted(set(chosen) - set(MEASURE_OF))
    if unknown:
        raise UserError(f"a fault must be one of {', '.join(MEASURE_OF)}: {unknown[0]}")
    if not 0 < share < 0.5 or rounds < 1:
        raise UserError(f"share must be in 0..0.5 and rounds 1 or more: {share:g}, {rounds}")
    pairs = find_pairs(input_path).pairs
    pairs = [pairs[i * len(pairs) // count] for i in range(count)] if count < len(pairs) else pairs
    if len(pairs) < 40:
        raise UserError(f"an evaluation needs 40 pairs or more: {input_path} has {len(pairs)}")
    settings = Settings(classes, unknown_label)
    plan = [
        (i, fault, seed + round_)
        for fault in chosen
        for round_ in range(rounds)
        for i in _marked(len(pairs), share, seed + round_, fault)
    ]
    steps = len(pairs) + len(plan)

    def measure(
        tasks: list[tuple[int, str, int]], kinds: NDArray[np.int32], before: int
    ) -> list[Finding | None]:
        def show(done: int, total: int) -> None:
            if progress is not None:
                progress(before + done, steps)

        return run_all(_Planter, (pairs, settings, kinds), tasks, workers=workers, progress=show)

    untouched = measure([(i, "", 0) for i in range(len(pairs))], np.zeros(0, np.int32), 0)
    clean = [one for one in untouched if one is not None]
    kinds = np.unique(np.concatenate([one.grid for one in clean])).astype(np.int32)
    planted_ones = measure(plan, kinds[kinds < classes], len(pairs))
    found = dict(zip(plan, planted_ones, strict=True))
    rows = []
    for fault in chosen:
        planted = [
            {
                i: one
                for (i, name, s), one in found.items()
                if (name, s) == (fault, seed + r) and one
            }
            for r in range(rounds)
        ]
        tell = _duplicate_row if fault in COPIES else _fault_row
        rows.append(tell(fault, clean, planted, classes))
    table = compare([str(i) for i in range(len(clean))], clean, classes)
    verdicts = judge(table, find_thresholds(table))
    return Evaluation(
        Path(input_path).name,
        len(pairs),
        rows,
        float(np.mean([one.selection == 0 for one in verdicts])),
        float(np.mean([one.selection == 1 and one.measure != LIKENESS for one in verdicts])),
        float(np.mean([one.selection == 1 and one.measure == LIKENESS for one in verdicts])),
    )


class _Layouts(Sequence):
    """The dataset's layouts, read when asked for."""

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


class _Planter:
    """Reads a pair, plants a fault in it and measures it; None where the fault would not show."""

    def __init__(self, pairs: list[Pair], settings: Settings, kinds: NDArray[np.int32]) -> None:
        self._pairs, self._settings = pairs, settings
        self._layouts = _Layouts(pairs, settings)
        self._others = Others(self._layouts, kinds, settings.unknown)
        cv2.setNumThreads(1)

    def __call__(self, task: tuple[int, str, int]) -> Finding | None:
        index, fault, seed = task
        image, layout = read_image(self._pairs[index].image_path), self._layouts[index]
        if image.shape[:2] != layout.shape:
            image = cv2.resize(image, layout.shape[::-1], interpolation=cv2.INTER_AREA)
        if fault:
            plant = COPIES[fault] if fault in COPIES else FAULTS[fault]
            rng = np.random.default_rng([seed, index, list(MEASURE_OF).index(fault)])
            made = plant(image, layout, self._others, rng)
            if made is None:
                return None
            image, layout = made
        return find(image, layout, self._settings)


def _marked(count: int, share: float, seed: int, fault: str) -> list[int]:
    rng = np.random.default_rng([seed, list(MEASURE_OF).index(fault)])
    return sorted(rng.permutation(count)[: max(1, round(share * count))].tolist())


def _fault_row(
    fault: str, clean: Sequence[Finding], planted: Sequence[dict[int, Finding]], classes: int
) -> Row:
    measure = MEASURE_OF[fault]
    rule = next(rule for rule in RULES if rule.measure == measure)
    sign = 1 if rule.worse == "high" else -1
    aucs, verdict_aucs, hits, alarms, bad, good = [], [], 0, 0, 0, 0
    for marked in planted:
        if not marked:
            continue
        mixed = [marked.get(i, one) for i, one in enumerate(clean)]
        table = compare([str(i) for i in range(len(mixed))], mixed, classes)
        thresholds = find_thresholds(table)
        is_bad = np.zeros(len(mixed), bool)
        is_bad[list(marked)] = True
        aucs.append(_auc(sign * table.values[measure], is_bad))
        verdict_aucs.append(_auc(suspicion(table, thresholds, rule.selection), is_bad))
        verdicts = judge(table, thresholds)
        out = np.array([_left_out(one.selection, one.measure, rule.selection) for one in verdicts])
        hits += int((out & is_bad).sum())
        alarms += int((out & ~is_bad).sum())
        bad, good = bad + int(is_bad.sum()), good + int((~is_bad).sum())
    return _row(fault, measure, aucs, verdict_aucs, hits, alarms, bad, good)


def _left_out(selection: int, measure: str, of: int) -> bool:
    # Near-duplicates are thinned, not at fault.
    return selection < of and measure != LIKENESS


def _duplicate_row(
    fault: str, clean: Sequence[Finding], planted: Sequence[dict[int, Finding]], classes: int
) -> Row:
    """A copy and its original are the faulty ones; found are those in one group."""
    aucs, hits, alarms, bad, good = [], 0, 0, 0, 0
    for copies in planted:
        if not copies:
            continue
        mixed = [*clean, *copies.values()]
        table = compare([str(i) for i in range(len(mixed))], mixed, classes)
        is_bad = np.zeros(len(mixed), bool)
        is_bad[list(copies)] = True
        is_bad[len(clean) :] = True
        aucs.append(_auc(table.values[LIKENESS], is_bad))
        group_of = np.zeros(len(mixed), int)
        groups = group_layouts(table.links, find_thresholds(table).likeness)
        for number, members in enumerate(groups, start=1):
            group_of[members] = number
        originals = np.array(list(copies))
        together = (group_of[originals] == group_of[len(clean) :]) & (group_of[originals] > 0)
        hits += 2 * int(together.sum())
        alarms += int(((group_of > 0) & ~is_bad).sum())
        bad, good = bad + int(is_bad.sum()), good + int((~is_bad).sum())
    return _row(fault, LIKENESS, aucs, aucs, hits, alarms, bad, good)


def _row(
    fault: str,
    measure: str,
    aucs: list[float],
    verdict_aucs: list[float],
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
        mean(verdict_aucs),
        hits / (hits + alarms) if hits + alarms else float("nan"),
        hits / bad if bad else float("nan"),
        alarms / good if good else float("nan"),
    )


def _auc(values: NDArray[np.float64], is_bad: NDArray[np.bool_]) -> float:
    """Probability that a bad pair's value is higher than a good one's; ties count half."""
    known = np.where(np.isfinite(values), values, -1e9)
    bad, good = known[is_bad], known[~is_bad]
    return float(mannwhitneyu(bad, good).statistic / (len(bad) * len(good)))
