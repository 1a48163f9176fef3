"""Links, groups and who stays of a group."""

from __future__ import annotations

import numpy as np
import pytest

from data.cleaning.duplicates import (
    GRID,
    choose_of_group,
    group_layouts,
    layout_grid,
    layout_likeness,
    link_layouts,
    nearest_likeness,
    photograph_likeness,
    photograph_print,
)
from data.cleaning.faults import Others, retaken
from data.cleaning.view import View
from tests.data.cleaning.scenes import draw_scene

CELLS = GRID[0] * GRID[1]


def _grids(count: int, seed: int = 0) -> np.ndarray:
    """Families of layouts that differ in some rows."""
    rng = np.random.default_rng(seed)
    families = rng.integers(0, 40, (max(1, count // 6), 24, 1))
    grids = np.repeat(families, 32, axis=2)[rng.integers(0, len(families), count)]
    for grid in grids:
        grid[: rng.integers(0, 8), : rng.integers(1, 32)] = rng.integers(0, 300)
    return grids.reshape(count, CELLS).astype(np.uint16)


def _groups_by_hand(grids: np.ndarray, threshold: float) -> list[list[int]]:
    alike = (grids[:, None] == grids[None]).mean(axis=2) >= threshold
    reach = alike.copy()
    for _ in range(len(grids).bit_length() + 1):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    groups = {tuple(np.flatnonzero(row).tolist()) for row in reach}
    return sorted(list(group) for group in groups if len(group) > 1)


@pytest.mark.parametrize("threshold", [0.75, 0.9, 0.95, 1.0])
def test_groups_are_those_of_all_pairs(threshold: float) -> None:
    grids = _grids(150)
    assert sorted(group_layouts(link_layouts(grids), threshold)) == _groups_by_hand(
        grids, threshold
    )


def test_nearest_likeness_is_exact() -> None:
    grids = _grids(80, seed=1)
    alike = (grids[:, None] == grids[None]).mean(axis=2)
    np.fill_diagonal(alike, 0)
    expected = np.where(alike.max(axis=1) >= 0.7, alike.max(axis=1), 0)
    assert nearest_likeness(link_layouts(grids)) == pytest.approx(expected, abs=1e-6)
    assert layout_likeness(grids[0], grids[0]) == 1


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count: int) -> None:
    links = link_layouts(np.zeros((count, CELLS), np.uint16))
    assert group_layouts(links, 0.9) == [] and len(nearest_likeness(links)) == count


def test_equal_layouts_are_one_group() -> None:
    seen: list[tuple[int, int]] = []
    links = link_layouts(
        np.zeros((1100, CELLS), np.uint16), progress=lambda *step: seen.append(step)
    )
    assert group_layouts(links, 1.0) == [list(range(1100))]
    assert len(links.first) == 1099 and seen[-1] == (1100, 1100)


def test_light_does_not_change_a_photographs_print() -> None:
    prints = []
    for index in range(4):
        image, layout = draw_scene(index, 192, 256)
        prints.append(photograph_print(View(image, layout)))
        rng = np.random.default_rng(index)
        changed = retaken(image, layout, Others([], np.zeros(0, np.int32)), rng)
        assert changed is not None
        prints.append(photograph_print(View(*changed)))
        assert (layout_grid(View(*changed)) == layout_grid(View(image, layout))).mean() > 0.9
    likeness = photograph_likeness(np.stack(prints))
    same = np.arange(8) // 2
    assert likeness[(same[:, None] == same)].min() > 0.9
    assert likeness[(same[:, None] != same)].max() < 0.8


def _prints(*kinds: int) -> np.ndarray:
    patterns = np.random.default_rng(0).integers(-60, 60, (10, CELLS))
    noise = np.random.default_rng(1).integers(-3, 4, (len(kinds), CELLS))
    return (patterns[list(kinds)] + noise).astype(np.int8)


def test_one_of_equal_photographs_stays_and_a_few_of_different_ones() -> None:
    assert choose_of_group(_prints(0, 0, 0), [1, 3, 2], few=3, same_photograph=0.9) == [1]
    assert choose_of_group(_prints(0, 0, 1), [1, 3, 2], few=3, same_photograph=0.9) == [1, 2]
    assert choose_of_group(_prints(*range(6)), [0, 1, 2, 9, 4, 5], 3, 0.9)[1] in (3, 4, 5)
    assert len(choose_of_group(_prints(*range(6)), [0.0] * 6, 3, 0.9)) == 3


def test_the_best_is_first_and_then_the_most_different() -> None:
    first, second = _prints(0, 1)
    near = (0.8 * first + 0.6 * second).astype(np.int8)
    assert choose_of_group(np.stack([first, near, second]), [3, 2, 1], 2, 0.95) == [0, 2]


def test_sure_ones_stay_in_any_case() -> None:
    assert choose_of_group(
        _prints(0, 0, 1, 2), [9, 1, 1, 1], 1, 0.9, [False, True, True, False]
    ) == [
        1,
        2,
    ]
