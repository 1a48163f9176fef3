"""From measures to selections: thresholds, verdicts, and who stays.

thresholds = find_thresholds(table)               # from the dataset's own distribution
thresholds = meet_targets(table, thresholds, ...) # or to keep given shares
verdicts = judge(table, thresholds)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data.cleaning.duplicates import Links, choose_of_group, group_layouts
from options.errors import UserError
from options.json_text import parse_json
from options.paths import read_bytes

Worse = Literal["high", "low"]


@dataclass(frozen=True)
class Rule:
    """How a measure leaves a pair out of a selection.

    Default threshold: median + `deviations` * s, with s = q / 0.385 and q the 30% quantile of the
    distances of the values on the worse side of the median: 0.385 is that quantile of a normal
    distribution, and so low a quantile, unlike the MAD, hardly moves when a fifth of a dataset is
    at fault. It is never stricter than `limit`, at which no pair is at fault in any dataset, nor
    more lenient than `cap`, at which every pair is, unless half of the dataset is beyond it.
    """

    measure: str
    selection: int
    worse: Worse
    deviations: float
    limit: float
    cap: float
    reason: str


RULES: tuple[Rule, ...] = (
    Rule("border_support", 1, "low", 3.5, 4.0, 2.5, "its layout's borders lie on no edges"),
    Rule("shift_gain", 1, "high", 5.0, 0.5, 1.0, "its layout fits better when moved"),
    Rule("mirror_gain", 1, "high", 5.0, 0.5, 1.5, "its layout fits better when mirrored"),
    Rule("explained_variance", 1, "low", 5.0, 0.1, 0.03, "its classes explain no colours"),
    Rule("oddness", 1, "high", 5.0, 0.5, 0.6, "its classes look like others of the dataset"),
    Rule("odd_segment", 1, "high", 5.0, 0.6, 0.8, "a segment looks like another class"),
    Rule("colourfulness", 1, "low", 5.0, 4.0, 2.5, "its photograph is grey"),
    Rule("border_density", 1, "high", 5.0, 0.05, 0.09, "its labels are interleaved"),
    Rule("thin_share", 1, "high", 5.0, 0.08, 0.25, "its labels are threads"),
    Rule("island_share", 1, "high", 5.0, 0.02, 0.06, "its labels are specks"),
    Rule("segment_count", 1, "high", 5.0, 500, 2000, "its layout is in pieces"),
    Rule("backlight", 2, "high", 5.0, 0.25, 0.4, "its foreground is black against the sky"),
)
LIKENESS = "layout_likeness"
_RULE_OF = {rule.measure: rule for rule in RULES}
_GREATEST_FACTOR = 4096.0
_QUANTILE, _NORMAL_QUANTILE = 0.3, 0.385


@dataclass(frozen=True)
class Threshold:
    """Where a measure begins to leave pairs out; `centre` is the dataset's median."""

    value: float
    centre: float
    how: str


@dataclass(frozen=True)
class Thresholds:
    """All numbers that verdicts depend on besides the measures."""

    measures: Mapping[str, Threshold]
    likeness: float = 0.95
    same_photograph: float = 0.9
    kept: int = 3

    def to_json(self) -> dict[str, Any]:
        """Return what `read_thresholds` reads."""
        return {
            "measures": {
                name: {
                    "selection": _RULE_OF[name].selection,
                    "left out where": "above" if _RULE_OF[name].worse == "high" else "below",
                    "threshold": one.value,
                    "centre": one.centre,
                    "how": one.how,
                }
                for name, one in self.measures.items()
            },
            "duplicates": {
                LIKENESS: self.likeness,
                "same_photograph": self.same_photograph,
                "kept": self.kept,
            },
        }


@dataclass(frozen=True)
class Table:
    """All measures of the readable pairs, in one order: `values[name]` is float64 (M,)."""

    stems: Sequence[str]
    values: Mapping[str, NDArray[np.float64]]
    links: Links
    prints: NDArray[np.int8]


@dataclass(frozen=True)
class Verdict:
    """The last selection that a pair is in, and why not in the next; group 0 is none."""

    selection: int
    reason: str = ""
    measure: str = ""
    value: float | None = None
    threshold: float | None = None
    group: int = 0


@dataclass(frozen=True)
class Overrule:
    """Stems that a person keeps in all selections, or drops from all but the total."""

    keep: frozenset[str] = field(default=frozenset())
    drop: frozenset[str] = field(default=frozenset())


def find_thresholds(table: Table) -> Thresholds:
    """Derive every threshold from the dataset's own distribution, as Rule says."""
    return Thresholds(
        {rule.measure: _threshold(rule, table.values[rule.measure]) for rule in RULES}
    )


def read_thresholds(path: Path | str, found: Thresholds) -> Thresholds:
    """Read thresholds.json; what it does not name stays as `found`.

    A measure is an object with "threshold", as written, or the number alone. Raises UserError where
    the file is no such thing or names what there is not.
    """

    def refuse(what: str) -> UserError:
        return UserError(f"a file of thresholds must be as thresholds.json is: {path}: {what}")

    def number(name: str, value: Any) -> float:
        if isinstance(value, dict):
            value = value.get("threshold")
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise refuse(f"{name} must be a number, and is {json.dumps(value)}")
        return float(value)

    try:
        stored = parse_json(read_bytes(path).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise refuse(str(error)) from None
    if not isinstance(stored, dict) or not set(stored) <= {"measures", "duplicates"}:
        raise refuse('it must hold "measures", "duplicates" or both, and nothing else')
    for part in stored.values():
        if not isinstance(part, dict):
            raise refuse("measures and duplicates must be objects")
    measures = dict(found.measures)
    for name, value in stored.get("measures", {}).items():
        if name not in measures:
            raise refuse(f"{name} is no measure with a threshold; they are {', '.join(measures)}")
        given = number(name, value)
        if given != measures[name].value:
            measures[name] = replace(measures[name], value=given, how=f"from {Path(path).name}")
    pairs = {LIKENESS: "likeness", "same_photograph": "same_photograph", "kept": "kept"}
    changes: dict[str, Any] = {}
    for name, value in stored.get("duplicates", {}).items():
        if name not in pairs:
            raise refuse(f"{name} is no setting of duplicates; they are {', '.join(pairs)}")
        changes[pairs[name]] = number(name, value)
    if "kept" in changes:
        if changes["kept"] < 1 or changes["kept"] != int(changes["kept"]):
            raise refuse(f"kept must be a whole number from 1, and is {changes['kept']:g}")
        changes["kept"] = int(changes["kept"])
    return replace(found, measures=measures, **changes)


def severities(
    table: Table, thresholds: Thresholds, selection: int
) -> tuple[NDArray[np.float64], list[str]]:
    """Return how near each pair is to each threshold of a selection: (M, R), and the R measures.

    (value - median) / (threshold - median): 0 at the median, 1 at the threshold, more is left out.
    NaN, what a measure cannot judge, is minus infinity.
    """
    names = [rule.measure for rule in RULES if rule.selection == selection]
    columns = []
    for name in names:
        one = thresholds.measures[name]
        sign = 1 if _RULE_OF[name].worse == "high" else -1
        # A threshold on the better side of the median leaves out the median too.
        room = max(sign * (one.value - one.centre), 0.0)
        beyond = sign * (table.values[name] - one.value)
        scale = room if room > 0 else max(abs(one.value), 1e-3)
        columns.append(1 + beyond / scale)
    stacked = np.stack(columns, axis=1) if columns else np.zeros((len(table.stems), 0))
    return np.where(np.isfinite(stacked), stacked, -np.inf), names


def suspicion(table: Table, thresholds: Thresholds, selection: int = 1) -> NDArray[np.float64]:
    """Return each pair's highest severity, float64 (M,): above 1 is left out."""
    values, _ = severities(table, thresholds, selection)
    return values.max(axis=1, initial=-np.inf)


def judge(table: Table, thresholds: Thresholds, overrule: Overrule | None = None) -> list[Verdict]:
    """Return each pair's verdict; where several measures speak against it, the most severe one."""
    overrule = overrule or Overrule()
    count = len(table.stems)
    groups = group_layouts(table.links, thresholds.likeness)
    group_of = np.zeros(count, dtype=np.int64)
    for number, members in enumerate(groups, start=1):
        group_of[members] = number
    verdicts = [Verdict(2, group=int(group_of[item])) for item in range(count)]
    for selection in (2, 1):
        values, names = severities(table, thresholds, selection)
        worst = values.argmax(axis=1) if names else np.zeros(count, int)
        for item in np.flatnonzero(values.max(axis=1, initial=-np.inf) > 1).tolist():
            name = names[int(worst[item])]
            verdicts[item] = Verdict(
                selection - 1,
                _RULE_OF[name].reason,
                name,
                float(table.values[name][item]),
                thresholds.measures[name].value,
                int(group_of[item]),
            )
    keep = [stem in overrule.keep for stem in table.stems]
    drop = [stem in overrule.drop for stem in table.stems]
    for item in range(count):
        if keep[item]:
            verdicts[item] = Verdict(2, "kept by keep.txt", group=int(group_of[item]))
        elif drop[item]:
            verdicts[item] = Verdict(0, "dropped by drop.txt", group=int(group_of[item]))
    quality = quality_of(table)
    nearest = table.values[LIKENESS]
    for members in groups:
        left = [item for item in members if verdicts[item].selection == 2]
        if len(left) < 2:
            continue
        chosen = choose_of_group(
            table.prints[left],
            quality[left].tolist(),
            thresholds.kept,
            thresholds.same_photograph,
            [keep[item] for item in left],
        )
        stay = {left[place] for place in chosen}
        for item in left:
            if item not in stay:
                verdicts[item] = replace(
                    verdicts[item],
                    selection=1,
                    reason=f"its layout is like {len(members) - 1} others",
                    measure=LIKENESS,
                    value=float(nearest[item]),
                    threshold=thresholds.likeness,
                )
    return verdicts


def quality_of(table: Table) -> NDArray[np.float64]:
    """Rank photographs for who stays of a group: sharpness less 3 times the clipped share."""
    return table.values["sharpness"] - 3 * table.values["clipped_share"]


def meet_targets(
    table: Table,
    found: Thresholds,
    targets: tuple[float, float],
    total: int,
    overrule: Overrule | None = None,
) -> Thresholds:
    """Move the thresholds so that the given shares of `total` pairs stay in selections 1 and 2.

    All thresholds of Selection I move by one factor of their distances from the medians; then
    backlight's, and the likeness that makes duplicates: 1 - f (1 - likeness). Raises UserError for
    shares out of order.
    """
    first, second = targets
    if not 0 < second <= first <= 1:
        raise UserError(
            f"--target takes the shares of Selection I and II, 1 >= I >= II > 0: {first:g} "
            f"{second:g}; the contest's are 0.81 0.73"
        )
    overrule = overrule or Overrule()
    free = np.array(
        [stem not in overrule.keep and stem not in overrule.drop for stem in table.stems], bool
    )
    wanted = round(first * total)
    kept_surely = sum(stem in overrule.keep for stem in table.stems)
    values = np.sort(suspicion(table, found, 1)[free])
    stay = min(max(wanted - kept_surely, 0), len(values))
    if stay == len(values):
        factor = max(1.0, float(values[-1])) if len(values) else 1.0
    else:
        # Between the last that stays and the first that goes; minus infinity is never reached.
        factor = float(values[stay - 1]) if stay else float(values[0]) / 2
        factor = max(factor, 1e-6)
    moved = _scaled(found, 1, factor, f"to keep {first:g} in Selection I")

    def with_factor(strictness: float) -> Thresholds:
        changed = _scaled(moved, 2, 1 / strictness, f"to keep {second:g} in Selection II")
        likeness = 1 - min(strictness, 6.0) * (1 - found.likeness)
        return replace(changed, likeness=max(likeness, 0.7))

    def left(strictness: float) -> int:
        verdicts = judge(table, with_factor(strictness), overrule)
        return sum(one.selection == 2 for one in verdicts)

    # Fewer stay the stricter the thresholds are, but for ties in who stays of a group.
    goal = round(second * total)
    low, high = -np.log(_GREATEST_FACTOR), np.log(_GREATEST_FACTOR)
    best = (abs(left(1.0) - goal), 1.0)
    for _ in range(24):
        middle = (low + high) / 2
        now = left(float(np.exp(middle)))
        best = min(best, (abs(now - goal), float(np.exp(middle))))
        if now == goal:
            break
        low, high = (middle, high) if now > goal else (low, middle)
    return with_factor(best[1])


def _threshold(rule: Rule, values: NDArray[np.float64]) -> Threshold:
    known = values[np.isfinite(values)]
    if not len(known):
        return Threshold(rule.limit, rule.limit, "no pair has this measure")
    sign = 1 if rule.worse == "high" else -1
    centre = float(np.median(known))
    beyond = sign * (known - centre)
    spread = float(np.quantile(beyond[beyond >= 0], _QUANTILE)) / _NORMAL_QUANTILE
    robust = centre + sign * rule.deviations * spread
    if sign * (rule.limit - robust) > 0:
        return Threshold(rule.limit, centre, "never stricter in any dataset")
    if sign * (robust - rule.cap) > 0 and sign * (rule.cap - centre) > 0:
        return Threshold(rule.cap, centre, "never more lenient in any dataset")
    return Threshold(robust, centre, f"{rule.deviations:g} deviations from the median")


def _scaled(thresholds: Thresholds, selection: int, factor: float, how: str) -> Thresholds:
    measures = {}
    for name, one in thresholds.measures.items():
        rule = _RULE_OF[name]
        if rule.selection == selection:
            sign = 1 if rule.worse == "high" else -1
            room = max(sign * (one.value - one.centre), 0.0)
            scale = room if room > 0 else max(abs(one.value), 1e-3)
            one = Threshold(one.value + sign * (factor - 1) * scale, one.centre, how)
        measures[name] = one
    return replace(thresholds, measures=measures)
