"""The plan of a run: its phases, the items of each, and the progress."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from data.folders import Pair
from data.selections import select_pairs
from options.errors import UserError
from options.schedule import Phase, Schedule
from training.plan import (
    Progress,
    check_batch_sizes,
    check_schedule,
    describe_plan,
    phases_to_run,
    plan_phases,
)

PAIRS = [Pair(f"p{index}", Path(f"p{index}.jpg"), Path(f"p{index}.png")) for index in range(10)]
MAIN = Schedule(
    "main",
    (
        Phase("I", 38, 2, "total", 2e-4),
        Phase("II", 71, 3, "selection_1", 1.2e-3),
        Phase("III", 95, 5, "selection_2", 4e-4),
    ),
)


@pytest.fixture
def selections(tmp_path: Path) -> Path:
    (tmp_path / "selection_1.txt").write_text("".join(f"p{i}\n" for i in range(7)))
    (tmp_path / "selection_2.txt").write_text("p1\np2\n")
    return tmp_path


def select(pairs: list[Pair], selections: Path) -> Callable[[str], list[Pair]]:
    return lambda subset: select_pairs(pairs, selections, subset)


def test_each_phase_has_the_pairs_of_its_subset(selections: Path) -> None:
    plan = plan_phases(MAIN, select(PAIRS, selections), Progress())
    assert [len(planned.items) for planned in plan] == [10, 7, 2]
    # 10 // 2, 7 // 3, and one step of fewer pairs than a batch
    assert [planned.steps_per_epoch for planned in plan] == [5, 2, 1]
    assert [planned.steps for planned in plan] == [190, 66, 24]
    assert plan[1].epochs == range(39, 72)
    assert [planned.steps_done for planned in plan] == [0, 0, 0]


def test_a_run_resumes_within_an_epoch(selections: Path) -> None:
    full = plan_phases(MAIN, select(PAIRS, selections), Progress())
    progress = Progress(step=193, epoch=40, step_in_epoch=1, pairs=full[1].digest)
    plan = plan_phases(MAIN, select(PAIRS, selections), progress)
    assert [planned.phase.name for planned in plan] == ["II", "III"]
    assert plan[0].steps_done == 3
    with pytest.raises(
        UserError,
        match=r"phase II: .* that epoch 40 began with, got others \(6 now",
    ):
        plan_phases(MAIN, select(PAIRS[1:], selections), progress)
    # Between two epochs the pairs may change: the next epoch has its own order.
    plan_phases(MAIN, select(PAIRS[1:], selections), replace(progress, step_in_epoch=0))


def test_a_phase_requires_the_previous_ones(selections: Path) -> None:
    assert [p.name for p in phases_to_run(MAIN, Progress(), "I")] == ["I"]
    assert [p.name for p in phases_to_run(MAIN, Progress(epoch=39), "II")] == ["II"]
    assert phases_to_run(MAIN, Progress(epoch=39), "I") == []
    assert phases_to_run(MAIN, Progress(epoch=96), None) == []
    with pytest.raises(UserError, match=r"--phase III: .* phase I to be complete, got epoch 7 of"):
        phases_to_run(MAIN, Progress(epoch=7), "III")


def test_only_the_phases_to_run_need_their_selections(tmp_path: Path) -> None:
    assert len(plan_phases(MAIN, select(PAIRS, tmp_path), Progress(), "I")) == 1
    with pytest.raises(UserError, match=r"python -m tools\.filter_dataset --input_path"):
        plan_phases(MAIN, select(PAIRS, tmp_path), Progress())


def with_phase(index: int, **changes: object) -> Schedule:
    phases = list(MAIN.phases)
    phases[index] = replace(phases[index], **changes)
    return replace(MAIN, phases=tuple(phases))


def test_phases_that_have_begun_cannot_change() -> None:
    progress = Progress(epoch=45, step_in_epoch=1, phases=MAIN.phases[:2])
    check_schedule(MAIN, progress)
    check_schedule(with_phase(2, learning_rate=1.0, batch_size=7), progress)
    check_schedule(with_phase(1, last_epoch=80), progress)
    check_schedule(with_phase(1, last_epoch=45), progress)
    longer = (*MAIN.phases, Phase("V", 200, 1, "total", 1e-4))
    check_schedule(replace(MAIN, phases=longer), progress)
    for altered in (
        with_phase(0, last_epoch=37),
        with_phase(0, learning_rate=1e-4),
        with_phase(1, batch_size=30),
        with_phase(1, last_epoch=44),
        replace(MAIN, phases=MAIN.phases[:1]),
    ):
        with pytest.raises(UserError, match=r"phase I+ has begun: expected .*, got "):
            check_schedule(altered, progress)


def test_a_finished_run_can_have_more_epochs() -> None:
    progress = Progress(epoch=96, phases=MAIN.phases)
    check_schedule(with_phase(2, last_epoch=120), progress)
    assert [p.name for p in phases_to_run(with_phase(2, last_epoch=120), progress, None)] == ["III"]


def test_batches_divide_by_the_number_of_processes() -> None:
    check_batch_sizes(MAIN.phases, 1)
    check_batch_sizes(MAIN.phases[:1], 2)
    with pytest.raises(UserError, match=r"phase II: .* divides by 2 processes, got 3\. .* 2 or 4"):
        check_batch_sizes(MAIN.phases, 2)


@pytest.mark.parametrize(
    "damage",
    [
        {"step": None},
        {"step": -1},
        {"epoch": "2"},
        {"epoch": True},
        {"seconds": float("nan")},
        {"pairs": 3},
        {"phases": [{"name": "I"}]},
        {"phases": [["I"]]},
        {"phases": [asdict(Phase("I", 2, 2, "total", 1e-3)) | {"batch_size": None}]},
        {"unknown": 1},
    ],
)
def test_a_damaged_progress_is_refused(damage: dict[str, Any]) -> None:
    tree = Progress(step=7, epoch=2).to_dict() | damage
    with pytest.raises((KeyError, TypeError, ValueError)):
        Progress.from_dict(tree)


def test_progress_is_restored_from_json() -> None:
    progress = Progress(12, 3, 1, 4.5, MAIN.phases[:2], "abc")
    assert Progress.from_dict(json.loads(json.dumps(progress.to_dict()))) == progress


def test_the_plan_as_a_table(selections: Path) -> None:
    table = describe_plan(plan_phases(MAIN, select(PAIRS, selections), Progress()))
    assert table.splitlines()[2].split() == [
        *("II", "39-71", "3", "selection_1", "7", "66", "0", "0.0012")
    ]
