from __future__ import annotations

import numpy as np
import pytest

from data.transforms import (
    crop,
    denormalize,
    flip,
    instance_edges,
    map_unknown,
    normalize,
    normalize_planes,
    resize_image,
    resize_layout,
)


def test_resized_image_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = resize_image(stripes, 16, 16)
    assert small.shape == (16, 16, 3)
    # Every fourth pixel alone would be all black or all white.
    assert small[:, 2:-2].std() < 3
    assert abs(float(small[:, 2:-2].mean()) - 127.5) < 2


def test_each_axis_is_filtered_by_its_own_scale() -> None:
    stripes = np.zeros((8, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert resize_image(stripes, 32, 16)[:, 2:-2].std() < 3


def test_layout_and_image_stay_registered() -> None:
    layout = np.zeros((60, 90), dtype=np.int32)
    layout[:, 31:] = 1
    layout[23:, :] += 2
    image = np.repeat((layout * 60).astype(np.uint8)[..., None], 3, axis=-1)
    for height, width in ((20, 30), (40, 51), (97, 200)):
        small = resize_layout(layout, height, width)
        assert small.shape == (height, width)
        assert small.dtype == np.int32 and set(np.unique(small)) <= {0, 1, 2, 3}
        pixels = resize_image(image, height, width)[..., 0].astype(float)
        # The photo's edge is within 0.6 pixels of the layout's border.
        row = np.argmax(small[:, 0] == 2)
        column = np.argmax(small[0] == 1)
        assert abs(np.interp(60, pixels[row - 2 : row + 2, 0], [-1.5, -0.5, 0.5, 1.5])) <= 0.6
        assert abs(np.interp(30, pixels[0, column - 2 : column + 2], [-1.5, -0.5, 0.5, 1.5])) <= 0.6


def test_layout_pixel_is_the_nearest_center() -> None:
    layout = np.arange(10, dtype=np.int32)[None].repeat(10, axis=0)
    assert resize_layout(layout, 10, 5)[0].tolist() == [1, 3, 5, 7, 9]
    assert resize_layout(layout, 10, 3)[0].tolist() == [1, 5, 8]
    assert resize_layout(layout, 10, 20)[0].tolist() == [value // 2 for value in range(20)]
    # Symmetric, unless a center falls between two pixels.
    for width in (4, 7, 9, 13):
        mirrored = resize_layout(layout[:, :9][:, ::-1], 10, width)[:, ::-1]
        assert (mirrored == resize_layout(layout[:, :9], 10, width)).all()


@pytest.mark.parametrize(
    ("classes", "unknown", "expected"),
    [
        (29, None, [0, 28, 255]),
        (29, 255, [0, 28, 29]),
        (28, 28, [0, 28, 255]),
        (300, 0, [300, 28, 255]),
    ],
)
def test_unknown_becomes_a_class(classes: int, unknown: int | None, expected: list[int]) -> None:
    layout = np.array([[0, 28, 255]], dtype=np.int32)
    mapped = map_unknown(layout, classes, unknown)
    assert mapped.dtype == np.int32 and mapped.tolist() == [expected]
    assert layout.tolist() == [[0, 28, 255]]


def test_ids_that_count_from_one_become_classes() -> None:
    layout = np.array([[1, 28, 29, 255, 0]], dtype=np.int32)
    assert map_unknown(layout, 29, 255, first_id=1).tolist() == [[0, 27, 28, 29, -1]]
    assert map_unknown(layout, 29, 0, first_id=1).tolist() == [[0, 27, 28, 254, 29]]
    # 29 is the last class, and 29 is also what unknown pixels become
    assert map_unknown(layout, 29, 29, first_id=1).tolist() == [[0, 27, 29, 254, -1]]


def test_flip_and_crop() -> None:
    array = np.arange(24).reshape(4, 6)
    assert flip(array)[0].tolist() == [5, 4, 3, 2, 1, 0]
    assert crop(array, 1, 2, 2, 3).tolist() == [[8, 9, 10], [14, 15, 16]]
    for top, left in ((-1, 0), (3, 0), (0, 4)):
        with pytest.raises(ValueError, match="crop: expected a window inside 4 x 6"):
            crop(array, top, left, 2, 3)


def test_edges_mark_both_sides_of_every_border() -> None:
    instances = np.random.default_rng(0).integers(0, 2, (7, 9))
    edges = instance_edges(instances)
    assert edges.shape == (7, 9) and edges.dtype == np.uint8
    for row in range(7):
        for column in range(9):
            around = [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
            differs = any(
                instances[place] != instances[row, column]
                for place in around
                if 0 <= place[0] < 7 and 0 <= place[1] < 9
            )
            assert edges[row, column] == differs


def test_normalize_is_undone_exactly() -> None:
    levels = np.arange(256, dtype=np.uint8)
    scaled = normalize(levels)
    assert scaled.dtype == np.float32
    assert scaled[0] == -1 and scaled[255] == 1 and np.isclose(scaled[51], -0.6)
    assert (denormalize(scaled) == levels).all()
    assert denormalize(np.array([-1.5, 1.2], dtype=np.float32)).tolist() == [0, 255]


def test_planes_are_the_normalized_channels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    planes = normalize_planes(image)
    assert planes.flags.c_contiguous and planes.dtype == np.float32
    np.testing.assert_array_equal(planes, normalize(image).transpose(2, 0, 1))
