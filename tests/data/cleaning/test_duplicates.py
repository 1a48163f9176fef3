"""Links, groups, and the selection from a group."""

from __future__ import annotations

import numpy as np
import pytest

from data.cleaning.duplicates import (
    GRID,
    group_layouts,
    layout_grid,
    layout_similarity,
    link_layouts,
    nearest_similarity,
    photo_fingerprint,
    photo_similarity,
    select_from_group,
)
from data.cleaning.faults import Others, retaken
from data.cleaning.view import View
from tests.data.cleaning.scenes import make_scene

CELLS = GRID[0] * GRID[1]


def _grids(count: int, seed: int = 0) -> np.ndarray:
    """Return grids (count, 768) of families of layouts that differ in some rows."""
    rng = np.random.default_rng(seed)
    families = rng.integers(0, 40, (max(1, count // 6), 24, 1))
    grids = np.repeat(families, 32, axis=2)[rng.integers(0, len(families), count)]
    for grid in grids:
        grid[: rng.integers(0, 8), : rng.integers(1, 32)] = rng.integers(0, 300)
    return grids.reshape(count, CELLS).astype(np.uint16)


def _groups_of_all_links(grids: np.ndarray, threshold: float) -> list[list[int]]:
    similarity = (grids[:, None] == grids[None]).mean(axis=2) >= threshold
    reach = similarity.copy()
    for _ in range(len(grids).bit_length() + 1):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    groups = {tuple(np.flatnonzero(row).tolist()) for row in reach}
    return sorted(list(group) for group in groups if len(group) > 1)


@pytest.mark.parametrize("threshold", [0.75, 0.9, 0.95, 1.0])
def test_groups_are_those_of_all_links(threshold: float) -> None:
    grids = _grids(150)
    assert sorted(group_layouts(link_layouts(grids), threshold)) == _groups_of_all_links(
        grids, threshold
    )


def test_nearest_similarity_is_exact() -> None:
    grids = _grids(80, seed=1)
    similarity = (grids[:, None] == grids[None]).mean(axis=2)
    np.fill_diagonal(similarity, 0)
    nearest = similarity.max(axis=1)
    expected = np.where(nearest >= 0.7, nearest, 0)
    assert nearest_similarity(link_layouts(grids)) == pytest.approx(expected, abs=1e-6)
    assert layout_similarity(grids[0], grids[0]) == 1


@pytest.mark.parametrize("count", [0, 1])
def test_no_layout_or_one(count: int) -> None:
    links = link_layouts(np.zeros((count, CELLS), np.uint16))
    assert group_layouts(links, 0.9) == [] and len(nearest_similarity(links)) == count


def test_equal_layouts_are_one_group() -> None:
    seen: list[tuple[int, int]] = []
    links = link_layouts(
        np.zeros((1100, CELLS), np.uint16), progress=lambda *step: seen.append(step)
    )
    assert group_layouts(links, 1.0) == [list(range(1100))]
    assert len(links.first) == 1099 and seen[-1] == (1100, 1100)


def test_light_does_not_change_a_fingerprint() -> None:
    fingerprints = []
    for index in range(4):
        image, layout = make_scene(index, 192, 256)
        fingerprints.append(photo_fingerprint(View(image, layout)))
        rng = np.random.default_rng(index)
        changed = retaken(image, layout, Others([], np.zeros(0, np.int32)), rng)
        assert changed is not None
        fingerprints.append(photo_fingerprint(View(*changed)))
        assert (layout_grid(View(*changed)) == layout_grid(View(image, layout))).mean() > 0.9
    assert {(one.shape, one.dtype.name) for one in fingerprints} == {((CELLS,), "int8")}
    similarity = photo_similarity(np.stack(fingerprints))
    assert similarity.shape == (8, 8)
    same = np.arange(8) // 2
    assert similarity[(same[:, None] == same)].min() > 0.9
    assert similarity[(same[:, None] != same)].max() < 0.8


def _fingerprints(*kinds: int) -> np.ndarray:
    patterns = np.random.default_rng(0).integers(-60, 60, (10, CELLS))
    noise = np.random.default_rng(1).integers(-3, 4, (len(kinds), CELLS))
    return (patterns[list(kinds)] + noise).astype(np.int8)


def test_one_of_equal_photos_and_a_few_of_different_ones_are_selected() -> None:
    assert select_from_group(_fingerprints(0, 0, 0), [1, 3, 2], limit=3, same_photo=0.9) == [1]
    assert select_from_group(_fingerprints(0, 0, 1), [1, 3, 2], limit=3, same_photo=0.9) == [1, 2]
    assert select_from_group(_fingerprints(*range(6)), [0, 1, 2, 9, 4, 5], 3, 0.9)[1] in (3, 4, 5)
    assert len(select_from_group(_fingerprints(*range(6)), [0.0] * 6, 3, 0.9)) == 3


def test_the_best_then_the_most_different_are_selected() -> None:
    first, second = _fingerprints(0, 1)
    near = (0.8 * first + 0.6 * second).astype(np.int8)
    assert select_from_group(np.stack([first, near, second]), [3, 2, 1], 2, 0.95) == [0, 2]


def test_required_members_are_always_selected() -> None:
    assert select_from_group(
        _fingerprints(0, 0, 1, 2), [9, 1, 1, 1], 1, 0.9, [False, True, True, False]
    ) == [
        1,
        2,
    ]
