"""Injected faults change as much as documented, and only if they show."""

from __future__ import annotations

import numpy as np
import pytest

from data.cleaning.faults import (
    FAULTS,
    Others,
    backlit,
    mirrored,
    relabeled,
    relit,
    retaken,
    shifted,
    speckled,
    striped,
    swapped,
)
from tests.data.cleaning.scenes import make_scene

OTHERS = Others(
    [np.full((50, 60), 3, np.int32), make_scene(9)[1]], np.array([1, 5, 20, 22], np.int32), None
)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_depends_on_its_seed_and_keeps_the_clean_pair(name: str) -> None:
    image, layout = make_scene(0)
    before = image.copy(), layout.copy()
    first = FAULTS[name](image, layout, OTHERS, np.random.default_rng(3))
    again = FAULTS[name](image, layout, OTHERS, np.random.default_rng(3))
    assert first is not None and again is not None
    assert all(np.array_equal(*both) for both in zip(first, again, strict=True))
    assert np.array_equal(image, before[0]) and np.array_equal(layout, before[1])
    assert first[0].dtype == np.uint8 and first[0].shape == image.shape
    assert first[1].dtype == np.int32 and first[1].shape == layout.shape
    assert not (np.array_equal(first[0], image) and np.array_equal(first[1], layout))


def test_size_of_the_changes() -> None:
    image, layout = make_scene(0)
    rng = np.random.default_rng(0)
    made = swapped(image, layout, OTHERS, rng)
    assert made is not None and (made[1] == layout).mean() < 0.6
    made = shifted(image, layout, OTHERS, rng)
    assert made is not None and 0.03 <= (made[1] != layout).mean() < 0.5
    made = mirrored(image, layout, OTHERS, rng)
    assert made is not None and np.array_equal(made[1], layout[:, ::-1])
    made = speckled(image, layout, OTHERS, rng)
    assert made is not None and 0.02 < (made[1] != layout).mean() < 0.06
    made = striped(image, layout, OTHERS, rng)
    assert made is not None and 0.05 < (made[1] != layout).mean() < 0.6
    made = backlit(image, layout, OTHERS, rng)
    assert made is not None and made[0][layout == 5].mean() < 20 < 200 < made[0][:10].mean()
    lit, same = relit(image, layout, OTHERS, rng)
    assert np.array_equal(same, layout) and np.abs(lit.astype(int) - image).mean() > 3
    layout = make_scene(0, 384, 512)[1]
    made = retaken(np.zeros((384, 512, 3), np.uint8), layout, OTHERS, rng)
    assert made is not None and 0.9 < (made[1] == layout).mean() < 1


def test_20_percent_of_the_segments_are_relabeled() -> None:
    layout = np.repeat(np.arange(10, dtype=np.int32), 10)[None].repeat(80, axis=0)
    made = relabeled(np.zeros((80, 100, 3), np.uint8), layout, OTHERS, np.random.default_rng(1))
    assert made is not None
    changed = np.unique(layout[made[1] != layout])
    assert len(changed) == 2 and set(np.unique(made[1][made[1] != layout])) <= {1, 5, 20, 22}


def test_no_fault_if_it_would_not_show() -> None:
    image, _ = make_scene(0)
    flat = np.zeros(image.shape[:2], np.int32)
    rng = np.random.default_rng(0)
    assert shifted(image, flat, OTHERS, rng) is None
    assert mirrored(image, flat, OTHERS, rng) is None
    assert relabeled(image, flat, OTHERS, rng) is None
    same = Others([flat], np.array([0], np.int32))
    assert swapped(image, flat, same, rng) is None
    assert backlit(np.full_like(image, 90), flat, OTHERS, rng) is None


def test_unknown_segments_are_not_relabeled() -> None:
    layout = np.zeros((60, 80), np.int32)
    layout[:, 40:] = 29
    others = Others([], np.array([0, 1], np.int32), unknown=29)
    image = np.zeros((60, 80, 3), np.uint8)
    assert relabeled(image, layout, others, np.random.default_rng(0)) is None
