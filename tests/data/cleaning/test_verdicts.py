"""Thresholds, verdicts, targets and what a person overrules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.cleaning.duplicates import link_layouts, nearest_likeness
from data.cleaning.verdicts import (
    LIKENESS,
    RULES,
    Overrule,
    Rule,
    Table,
    find_thresholds,
    judge,
    meet_targets,
    quality_of,
    read_thresholds,
    suspicion,
)
from options.errors import UserError

_GOOD = {
    "border_support": (9, 1), "shift_gain": (0, 0), "mirror_gain": (-8, 1),
    "explained_variance": (0.7, 0.05), "oddness": (0.05, 0.01), "odd_segment": (0.1, 0.02),
    "colourfulness": (40, 6), "border_density": (0.02, 0.003), "thin_share": (0.02, 0.003),
    "island_share": (0.0, 0.0), "segment_count": (40, 10), "backlight": (0.02, 0.005),
    "sharpness": (2, 0.1), "clipped_share": (0.01, 0.001),
}  # fmt: skip


def _table(count: int = 400, groups: tuple[tuple[int, ...], ...] = ()) -> Table:
    rng = np.random.default_rng(0)
    values = {name: rng.normal(*spread, count) for name, spread in _GOOD.items()}
    grids = rng.integers(0, 29, (count, 768)).astype(np.uint16)
    for group in groups:
        grids[list(group)] = grids[group[0]]
    links = link_layouts(grids)
    values[LIKENESS] = nearest_likeness(links)
    prints = rng.integers(-60, 60, (count, 768)).astype(np.int8)
    return Table([f"p{index:03d}" for index in range(count)], values, links, prints)


def test_a_good_dataset_keeps_nearly_all() -> None:
    verdicts = judge(_table(), find_thresholds(_table()))
    assert sum(one.selection == 2 for one in verdicts) >= 0.97 * 400


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.measure)
def test_each_measure_can_leave_a_pair_out(rule: Rule) -> None:
    table = _table()
    table.values[rule.measure][17] = 1e4 if rule.worse == "high" else -1e4
    thresholds = find_thresholds(table)
    found = judge(table, thresholds)[17]
    assert found.selection == rule.selection - 1
    assert (found.measure, found.reason) == (rule.measure, rule.reason)
    assert found.value == table.values[rule.measure][17]
    assert found.threshold == thresholds.measures[rule.measure].value


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.measure)
def test_thresholds_lie_between_limit_and_cap(rule: Rule) -> None:
    table = _table()
    sign = 1 if rule.worse == "high" else -1
    # A quarter of the dataset at fault moves no threshold beyond the cap.
    table.values[rule.measure][:100] = sign * 1e3
    value = find_thresholds(table).measures[rule.measure].value
    assert sign * rule.limit <= sign * value <= sign * rule.cap
    # Where most of a dataset lies beyond, the dataset is its own measure.
    table.values[rule.measure][:] = sign * 1e4 + np.linspace(0, 1, 400)
    assert sign * find_thresholds(table).measures[rule.measure].value > sign * rule.cap


def test_a_measure_without_values_leaves_nobody_out() -> None:
    table = _table()
    table.values["border_support"][:] = np.nan
    verdicts = judge(table, find_thresholds(table))
    assert not any(one.measure == "border_support" for one in verdicts)


def test_the_most_severe_measure_speaks() -> None:
    table = _table()
    table.values["border_density"][3] = 0.3
    table.values["colourfulness"][3] = 2.4
    assert judge(table, find_thresholds(table))[3].measure == "border_density"


def test_of_near_duplicates_a_few_stay() -> None:
    group = (5, 50, 51, 52, 200)
    table = _table(groups=(group,))
    thresholds = find_thresholds(table)
    verdicts = judge(table, thresholds)
    left = [item for item in group if verdicts[item].selection == 2]
    assert len(left) == 3
    assert max(group, key=lambda item: quality_of(table)[item]) in left
    assert {verdicts[item].group for item in group} == {1}
    out = next(item for item in group if item not in left)
    assert verdicts[out].measure == LIKENESS and verdicts[out].selection == 1
    assert verdicts[out].value == 1 and verdicts[out].reason == "its layout is like 4 others"
    assert sum(one.group > 0 for one in verdicts) == 5
    kept = judge(table, thresholds, Overrule(keep=frozenset({f"p{out:03d}"})))
    assert kept[out].selection == 2
    assert sum(kept[item].selection == 2 for item in group) == 3


def test_of_the_same_photograph_one_stays() -> None:
    table = _table(groups=((1, 2),))
    table.prints[2] = table.prints[1]
    verdicts = judge(table, find_thresholds(table))
    assert sorted(verdicts[item].selection for item in (1, 2)) == [1, 2]


def test_a_person_overrules() -> None:
    table = _table()
    table.values["colourfulness"][:2] = 0
    overrule = Overrule(frozenset({"p000"}), frozenset({"p009"}))
    verdicts = judge(table, find_thresholds(table), overrule)
    assert (verdicts[0].selection, verdicts[0].reason) == (2, "kept by keep.txt")
    assert verdicts[1].selection == 0
    assert (verdicts[9].selection, verdicts[9].reason) == (0, "dropped by drop.txt")


@pytest.mark.parametrize("targets", [(0.81, 0.73), (0.95, 0.95), (0.6, 0.4), (1.0, 1.0)])
def test_targets_are_met(targets: tuple[float, float]) -> None:
    table = _table()
    thresholds = meet_targets(table, find_thresholds(table), targets, 400)
    verdicts = judge(table, thresholds)
    first = sum(one.selection >= 1 for one in verdicts)
    second = sum(one.selection == 2 for one in verdicts)
    assert abs(first - targets[0] * 400) <= 1
    assert abs(second - targets[1] * 400) <= 4
    worst = np.argsort(suspicion(table, find_thresholds(table)))
    assert all(verdicts[item].selection == 0 for item in worst[first + 1 :])


def test_targets_count_what_is_kept_and_dropped_by_hand() -> None:
    table = _table()
    overrule = Overrule(frozenset(table.stems[:50]), frozenset(table.stems[100:120]))
    thresholds = meet_targets(table, find_thresholds(table), (0.8, 0.7), 400, overrule)
    verdicts = judge(table, thresholds, overrule)
    assert abs(sum(one.selection >= 1 for one in verdicts) - 320) <= 1
    assert all(one.selection == 2 for one in verdicts[:50])


@pytest.mark.parametrize("targets", [(0.7, 0.8), (1.2, 0.5), (0.5, 0.0)])
def test_impossible_targets_are_refused(targets: tuple[float, float]) -> None:
    table = _table(50)
    with pytest.raises(UserError, match="--target takes the shares"):
        meet_targets(table, find_thresholds(table), targets, 50)


def test_thresholds_survive_a_file(tmp_path: Path) -> None:
    table = _table()
    found = find_thresholds(table)
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(found.to_json()), encoding="utf-8")
    assert read_thresholds(path, found) == found
    stored = found.to_json()
    stored["measures"]["backlight"]["threshold"] = 0.01
    stored["duplicates"]["kept"] = 1
    path.write_text(json.dumps(stored), encoding="utf-8")
    changed = read_thresholds(path, found)
    assert changed.measures["backlight"].value == 0.01 and changed.kept == 1
    assert sum(one.measure == "backlight" for one in judge(table, changed)) > 300
    path.write_text('{"measures": {"colourfulness": 30}}', encoding="utf-8")
    assert read_thresholds(path, found).measures["colourfulness"].value == 30
    assert replace(read_thresholds(path, found), measures=found.measures) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Expecting"),
        ("[]", "must hold"),
        ('{"measure": {}}', "must hold"),
        ('{"measures": 3}', "must be objects"),
        ('{"measures": {"blur": 1}}', "blur is no measure"),
        ('{"measures": {"backlight": "high"}}', 'backlight must be a number, and is "high"'),
        ('{"measures": {"backlight": {}}}', "and is null"),
        ('{"duplicates": {"kept": 0}}', "kept must be a whole number"),
        ('{"duplicates": {"few": 2}}', "few is no setting"),
    ],
)
def test_a_wrong_file_of_thresholds_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"mine\.json") as caught:
        read_thresholds(path, find_thresholds(_table(40)))
    assert words in str(caught.value)
