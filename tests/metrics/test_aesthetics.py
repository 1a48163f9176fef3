"""NIMA's scores by hand, its input, and files in batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metrics.aesthetics import measure_aesthetics, nima_input, rate
from metrics.features import FeatureNetwork
from options.errors import UserError


def test_scores_by_hand() -> None:
    uniform, best = np.full(10, 0.1), np.eye(10)[9]
    halves = (np.eye(10)[1] + np.eye(10)[5]) / 2
    found = rate(np.stack([uniform, best, halves]))
    np.testing.assert_allclose(found.scores, [5.5, 10, 4])
    np.testing.assert_allclose(found.deviations, [8.25**0.5, 0, 2])
    assert found.mean == pytest.approx(6.5)
    assert found.deviation == pytest.approx((8.25**0.5 + 2) / 3)


def test_the_input_takes_the_nearest_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (448, 672, 3)).astype(np.uint8)
    found = nima_input(image)
    assert found.dtype == np.float32 and found.shape == (3, 224, 224)
    # pixel i is at (i + 1/2) x 2 and x 3: rows 1, 3, ..., columns 1, 4, ...
    np.testing.assert_allclose(found.transpose(1, 2, 0), image[1::2, 1::3] / 127.5 - 1, atol=1e-6)
    small = np.full((1, 1, 3), 255, np.uint8)
    assert (nima_input(small) == 1).all()


def write_images(folder: Path, reds: list[int]) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(len(reds))]
    for path, red in zip(paths, reds, strict=True):
        Image.fromarray(np.full((4, 6, 3), red, np.uint8)).save(path)
    return paths


def rater() -> FeatureNetwork:
    """The rating is the red of an image, 1 to 10; one batch has at most two images."""

    def ratings(batch: np.ndarray) -> np.ndarray:
        assert len(batch) <= 2
        reds = np.rint((batch[:, 0, 0, 0] + 1) * 127.5).astype(int)
        return np.eye(10, dtype=np.float32)[reds - 1]

    return FeatureNetwork("NIMA", 10, nima_input, ratings)


def test_files_in_batches(tmp_path: Path) -> None:
    reds = [3, 10, 1, 7, 7]
    paths = write_images(tmp_path, reds)
    calls: list[tuple[int, int]] = []
    found = measure_aesthetics(paths, rater(), lambda *done: calls.append(done), batch_size=2)
    assert found.scores.tolist() == reds and not found.deviations.any()
    assert calls == [(2, 5), (4, 5), (5, 5)]
    paths[3].write_bytes(b"text")
    with pytest.raises(UserError, match=r"3\.png: expected an image"):
        measure_aesthetics(paths, rater(), batch_size=2)
