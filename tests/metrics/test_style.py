"""Both guesses of the style similarity, compared with OpenCV's histograms and correlation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from metrics.style import correlation, hue_similarity, joint_similarity


def random_image(seed: int, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    """Blobs of few colors, so that bins fill unevenly."""
    random = np.random.default_rng(seed)
    colors = random.integers(0, 256, (9, 3))
    noise = random.integers(-20, 20, (*size, 3))
    return np.clip(colors[random.integers(0, 9, size)] + noise, 0, 255).astype(np.uint8)


def all_colors() -> np.ndarray:
    steps = np.arange(0, 256, 5, dtype=np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps), -1).reshape(len(steps), -1, 3)


def opencv_similarity(
    image: np.ndarray, photo: np.ndarray, code: int, bins: list[int], ranges: list[int]
) -> float:
    channels = list(range(len(bins)))
    # flat: Python's binding takes the last of three axes for channels, and counts bins without it
    histograms = [
        cv2.calcHist(
            [cv2.cvtColor(one[..., ::-1].copy(), code)], channels, None, bins, ranges
        ).ravel()
        for one in (image, photo)
    ]
    return cv2.compareHist(histograms[0], histograms[1], cv2.HISTCMP_CORREL)


PAIRS = [
    (random_image(0), random_image(1)),
    (random_image(2), random_image(2)[:, ::-1]),
    (random_image(3), random_image(4, (17, 90))),
    (all_colors(), random_image(5)),
    (random_image(6) // 9, np.full((8, 8, 3), 255, np.uint8)),
]


@pytest.mark.parametrize(("image", "photo"), PAIRS)
def test_the_hue_is_that_of_opencv(image: np.ndarray, photo: np.ndarray) -> None:
    expected = opencv_similarity(image, photo, cv2.COLOR_BGR2HSV, [180], [0, 180])
    assert hue_similarity(image, photo) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("image", "photo"), PAIRS)
def test_the_joint_histograms_are_those_of_opencv(image: np.ndarray, photo: np.ndarray) -> None:
    bgr = opencv_similarity(image, photo, cv2.COLOR_RGB2RGBA, [16] * 3, [0, 256] * 3)
    hsv_ranges = [0, 180, 0, 256, 0, 256]
    hsv = opencv_similarity(image, photo, cv2.COLOR_BGR2HSV, [8, 3, 3], hsv_ranges)
    assert joint_similarity(image, photo) == pytest.approx((bgr + hsv) / 2, abs=1e-6)


def test_equal_images_of_any_size_have_similarity_1() -> None:
    image = random_image(7)
    doubled = image.repeat(2, axis=0).repeat(3, axis=1)
    for similarity in (hue_similarity, joint_similarity):
        assert similarity(image, image) == pytest.approx(1, abs=1e-12)
        assert similarity(image, doubled) == pytest.approx(1, abs=1e-12)


def test_a_reversed_histogram_of_two_bins_correlates_at_minus_1() -> None:
    assert correlation(np.array([3, 8]), np.array([8, 3])) == pytest.approx(-1, abs=1e-15)
    assert correlation(np.array([3, 8]), np.array([30, 80])) == pytest.approx(1, abs=1e-15)


def test_a_flat_histogram_correlates_at_1_as_in_opencv() -> None:
    flat, other = np.array([5, 5, 5]), np.array([1, 2, 9])
    assert correlation(flat, other) == correlation(other, flat) == correlation(flat, flat) == 1
    as_floats = flat.astype(np.float32), other.astype(np.float32)
    assert cv2.compareHist(as_floats[0], as_floats[1], cv2.HISTCMP_CORREL) == 1


def test_gray_images_have_equal_hues() -> None:
    dark, light = (np.full((9, 9, 3), value, np.uint8) for value in (20, 230))
    assert hue_similarity(dark, light) == pytest.approx(1)
    assert joint_similarity(dark, light) < 0.1


def test_red_is_at_both_ends_of_the_hues() -> None:
    purplish = np.full((4, 4, 3), (255, 0, 20), np.uint8)  # hue 178 of 180
    orange = np.full((4, 4, 3), (255, 20, 0), np.uint8)  # hue 2
    assert hue_similarity(purplish, orange) < 0.1
