"""Each measure against its formula, and its reaction to its fault."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.color import rgb2lab

from data.cleaning.faults import Others, shifted
from data.cleaning.measures import (
    PAIR_MEASURES,
    backlight,
    border_density,
    border_support,
    clipped_share,
    colorfulness,
    explained_variance,
    island_share,
    measure_pair,
    mirror_gain,
    segment_count,
    sharpness,
    shift_gain,
    thin_share,
)
from data.cleaning.view import SIDE, View
from tests.data.cleaning.scenes import make_scene

SIZE = (192, 256)


def _view(layout: np.ndarray, image: np.ndarray | None = None, unknown: int | None = None) -> View:
    if image is None:
        image = np.full((*layout.shape, 3), 128, np.uint8)
    return View(image, layout.astype(np.int32), unknown)


def _halves() -> np.ndarray:
    layout = np.zeros(SIZE, np.int32)
    layout[:, 128:] = 1
    return layout


def test_the_longer_side_of_a_view_is_256() -> None:
    for size in ((384, 512), (48, 64), (96, 128)):
        layout = np.zeros(size, np.int32)
        assert _view(layout).size == SIZE
    view = _view(np.zeros((512, 384), np.int32))
    assert view.size == (SIDE, 192)
    assert view.layout.shape == view.known.shape == view.segments.shape == (SIDE, 192)
    assert view.image.shape == view.lab.shape == (SIDE, 192, 3)
    for arrays in (view.borders, view.edges):
        assert [array.shape for array in arrays] == [(SIDE, 191), (SIDE - 1, 192)]


def test_lab_is_that_of_scikit_image() -> None:
    image, layout = make_scene(1, *SIZE)
    assert np.abs(View(image, layout).lab - rgb2lab(image)).max() < 0.5


def test_border_density_counts_neighbors_that_differ() -> None:
    neighbors = 192 * 255 + 191 * 256
    assert border_density(_view(_halves())) == pytest.approx(192 / neighbors)
    board = np.indices(SIZE).sum(axis=0) % 2
    assert border_density(_view(board)) == 1
    assert border_density(_view(np.zeros(SIZE))) == 0


def test_borders_of_unknown_do_not_count() -> None:
    assert border_density(_view(_halves(), unknown=1)) == 0


def test_thin_share_is_the_area_that_no_block_covers() -> None:
    layout = np.zeros(SIZE)
    layout[:, 100:102] = 1
    assert thin_share(_view(layout)) == pytest.approx(2 / 256)
    layout[:, 100:103] = 1
    assert thin_share(_view(layout)) == 0


def test_islands_and_segments() -> None:
    layout = _halves()
    layout[10:12, 10:12] = 3
    layout[50:60, 50:60] = 4
    view = _view(layout)
    assert island_share(view) == pytest.approx(4 / view.layout.size)
    assert segment_count(view) == 4


@pytest.mark.parametrize("index", range(4))
def test_borders_fit_best_at_their_position(index: int) -> None:
    image, layout = make_scene(index, *SIZE)
    view = View(image, layout)
    assert border_support(view) > 5
    assert shift_gain(view) == 0
    assert mirror_gain(view) < -1
    moved = shifted(image, layout, Others([], np.zeros(0, np.int32)), np.random.default_rng(index))
    assert moved is not None
    view = View(*moved)
    assert border_support(view) < 3 and shift_gain(view) > 2
    flipped = View(image, np.ascontiguousarray(layout[:, ::-1]))
    assert border_support(flipped) < 3 and mirror_gain(flipped) > 2


def test_a_shift_of_one_pixel_does_not_count() -> None:
    image, layout = make_scene(2, *SIZE)
    assert shift_gain(View(image, np.roll(layout, 1, axis=1))) == 0


def test_explained_variance_is_the_correlation_ratio() -> None:
    layout = _halves()
    image = np.zeros((*SIZE, 3), np.uint8)
    image[layout == 1] = 200
    assert explained_variance(_view(layout, image)) == pytest.approx(1, abs=1e-6)
    image[:, ::2] = 200
    image[:, 1::2] = 0
    assert explained_variance(_view(layout, image)) == pytest.approx(0, abs=1e-6)


def test_colorfulness_is_hasler_and_suesstrunks() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    red, green, blue = np.moveaxis(image.astype(float), -1, 0)
    rg, yb = red - green, 0.5 * (red + green) - blue
    expected = math.sqrt(rg.var() + yb.var()) + 0.3 * math.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
    assert colorfulness(_view(np.zeros(SIZE), image)) == pytest.approx(expected, rel=1e-4)
    gray = np.repeat(image[..., :1], 3, axis=2)
    assert colorfulness(_view(np.zeros(SIZE), gray)) == 0


def test_backlight_needs_both_a_bright_sky_and_a_black_foreground() -> None:
    layout = np.zeros(SIZE)

    def of(sky: int, ground: int) -> float:
        image = np.full((*SIZE, 3), ground, np.uint8)
        image[:96] = sky
        return backlight(_view(layout, image))

    assert of(255, 5) > 0.95
    assert of(255, 110) == 0
    assert of(20, 5) == 0
    assert of(255, 30) < of(255, 15)


def test_quality() -> None:
    image, layout = make_scene(0, *SIZE)
    flat = np.full_like(image, 128)
    assert sharpness(View(image, layout)) > sharpness(View(flat, layout))
    assert sharpness(View(flat, layout)) == pytest.approx(-1, abs=1e-3)
    flat[:96] = 255
    assert clipped_share(View(flat, layout)) == pytest.approx(0.5)


def test_a_layout_of_one_class_lacks_some_measures() -> None:
    image, _ = make_scene(0, *SIZE)
    found = measure_pair(View(image, np.zeros(SIZE, np.int32)))
    unknown = {name for name, value in found.items() if math.isnan(value)}
    assert unknown == {"border_support", "shift_gain", "mirror_gain", "explained_variance"}


def test_all_unknown_is_no_error() -> None:
    image, _ = make_scene(0, *SIZE)
    found = measure_pair(View(image, np.full(SIZE, 29, np.int32), unknown=29))
    assert math.isnan(found["explained_variance"])


def test_measures_depend_only_on_the_pair() -> None:
    pairs = [make_scene(index) for index in range(3)]
    first = [measure_pair(View(*pair)) for pair in pairs]
    again = [measure_pair(View(*pair)) for pair in reversed(pairs)][::-1]
    assert first == again


def test_each_measure_documents_its_range() -> None:
    for name, function in PAIR_MEASURES.items():
        text = function.__doc__ or ""
        assert function.__name__ == name
        assert ".." in text or "and more" in text or "below 0" in text, name
