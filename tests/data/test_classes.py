from __future__ import annotations

import numpy as np
import pytest

from data.classes import CONTEST_CLASSES, class_names, colorize, palette


def test_contest_classes_keep_their_ids() -> None:
    assert len(CONTEST_CLASSES) == 29
    ids = {"mountain": 0, "sky": 1, "sea": 3, "grass": 12, "lake": 20, "house": 27, "other": 28}
    assert {name: CONTEST_CLASSES.index(name) for name in ids} == ids


@pytest.mark.parametrize(
    ("k", "first", "last"),
    [(29, "mountain", "other"), (30, "mountain", "unknown"), (12, "class 0", "class 11")],
)
def test_names(k: int, first: str, last: str) -> None:
    names = class_names(k)
    assert (len(names), names[0], names[-1]) == (k, first, last)


@pytest.mark.parametrize("k", [1, 2, 12, 29, 30, 182, 183, 256, 1000])
def test_colors_are_distinct(k: int) -> None:
    assert palette(k).dtype == np.uint8
    assert palette(k).shape == (k, 3)
    assert len({tuple(color) for color in palette(k).tolist()}) == k


def test_contest_colors_are_distinct_and_not_gray() -> None:
    colors = palette(30).astype(int)
    distance = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
    assert distance[~np.eye(30, dtype=bool)].min() > 30
    assert not (np.ptp(colors, axis=1) == 0).any()
    assert (palette(29) == colors[:29]).all()


def test_contest_colors_are_natural() -> None:
    color = dict(zip(CONTEST_CLASSES, palette(29).astype(int), strict=True))
    red, green, blue = range(3)
    assert color["sky"].argmax() == blue and color["sky"].sum() > color["sea"].sum() + 200
    assert color["sea"].argmax() == blue
    assert color["grass"].argmax() == color["tree"].argmax() == green
    assert color["sand"].argmax() == red and color["sand"][green] > color["sand"][blue]


def test_other_colors_are_voc() -> None:
    colors = palette(256)
    for index, color in {
        0: (0, 0, 0),
        1: (128, 0, 0),
        15: (192, 128, 128),
        255: (224, 224, 192),
    }.items():
        assert tuple(colors[index]) == color


def test_palette_is_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        palette(12)[0] = 1


def test_colorize() -> None:
    ids = np.array([[[1, 3], [12, 28]]], dtype=np.int32)
    colored = colorize(ids, 29)
    assert colored.shape == (1, 2, 2, 3) and colored.dtype == np.uint8
    assert (colored[0, 1, 0] == palette(29)[12]).all()
    for wrong in (29, -1):
        with pytest.raises(ValueError, match=r"ids: expected 0\.\.28"):
            colorize(np.full((2, 2), wrong), 29)


@pytest.mark.parametrize("k", [0, -1, 65537])
def test_impossible_counts(k: int) -> None:
    with pytest.raises(ValueError, match="number of classes"):
        palette(k)
    with pytest.raises(ValueError, match="number of classes"):
        class_names(k)
