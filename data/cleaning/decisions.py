"""From measures to selections: thresholds, decisions, and the pairs to keep of each group.

thresholds = find_thresholds(table)               # from the dataset's own distribution
thresholds = meet_targets(table, thresholds, ...) # or for target shares
decisions = decide(table, thresholds)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data.cleaning.duplicates import Links, group_layouts, select_from_group
from options.errors import UserError
from options.json_text import parse_json
from options.paths import read_bytes, sentence

Worse = Literal["high", "low"]


@dataclass(frozen=True)
class Rule:
    """A rule by which a measure leaves pairs out of a selection.

    Default threshold: median + `deviations` * s, with s = q / 0.385 and q the 30% quantile of the
    distances of the values on the worse side of the median. 0.385 is that quantile of a normal
    distribution; unlike the MAD, so low a quantile hardly changes if a fifth of a dataset is
    faulty. The threshold is never stricter than `limit`, which no faulty pair of any dataset
    reaches, nor more lenient than `cap`, unless half of the dataset is beyond it.
    """

    measure: str
    selection: int
    worse: Worse
    deviations: float
    limit: float
    cap: float
    reason: str

    @property
    def sign(self) -> int:
        """1 if high values are worse, else -1."""
        return 1 if self.worse == "high" else -1


RULES: tuple[Rule, ...] = (
    Rule("border_support", 1, "low", 3.5, 4.0, 2.5, "layout borders do not match photo edges"),
    Rule("shift_gain", 1, "high", 5.0, 0.5, 1.0, "layout fits better when shifted"),
    Rule("mirror_gain", 1, "high", 5.0, 0.5, 1.5, "layout fits better when mirrored"),
    Rule("explained_variance", 1, "low", 5.0, 0.1, 0.03, "classes do not explain the colors"),
    Rule("label_outlier_score", 1, "high", 5.0, 0.5, 0.6, "regions resemble other classes"),
    Rule("outlier_segment", 1, "high", 5.0, 0.6, 0.8, "a region resembles another class"),
    Rule("colorfulness", 1, "low", 5.0, 4.0, 2.5, "photo is gray"),
    Rule("border_density", 1, "high", 5.0, 0.05, 0.09, "interleaved label regions"),
    Rule("thin_share", 1, "high", 5.0, 0.08, 0.25, "thin, thread-like label regions"),
    Rule("island_share", 1, "high", 5.0, 0.02, 0.06, "speckled label regions"),
    Rule("segment_count", 1, "high", 5.0, 500, 2000, "fragmented layout"),
    Rule("backlight", 2, "high", 5.0, 0.25, 0.4, "backlit: black foreground against the sky"),
)
SIMILARITY = "layout_similarity"
_RULE_OF = {rule.measure: rule for rule in RULES}
_GREATEST_FACTOR = 4096.0
_QUANTILE, _NORMAL_QUANTILE = 0.3, 0.385


@dataclass(frozen=True)
class Threshold:
    """Threshold of a measure; the dataset's median; the origin of the number, in words."""

    value: float
    median: float
    origin: str


@dataclass(frozen=True)
class Thresholds:
    """All numbers that determine the decisions, apart from the measures."""

    measures: Mapping[str, Threshold]
    similarity: float = 0.95
    same_photo: float = 0.9
    kept: int = 3

    def to_json(self) -> dict[str, Any]:
        """Return the content of thresholds.json, for `read_thresholds`."""
        return {
            "measures": {
                name: {
                    "selection": _RULE_OF[name].selection,
                    "left_out": "above" if _RULE_OF[name].worse == "high" else "below",
                    "threshold": one.value,
                    "median": one.median,
                    "origin": one.origin,
                }
                for name, one in self.measures.items()
            },
            "duplicates": {
                SIMILARITY: self.similarity,
                "same_photo": self.same_photo,
                "kept": self.kept,
            },
        }


@dataclass(frozen=True)
class Table:
    """All measures of the M readable pairs, in one order: `values[name]` is float64 (M,)."""

    stems: Sequence[str]
    values: Mapping[str, NDArray[np.float64]]
    links: Links
    fingerprints: NDArray[np.int8]


@dataclass(frozen=True)
class Decision:
    """The last selection that holds a pair, and why the next does not; group 0 means none."""

    selection: int
    reason: str = ""
    measure: str = ""
    value: float | None = None
    threshold: float | None = None
    group: int = 0


@dataclass(frozen=True)
class Overrides:
    """Stems that the user keeps in all selections, or drops from all but the total."""

    keep: frozenset[str] = field(default=frozenset())
    drop: frozenset[str] = field(default=frozenset())


def find_thresholds(table: Table) -> Thresholds:
    """Derive every threshold from the dataset's own distribution, see `Rule`."""
    return Thresholds(
        {rule.measure: _threshold(rule, table.values[rule.measure]) for rule in RULES}
    )


def read_thresholds(path: Path | str, found: Thresholds) -> Thresholds:
    """Read thresholds.json; numbers that it lacks are those of `found`.

    A measure is an object with "threshold", or the number alone. Raises UserError if the file has
    another form or unknown names.
    """
    try:
        stored = parse_json(read_bytes(path).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise _invalid(path, "JSON in the form of thresholds.json", str(error)) from None
    if not isinstance(stored, dict) or not set(stored) <= {"measures", "duplicates"}:
        raise _invalid(path, 'an object of "measures" and "duplicates" only', "something else")
    for part in stored.values():
        if not isinstance(part, dict):
            raise _invalid(path, "measures and duplicates as objects", "something else")
    measures = dict(found.measures)
    for name, value in stored.get("measures", {}).items():
        if name not in measures:
            raise _invalid(path, f"measures among {', '.join(measures)}", name)
        given = _read_number(path, name, value)
        if given != measures[name].value:
            origin = f"from {Path(path).name}"
            measures[name] = replace(measures[name], value=given, origin=origin)
    settings = {SIMILARITY: "similarity", "same_photo": "same_photo", "kept": "kept"}
    changes: dict[str, Any] = {}
    for name, value in stored.get("duplicates", {}).items():
        if name not in settings:
            raise _invalid(path, f"settings of duplicates among {', '.join(settings)}", name)
        changes[settings[name]] = _read_number(path, name, value)
    if "kept" in changes:
        if changes["kept"] < 1 or changes["kept"] != int(changes["kept"]):
            raise _invalid(path, "kept as an integer from 1", f"{changes['kept']:g}")
        changes["kept"] = int(changes["kept"])
    return replace(found, measures=measures, **changes)


def _read_number(path: Path | str, name: str, value: Any) -> float:
    if isinstance(value, dict):
        value = value.get("threshold")
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise _invalid(path, f"a number for {name}", json.dumps(value))
    return float(value)


def _invalid(path: Path | str, rule: str, value: str) -> UserError:
    fix = "correct the file, or start from the thresholds.json of an earlier run"
    return UserError(f"{path}: expected {rule}, got {value}. {sentence(fix)}")


def severities(
    table: Table, thresholds: Thresholds, selection: int
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the severity per pair and rule of a selection, (M, R), and the R measures.

    (value - median) / (threshold - median): 0 at the median, 1 at the threshold; pairs above 1 are
    left out. Minus infinity for a measure that is NaN.
    """
    names = [rule.measure for rule in RULES if rule.selection == selection]
    columns = []
    for name in names:
        one, sign = thresholds.measures[name], _RULE_OF[name].sign
        beyond = sign * (table.values[name] - one.value)
        columns.append(1 + beyond / _scale(one, sign))
    stacked = np.stack(columns, axis=1) if columns else np.zeros((len(table.stems), 0))
    return np.where(np.isfinite(stacked), stacked, -np.inf), names


def severity(table: Table, thresholds: Thresholds, selection: int = 1) -> NDArray[np.float64]:
    """Return each pair's highest severity, float64 (M,); pairs above 1 are left out."""
    values, _ = severities(table, thresholds, selection)
    return values.max(axis=1, initial=-np.inf)


def decide(
    table: Table, thresholds: Thresholds, overrides: Overrides | None = None
) -> list[Decision]:
    """Return the decision on each pair, with the measure of the highest severity as the reason."""
    overrides = overrides or Overrides()
    count = len(table.stems)
    groups = group_layouts(table.links, thresholds.similarity)
    group_of = np.zeros(count, dtype=np.int64)
    for number, members in enumerate(groups, start=1):
        group_of[members] = number
    decisions = [Decision(2, group=int(group_of[item])) for item in range(count)]
    # Selection 1 last: its decisions take precedence.
    for selection in (2, 1):
        values, names = severities(table, thresholds, selection)
        worst = values.argmax(axis=1) if names else np.zeros(count, int)
        for item in np.flatnonzero(values.max(axis=1, initial=-np.inf) > 1).tolist():
            name = names[int(worst[item])]
            decisions[item] = Decision(
                selection - 1,
                _RULE_OF[name].reason,
                name,
                float(table.values[name][item]),
                thresholds.measures[name].value,
                int(group_of[item]),
            )
    for item, stem in enumerate(table.stems):
        if stem in overrides.keep:
            decisions[item] = Decision(2, "kept by keep.txt", group=int(group_of[item]))
        elif stem in overrides.drop:
            decisions[item] = Decision(0, "dropped by drop.txt", group=int(group_of[item]))
    _thin_groups(table, thresholds, overrides, groups, decisions)
    return decisions


def _thin_groups(
    table: Table,
    thresholds: Thresholds,
    overrides: Overrides,
    groups: Sequence[Sequence[int]],
    decisions: list[Decision],
) -> None:
    """Leave the surplus members of groups of near-duplicates out of selection 2, in place."""
    quality = quality_of(table)
    for members in groups:
        left = [item for item in members if decisions[item].selection == 2]
        if len(left) < 2:
            continue
        selected = select_from_group(
            table.fingerprints[left],
            quality[left].tolist(),
            thresholds.kept,
            thresholds.same_photo,
            [table.stems[item] in overrides.keep for item in left],
        )
        for item in set(left) - {left[place] for place in selected}:
            decisions[item] = replace(
                decisions[item],
                selection=1,
                reason=f"layout similar to {len(members) - 1} others",
                measure=SIMILARITY,
                value=float(table.values[SIMILARITY][item]),
                threshold=thresholds.similarity,
            )


def quality_of(table: Table) -> NDArray[np.float64]:
    """Return the quality of photos, (M,), to rank near-duplicates: sharpness - 3 clipped_share."""
    return table.values["sharpness"] - 3 * table.values["clipped_share"]


def meet_targets(
    table: Table,
    found: Thresholds,
    targets: tuple[float, float],
    total: int,
    overrides: Overrides | None = None,
) -> Thresholds:
    """Move the thresholds so that selections 1 and 2 hold the target shares of `total` pairs.

    One factor scales the distances of all thresholds of Selection I from their medians. Another
    factor f then scales that of backlight, and the similarity of duplicates:
    1 - f (1 - similarity). Raises UserError if the shares are out of order.
    """
    first, second = targets
    if not 0 < second <= first <= 1:
        raise UserError(
            f"--target: expected shares with 1 >= I >= II > 0, got {first:g} {second:g} "
            "(e.g. the contest's --target 0.81 0.73)."
        )
    overrides = overrides or Overrides()
    moved = _meet_first_target(table, found, first, total, overrides)

    def with_factor(strictness: float) -> Thresholds:
        changed = _scaled(moved, 2, 1 / strictness, f"to keep {second:g} in Selection II")
        similarity = 1 - min(strictness, 6.0) * (1 - found.similarity)
        return replace(changed, similarity=max(similarity, 0.7))

    def left(strictness: float) -> int:
        decisions = decide(table, with_factor(strictness), overrides)
        return sum(one.selection == 2 for one in decisions)

    # Bisection: stricter thresholds keep fewer pairs, up to ties in the selection from groups.
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


def _meet_first_target(
    table: Table, found: Thresholds, share: float, total: int, overrides: Overrides
) -> Thresholds:
    """Scale the thresholds of Selection I so that it holds `share` of `total` pairs."""
    free = np.array(
        [stem not in overrides.keep and stem not in overrides.drop for stem in table.stems], bool
    )
    kept = sum(stem in overrides.keep for stem in table.stems)
    values = np.sort(severity(table, found, 1)[free])
    stay = min(max(round(share * total) - kept, 0), len(values))
    if stay == len(values):
        factor = max(1.0, float(values[-1])) if len(values) else 1.0
    else:
        # The highest severity that stays; half the lowest one if none stays.
        factor = float(values[stay - 1]) if stay else float(values[0]) / 2
        factor = max(factor, 1e-6)
    return _scaled(found, 1, factor, f"to keep {share:g} in Selection I")


def _threshold(rule: Rule, values: NDArray[np.float64]) -> Threshold:
    known = values[np.isfinite(values)]
    if not len(known):
        return Threshold(rule.limit, rule.limit, "no pair has this measure")
    median = float(np.median(known))
    beyond = rule.sign * (known - median)
    spread = float(np.quantile(beyond[beyond >= 0], _QUANTILE)) / _NORMAL_QUANTILE
    robust = median + rule.sign * rule.deviations * spread
    if rule.sign * (rule.limit - robust) > 0:
        return Threshold(rule.limit, median, "the strictest value for any dataset")
    if rule.sign * (robust - rule.cap) > 0 and rule.sign * (rule.cap - median) > 0:
        return Threshold(rule.cap, median, "the most lenient value for any dataset")
    return Threshold(robust, median, f"{rule.deviations:g} deviations from the median")


def _scaled(thresholds: Thresholds, selection: int, factor: float, origin: str) -> Thresholds:
    """Scale the distances of a selection's thresholds from their medians."""
    measures = {}
    for name, one in thresholds.measures.items():
        rule = _RULE_OF[name]
        if rule.selection == selection:
            value = one.value + rule.sign * (factor - 1) * _scale(one, rule.sign)
            one = Threshold(value, one.median, origin)
        measures[name] = one
    return replace(thresholds, measures=measures)


def _scale(threshold: Threshold, sign: int) -> float:
    """Return the distance of a threshold from the median; its size if it is on the better side.

    A threshold on the better side leaves out the median too.
    """
    distance = max(sign * (threshold.value - threshold.median), 0.0)
    return distance if distance > 0 else max(abs(threshold.value), 1e-3)
