"""Layouts as planes: nearest sampling, instance edges, caching."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest

from models.layouts.layout import Layout, Photos
from tests.models.inputs import shape, values

CLASSES = 5


def _ids() -> np.ndarray:
    return np.random.RandomState(0).randint(0, CLASSES, (2, 12, 18)).astype(np.int32)


@pytest.mark.parametrize("size", [None, (6, 9), (5, 7), (24, 36), (17, 5), (1, 1)])
@pytest.mark.parametrize("instances", [False, True])
def test_one_hot_samples_by_nearest(size: tuple[int, int] | None, instances: bool) -> None:
    ids = _ids()
    edges = (ids[:, None] % 2).astype(np.float32) if instances else None
    layout = Layout(jt.array(ids), CLASSES, None if edges is None else jt.array(edges))
    h, w = size or ids.shape[1:]
    rows, columns = np.arange(h) * 12 // h, np.arange(w) * 18 // w
    sampled = ids[:, rows][:, :, columns]
    expected = (sampled[:, None] == np.arange(CLASSES).reshape(1, -1, 1, 1)).astype(np.float32)
    if edges is not None:
        expected = np.concatenate([expected, edges[:, :, rows][:, :, :, columns]], axis=1)
    planes = layout.one_hot(size)
    np.testing.assert_array_equal(planes.numpy(), expected)
    assert layout.channels == planes.shape[1]
    assert layout.size == (12, 18) and layout.batch_size == 2


@pytest.mark.parametrize("instances", [False, True])
def test_downsample_keeps_every_second_pixel(instances: bool) -> None:
    ids = _ids()
    edges = jt.array((ids[:, None] % 2).astype(np.float32)) if instances else None
    half = Layout(jt.array(ids), CLASSES, edges).downsample()
    np.testing.assert_array_equal(half.ids.numpy(), ids[:, ::2, ::2])
    assert half.size == (6, 9) and half.channels == CLASSES + instances
    if half.edges is not None:
        np.testing.assert_array_equal(half.edges.numpy()[:, 0], ids[:, ::2, ::2] % 2)


def test_planes_are_cached_per_size_and_are_constants() -> None:
    layout = Layout(jt.array(_ids()), CLASSES)
    assert layout.one_hot((6, 9)) is layout.one_hot((6, 9))
    assert layout.one_hot() is layout.one_hot((12, 18))
    assert layout.one_hot().is_stop_grad()


def test_an_id_outside_the_classes_has_no_plane() -> None:
    ids = np.full((1, 12, 18), CLASSES, np.int32)
    assert Layout(jt.array(ids), CLASSES).one_hot().numpy().sum() == 0


def test_shapes() -> None:
    ids = np.random.RandomState(0).randint(0, CLASSES, (3, 7, 9)).astype(np.int32)
    layout = Layout(jt.array(ids), CLASSES)
    assert layout.downsample().size == (3, 4)
    assert shape(layout.one_hot()) == shape(layout.feature()) == (3, CLASSES, 7, 9)
    assert shape(layout.feature((5, 4), by_image=True)) == (3, CLASSES, 5, 4)
    photos = Photos(values(3, 3, 7, 9))
    assert photos.size == (7, 9)
    assert shape(photos.feature()) == (3, Photos.CHANNELS, 7, 9)
