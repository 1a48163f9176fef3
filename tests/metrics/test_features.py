"""Features of image files: which files, in which order and batches, and the networks' inputs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.ownership import OVERVIEW, OutputFolder
from metrics.features import (
    FeatureNetwork,
    efficientnet_input,
    find_images,
    inception_input,
    measure_features,
    pooled_features,
)
from options.errors import UserError


def save(path: Path, color: int, size: tuple[int, int] = (6, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (color, 2 * color, 0)).save(path)
    return path


def color_network(batches: list[int]) -> FeatureNetwork:
    """Maps an image to the values of its first pixel; records the sizes of batches."""

    def pooled(batch: np.ndarray) -> np.ndarray:
        assert batch.dtype == np.float32
        batches.append(len(batch))
        return batch[:, :, 0, 0]

    def prepare(image: np.ndarray) -> np.ndarray:
        return image.transpose(2, 0, 1).astype(np.float32)

    return FeatureNetwork("colors", 3, prepare, pooled)


def test_images_are_found_by_suffix_and_sorted(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "c.webp", "d.tiff", "e.ppm", "f.bmp"):
        save(tmp_path / name, 9)
    Image.new("L", (3, 3)).save(tmp_path / "g.pgm")
    for name in ("notes.txt", "h.gif", ".hidden.jpg", OVERVIEW):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.jpg").mkdir()
    names = [path.name for path in find_images(tmp_path)]
    assert names == ["a.PNG", "b.jpg", "c.webp", "d.tiff", "e.ppm", "f.bmp", "g.pgm"]


def test_a_submission_with_replaced_images_is_complete(tmp_path: Path) -> None:
    """data.listing would take the user's file for the only input."""
    content = save(tmp_path / "made" / "x.png", 5).read_bytes()
    OutputFolder(tmp_path / "out", "").write({"a.png": content, "b.png": content})
    save(tmp_path / "out" / "b.png", 90)
    assert [path.name for path in find_images(tmp_path / "out")] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "expected images, got nothing"),
        (("a.gif",), "a.gif; 1 entry not used in .*not one of pytorch-fid's image formats"),
        (("sub/a.png",), "sub/; 1 entry not used in .*a folder of 1 images; move them up"),
    ],
)
def test_a_folder_without_images(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    for name in names:
        save(folder / name, 1)
    with pytest.raises(UserError, match=words):
        find_images(folder)


@pytest.mark.parametrize(("batch_size", "expected"), [(2, [2, 2, 1]), (5, [5]), (9, [5])])
def test_the_last_short_batch_is_kept_and_the_order_is_that_of_the_files(
    tmp_path: Path, batch_size: int, expected: list[int]
) -> None:
    paths = [save(tmp_path / f"{number}.png", 10 * number) for number in range(5)]
    batches: list[int] = []
    shown: list[tuple[int, int]] = []
    network = color_network(batches)
    features = list(
        pooled_features(paths, network, lambda *done: shown.append(done), batch_size=batch_size)
    )
    assert batches == expected
    wanted = [[10 * number, 20 * number, 0] for number in range(5)]
    np.testing.assert_array_equal(np.concatenate(features), wanted)
    assert shown == [(end, 5) for end in np.cumsum(expected).tolist()]
    found = measure_features(paths, network, batch_size=batch_size)
    assert found.statistics.count == 5
    np.testing.assert_allclose(found.statistics.covariance, np.cov(np.array(wanted).T))
    np.testing.assert_array_equal(found.sample, wanted)


@pytest.mark.parametrize("damage", ["cut", "text", "link"])
def test_an_unreadable_image_is_a_user_error_in_one_line(tmp_path: Path, damage: str) -> None:
    paths = [save(tmp_path / f"{number}.png", number, (40, 40)) for number in range(5)]
    bad = paths[3]
    if damage == "cut":
        bad.write_bytes(bad.read_bytes()[:60])
    elif damage == "text":
        bad.write_text("no image")
    else:
        bad.unlink()
        bad.symlink_to(tmp_path / "gone.png")
    assert bad in find_images(tmp_path)
    with pytest.raises(UserError, match=re.escape(str(bad))) as caught:
        measure_features(paths, color_network([]), batch_size=2)
    assert "\n" not in str(caught.value)


def test_the_input_of_efficientnet_is_antialiased_and_in_minus_1_to_1() -> None:
    image = np.zeros((448, 896, 3), np.uint8)
    image[:, ::2] = 255  # columns alternate: antialiased, they are gray
    image[..., 2] = 255
    found = efficientnet_input(image)
    assert found.shape == (3, 224, 224) and found.dtype == np.float32
    assert np.abs(found[:2, :, 4:-4]).max() < 0.05
    assert (found[2] == 1).all()
    exact = np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    expected = exact.transpose(2, 0, 1) / 127.5 - 1
    np.testing.assert_allclose(efficientnet_input(exact), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(37, 53), (384, 512), (299, 299)])
def test_the_input_of_inception_is_bilinear_between_pixel_centers(size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    expected = image / 255.0
    for axis, length in enumerate(size):
        # align_corners=False: pixel centers at (i + 1/2) * length / 299 - 1/2, clamped to the edge
        place = np.clip((np.arange(299) + 0.5) * length / 299 - 0.5, 0, length - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, length - 1)
        share = np.expand_dims(place - low, tuple(range(1, 3 - axis)))
        before, after = (expected.take(index, axis) for index in (low, high))
        expected = before + (after - before) * share
    found = inception_input(image)
    assert found.shape == (3, 299, 299) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), atol=2e-5)
