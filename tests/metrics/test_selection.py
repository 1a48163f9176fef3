"""The split of layouts, the best variants, and swaps that keep the distance."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from metrics.frechet import frechet_distance, statistics_of
from metrics.selection import best_variants, choosing_half, swap_in_blocks


def test_half_of_the_layouts_choose_by_a_hash_of_the_stem() -> None:
    stems = [f"{number:05d}_layout" for number in range(101)]
    first = choosing_half(stems)
    assert first.sum() == 51
    digests = [hashlib.sha256(stem.encode()).hexdigest() for stem in stems]
    assert (first == (np.array(digests) <= sorted(digests)[50])).all()
    # numbers are mixed, and the order changes no layout's half
    assert 15 < first[:50].sum() < 35
    assert (choosing_half(stems[::-1]) == first[::-1]).all()
    choosing_half(["\udcba"])  # the name of a file may hold bytes that are not UTF-8


def test_best_variants_need_a_margin() -> None:
    shares = np.array([[0.5, 0.5, 0.5, 0.5, 0.9], [0.505, 0.52, 0.4, 0.6, 0.2], [0, 0, 0, 0.6, 1]])
    start = np.array([0, 0, 0, 0, 0])
    assert best_variants(shares, start, 0.01).tolist() == [0, 1, 0, 1, 2]
    assert best_variants(shares, np.array([2, 1, 1, 0, 0]), 0.2).tolist() == [1, 1, 1, 0, 0]


def variants() -> tuple[list[np.ndarray], np.ndarray]:
    """Features of 6 layouts in two variants, and photos near those of the second one."""
    rng = np.random.default_rng(1)
    first = rng.normal(size=(6, 3))
    second = first + np.array([1, 0, 0]) * np.array([1, 1, 1, 1, -3, -3])[:, None]
    photos = rng.normal(size=(50, 3)) + np.array([1, 0, 0])
    return [first, second], photos


@pytest.mark.parametrize("block", [1, 2, 4])
def test_a_block_is_kept_if_the_distance_falls_or_stays(block: int) -> None:
    features, photos = variants()
    real = statistics_of(photos)
    start, wanted = np.zeros(6, int), np.ones(6, int)
    wanted[3] = 0  # not to be swapped
    gains = np.array([0.1, 0.5, 0.2, 9.0, 0.4, 0.3])
    order = [1, 4, 5, 2, 0]
    choice, kept, blocks = start.copy(), 0, 0
    before = best = frechet_distance(statistics_of(features[0]), real)
    for first in range(0, 5, block):
        trial = choice.copy()
        trial[order[first : first + block]] = 1
        rows = [features[one][row] for row, one in enumerate(trial)]
        distance = frechet_distance(statistics_of(np.array(rows)), real)
        blocks += 1
        if distance <= best:
            choice, best, kept = trial, distance, kept + 1
    shown: list[tuple[int, int]] = []
    swaps = swap_in_blocks(
        features, start, wanted, gains, real, block, lambda *place: shown.append(place)
    )
    assert swaps.choice.tolist() == choice.tolist() and 0 < kept < blocks + (block == 4)
    assert (swaps.kept, swaps.tried) == (kept, blocks)
    assert (swaps.before, swaps.after) == pytest.approx((before, best))
    assert shown[-1] == (blocks, blocks)


@pytest.mark.parametrize(("count", "blocks"), [(5, 5), (32, 32), (70, 35), (600, 38)])
def test_few_images_are_swapped_one_by_one(count: int, blocks: int) -> None:
    features = [np.random.default_rng(seed).normal(size=(count, 2)) for seed in range(2)]
    start = np.zeros(count, int)
    swaps = swap_in_blocks(features, start, start + 1, start, statistics_of(features[0]))
    assert swaps.tried == blocks


def test_equal_features_are_swapped_and_none_is_wanted() -> None:
    features, photos = variants()
    real = statistics_of(photos)
    start = np.zeros(6, int)
    same = swap_in_blocks([features[0], features[0]], start, start + 1, start, real)
    assert same.choice.tolist() == [1] * 6 and same.before == same.after
    none = swap_in_blocks(features, start, start, start, real)
    assert (none.tried, none.choice.tolist()) == (0, [0] * 6)
    assert start.tolist() == [0] * 6
