"""Aesthetics of image files by NIMA: a distribution of ratings 1 to 10 per image.

    found = measure_aesthetics(find_images("DIR"), network)
    found.mean, found.deviation

Talebi and Milanfar 2018, "NIMA: Neural Image Assessment", section III. The caller passes the
network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.transforms import normalize_planes
from metrics.features import BATCH_SIZE, FeatureNetwork, Progress, pooled_features

SIZE = 224
BEST = 10  # ratings are 1 to this one


@dataclass(frozen=True, eq=False)
class Aesthetics:
    """Mean and standard deviation of the ratings of each image, (N,), in the order of the files."""

    scores: NDArray[np.float64]
    deviations: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The mean score of the images, 1 to 10."""
        return float(self.scores.mean())

    @property
    def deviation(self) -> float:
        """The mean over images of the deviation within the ratings of one image."""
        return float(self.deviations.mean())


def measure_aesthetics(
    paths: Sequence[Path],
    network: FeatureNetwork,
    progress: Progress | None = None,
    batch_size: int = BATCH_SIZE,
) -> Aesthetics:
    """Return the aesthetics of image files.

    network: its features are the probabilities of the ratings 1 to 10. Raises UserError for the
    first file that cannot be read.
    """
    batches = pooled_features(paths, network, progress, batch_size)
    return rate(np.concatenate(list(batches)).astype(np.float64))


def rate(distributions: NDArray[np.float64]) -> Aesthetics:
    """Return mean and deviation of distributions (N, 10) over the ratings 1 to 10.

    score = sum of s p(s); deviation = sqrt(sum of (s - score)^2 p(s)).
    """
    ratings = np.arange(1, BEST + 1)
    scores = distributions @ ratings  # (N,)
    squares = (ratings - scores[:, None]) ** 2
    return Aesthetics(scores, np.sqrt((squares * distributions).sum(axis=1)))


def nima_input(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the input of NIMA as idealo's program makes it, float32 (3, 224, 224) in [-1, 1].

    Nearest pixels, as Keras' `load_img` by default; the aspect ratio is not kept.
    """
    resized = Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.NEAREST)
    return normalize_planes(np.array(resized))
