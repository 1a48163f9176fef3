"""Random crops: registered with the photo, inside the range of scales, padded, and colored."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from data.random_crops import CropRecipe, jitter_colors, random_crop

PLAIN = CropRecipe(
    height=24, width=32, ignored=9, min_scale=1.0, max_scale=1.0, color_jitter=False, flip=False
)


def pair(height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A photo whose red channel is 20 times the class; blocks of 8 pixels."""
    grid = np.random.default_rng(3).integers(0, 5, (height // 8, width // 8))
    layout = np.kron(grid, np.ones((8, 8), int)).astype(np.int32)
    photo = np.stack([layout * 20, layout * 0 + 100, layout * 0 + 50], axis=-1)
    return photo.astype(np.uint8), layout


def crops(recipe: CropRecipe, count: int = 40) -> list[tuple[np.ndarray, np.ndarray]]:
    photo, layout = pair()
    return [random_crop(photo, layout, recipe, np.random.default_rng(i)) for i in range(count)]


def test_photo_and_layout_stay_registered() -> None:
    for flip in (False, True):
        for photo, layout in crops(replace(PLAIN, min_scale=2.0, max_scale=2.0, flip=flip)):
            assert photo.shape == (24, 32, 3) and layout.shape == (24, 32)
            assert photo.dtype == np.uint8 and layout.dtype == np.int32
            # Scale 2 of 24 rows is the photo's own size: no pixel is interpolated.
            np.testing.assert_array_equal(photo[..., 0], layout * 20)


def test_the_shorter_side_has_a_random_scale_and_the_aspect_ratio_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[tuple[int, int]] = []

    def resize(photo: np.ndarray, height: int, width: int) -> np.ndarray:
        sizes.append((height, width))
        return np.zeros((height, width, 3), np.uint8)

    monkeypatch.setattr("data.random_crops.resize_image", resize)
    crops(replace(PLAIN, min_scale=0.5, max_scale=2.0), 200)
    heights = np.array([height for height, _ in sizes])
    assert heights.min() < 15 and heights.max() > 44
    assert heights.min() >= 12 and heights.max() <= 48
    assert all(abs(width - height * 64 / 48) <= 1 for height, width in sizes)


def test_a_smaller_photo_is_padded_with_the_ignored_class() -> None:
    for photo, layout in crops(replace(PLAIN, min_scale=0.5, max_scale=0.5)):
        assert (layout[12:] == 9).all() and (layout[:, 16:] == 9).all()
        assert not photo[12:].any() and not photo[:, 16:].any()
        assert (layout[:12, :16] < 5).all()


def test_flips_half_of_the_crops() -> None:
    recipe = replace(PLAIN, height=48, width=64)
    photo, layout = pair()
    flipped = 0
    for seed in range(60):
        found = random_crop(photo, layout, replace(recipe, flip=True), np.random.default_rng(seed))
        plain = random_crop(photo, layout, recipe, np.random.default_rng(seed))
        np.testing.assert_array_equal(plain[1], layout)
        flipped += bool((found[1] == layout[:, ::-1]).all())
    assert 20 < flipped < 40


def test_a_crop_of_one_class_is_rejected() -> None:
    layout = np.zeros((24, 320), np.int32)
    layout[:, 300:] = 1
    photo = np.zeros((24, 320, 3), np.uint8)

    def mixed(share: float) -> float:
        found = 0
        for seed in range(60):
            recipe = replace(PLAIN, max_class_share=share)
            _, crop = random_crop(photo, layout, recipe, np.random.default_rng(seed))
            found += len(np.unique(crop)) > 1
        return found / 60

    assert mixed(1.0) < 0.2  # 20 of 289 windows
    assert mixed(0.9) > 0.3  # one of ten tries in 17 of 289


def test_colors_change_as_in_their_formulas() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype(np.uint8)
    hsv = cv2.cvtColor(photo, cv2.COLOR_RGB2HSV)

    class Script:
        """Answers in the order of the questions: switches, then values."""

        def __init__(self, integers: list[int], uniforms: list[float]) -> None:
            self.integer, self.real = iter(integers), iter(uniforms)

        def integers(self, *_: int) -> int:
            return next(self.integer)

        def uniform(self, *_: float) -> float:
            return next(self.real)

    def jitter(integers: list[int], uniforms: list[float]) -> np.ndarray:
        return jitter_colors(photo, Script(integers, uniforms))

    # brightness; contrast last; contrast; saturation; hue
    np.testing.assert_array_equal(jitter([0, 0, 0, 0, 0], []), photo)
    brighter = np.clip(photo.astype(int) + 20, 0, 255)
    np.testing.assert_array_equal(jitter([1, 0, 0, 0, 0], [20.0]), brighter)
    contrast = np.clip(np.rint(photo * 1.5), 0, 255)
    for last in (0, 1):
        np.testing.assert_array_equal(jitter([0, last, 1, 0, 0], [1.5]), contrast)
    both = cv2.cvtColor(jitter([0, 0, 0, 1, 1, 10], [0.5]), cv2.COLOR_RGB2HSV)
    assert abs(float(both[..., 1].mean()) / float(hsv[..., 1].mean()) - 0.5) < 0.02
    turned = hsv.copy()
    turned[..., 0] = (hsv[..., 0].astype(int) + 10) % 180
    expected = cv2.cvtColor(turned, cv2.COLOR_HSV2RGB)
    np.testing.assert_array_equal(jitter([0, 0, 0, 0, 1, 10], []), expected)
    # Contrast before and after another saturation gives other colors.
    first, second = (jitter([0, last, 1, 1, 0], [1.5, 0.5]) for last in (0, 1))
    assert (first != second).any()


def test_half_of_the_photos_get_a_new_brightness() -> None:
    gray = np.full((2, 2, 3), 100, np.uint8)
    means = [int(jitter_colors(gray, np.random.default_rng(i)).mean()) for i in range(300)]
    unchanged = sum(mean == 100 for mean in means)
    assert 50 < unchanged < 110  # neither brightness nor contrast: a quarter
    assert min(means) >= 34 and max(means) <= 198
