"""Held-out pairs: a stable share of the training pairs, or those in DIR/val."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.folders import Pair
from data.held_out import find_validation_pairs, split_pairs
from tests.tiny import write_dataset


def pairs(count: int) -> list[Pair]:
    return [Pair(f"p{i}", Path(f"p{i}.jpg"), Path(f"p{i}.png")) for i in range(count)]


def test_about_the_fraction_is_held_out_and_no_pair_is_on_both_sides() -> None:
    every = pairs(2000)
    rest, held = split_pairs(every, 0.1)
    assert 150 < len(held) < 250
    assert sorted(rest + held) == sorted(every) and not set(rest) & set(held)
    assert rest == [pair for pair in every if pair in set(rest)]  # in their order


def test_a_pair_stays_on_its_side_when_others_are_added() -> None:
    few = set(split_pairs(pairs(500), 0.2)[1])
    assert few == set(split_pairs(pairs(1000), 0.2)[1]) & set(pairs(500))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("fraction", [1e-9, 0.9])
def test_both_sides_have_a_pair(count: int, fraction: float) -> None:
    rest, held = split_pairs(pairs(count), fraction)
    assert rest and held and len(rest) + len(held) == count


def test_one_pair_and_fraction_zero_hold_out_no_pair() -> None:
    assert split_pairs(pairs(1), 0.5) == (pairs(1), [])
    assert split_pairs(pairs(9), 0.0) == (pairs(9), [])


def test_validation_pairs_are_those_in_val(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", pairs=2, tests=1)
    assert find_validation_pairs(root) is None  # val/labels holds test layouts alone
    assert find_validation_pairs(tmp_path) is None
    (root / "val/imgs").mkdir()
    (root / "val/imgs/t0.jpg").write_bytes((root / "train/imgs/p0.png").read_bytes())
    found = find_validation_pairs(root)
    assert found is not None and [pair.stem for pair in found.pairs] == ["t0"]
