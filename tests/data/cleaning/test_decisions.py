"""Thresholds, decisions, targets and the user's overrides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.cleaning.decisions import (
    RULES,
    SIMILARITY,
    Overrides,
    Rule,
    Table,
    decide,
    find_thresholds,
    meet_targets,
    quality_of,
    read_thresholds,
    severity,
)
from data.cleaning.duplicates import link_layouts, nearest_similarity
from options.errors import UserError

_GOOD = {
    "border_support": (9, 1), "shift_gain": (0, 0), "mirror_gain": (-8, 1),
    "explained_variance": (0.7, 0.05), "label_outlier_score": (0.05, 0.01),
    "outlier_segment": (0.1, 0.02),
    "colorfulness": (40, 6), "border_density": (0.02, 0.003), "thin_share": (0.02, 0.003),
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
    values[SIMILARITY] = nearest_similarity(links)
    fingerprints = rng.integers(-60, 60, (count, 768)).astype(np.int8)
    return Table([f"p{index:03d}" for index in range(count)], values, links, fingerprints)


def test_a_good_dataset_keeps_nearly_all() -> None:
    decisions = decide(_table(), find_thresholds(_table()))
    assert sum(one.selection == 2 for one in decisions) >= 0.97 * 400


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.measure)
def test_each_measure_can_leave_a_pair_out(rule: Rule) -> None:
    table = _table()
    table.values[rule.measure][17] = 1e4 if rule.worse == "high" else -1e4
    thresholds = find_thresholds(table)
    found = decide(table, thresholds)[17]
    assert found.selection == rule.selection - 1
    assert (found.measure, found.reason) == (rule.measure, rule.reason)
    assert found.value == table.values[rule.measure][17]
    assert found.threshold == thresholds.measures[rule.measure].value


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.measure)
def test_thresholds_lie_between_limit_and_cap(rule: Rule) -> None:
    table = _table()
    sign = 1 if rule.worse == "high" else -1
    # With a quarter of the dataset faulty, no threshold is beyond the cap.
    table.values[rule.measure][:100] = sign * 1e3
    value = find_thresholds(table).measures[rule.measure].value
    assert sign * rule.limit <= sign * value <= sign * rule.cap
    # If most of a dataset is beyond the cap, the threshold follows the dataset.
    table.values[rule.measure][:] = sign * 1e4 + np.linspace(0, 1, 400)
    assert sign * find_thresholds(table).measures[rule.measure].value > sign * rule.cap


def test_a_measure_without_values_leaves_no_pair_out() -> None:
    table = _table()
    table.values["border_support"][:] = np.nan
    decisions = decide(table, find_thresholds(table))
    assert not any(one.measure == "border_support" for one in decisions)


def test_the_most_severe_measure_is_the_reason() -> None:
    table = _table()
    table.values["border_density"][3] = 0.3
    table.values["colorfulness"][3] = 2.4
    assert decide(table, find_thresholds(table))[3].measure == "border_density"


def test_a_few_near_duplicates_are_kept() -> None:
    group = (5, 50, 51, 52, 200)
    table = _table(groups=(group,))
    thresholds = find_thresholds(table)
    decisions = decide(table, thresholds)
    left = [item for item in group if decisions[item].selection == 2]
    assert len(left) == 3
    assert max(group, key=lambda item: quality_of(table)[item]) in left
    assert {decisions[item].group for item in group} == {1}
    out = next(item for item in group if item not in left)
    assert decisions[out].measure == SIMILARITY and decisions[out].selection == 1
    assert decisions[out].value == 1 and decisions[out].reason == "layout similar to 4 others"
    assert sum(one.group > 0 for one in decisions) == 5
    kept = decide(table, thresholds, Overrides(keep=frozenset({f"p{out:03d}"})))
    assert kept[out].selection == 2
    assert sum(kept[item].selection == 2 for item in group) == 3


def test_one_of_the_same_photos_is_kept() -> None:
    table = _table(groups=((1, 2),))
    table.fingerprints[2] = table.fingerprints[1]
    decisions = decide(table, find_thresholds(table))
    assert sorted(decisions[item].selection for item in (1, 2)) == [1, 2]


def test_the_user_overrides_decisions() -> None:
    table = _table()
    table.values["colorfulness"][:2] = 0
    overrides = Overrides(frozenset({"p000"}), frozenset({"p009"}))
    decisions = decide(table, find_thresholds(table), overrides)
    assert (decisions[0].selection, decisions[0].reason) == (2, "kept by keep.txt")
    assert decisions[1].selection == 0
    assert (decisions[9].selection, decisions[9].reason) == (0, "dropped by drop.txt")


@pytest.mark.parametrize("targets", [(0.81, 0.73), (0.95, 0.95), (0.6, 0.4), (1.0, 1.0)])
def test_targets_are_met(targets: tuple[float, float]) -> None:
    table = _table()
    thresholds = meet_targets(table, find_thresholds(table), targets, 400)
    decisions = decide(table, thresholds)
    first = sum(one.selection >= 1 for one in decisions)
    second = sum(one.selection == 2 for one in decisions)
    assert abs(first - targets[0] * 400) <= 1
    assert abs(second - targets[1] * 400) <= 4
    highest = severity(table, find_thresholds(table))
    assert highest.shape == (400,)
    worst = np.argsort(highest)
    assert all(decisions[item].selection == 0 for item in worst[first + 1 :])


def test_targets_count_overrides() -> None:
    table = _table()
    overrides = Overrides(frozenset(table.stems[:50]), frozenset(table.stems[100:120]))
    thresholds = meet_targets(table, find_thresholds(table), (0.8, 0.7), 400, overrides)
    decisions = decide(table, thresholds, overrides)
    assert abs(sum(one.selection >= 1 for one in decisions) - 320) <= 1
    assert all(one.selection == 2 for one in decisions[:50])


@pytest.mark.parametrize("targets", [(0.7, 0.8), (1.2, 0.5), (0.5, 0.0)])
def test_impossible_targets_are_rejected(targets: tuple[float, float]) -> None:
    table = _table(50)
    with pytest.raises(UserError, match="--target: expected shares"):
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
    assert sum(one.measure == "backlight" for one in decide(table, changed)) > 300
    path.write_text('{"measures": {"colorfulness": 30}}', encoding="utf-8")
    assert read_thresholds(path, found).measures["colorfulness"].value == 30
    assert replace(read_thresholds(path, found), measures=found.measures) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Expecting"),
        ("[]", "expected an object of"),
        ('{"measure": {}}', "expected an object of"),
        ('{"measures": 3}', "expected measures and duplicates as objects"),
        ('{"measures": {"blur": 1}}', "got blur"),
        ('{"measures": {"backlight": "high"}}', 'expected a number for backlight, got "high"'),
        ('{"measures": {"backlight": {}}}', "got null"),
        ('{"duplicates": {"kept": 0}}', "expected kept as an integer from 1, got 0"),
        ('{"duplicates": {"few": 2}}', "got few"),
    ],
)
def test_an_invalid_file_of_thresholds_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"mine\.json") as caught:
        read_thresholds(path, find_thresholds(_table(40)))
    assert words in str(caught.value)
