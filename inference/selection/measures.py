"""Measures of sets of images, kept for the next start: features, and pixels per image and class."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.files import write_bytes
from data.folders import Pair
from data.ownership import stamp_of
from data.reading import LayoutClasses
from metrics.features import FeatureNetwork, FeatureSet, measure_features, pooled_features
from metrics.frechet import Statistics, frechet_distance, statistics_of
from metrics.image_counts import ImageCounts, count_per_image
from metrics.predictions import Predictor
from metrics.scores import score_2022
from metrics.statistics_file import read_statistics, write_statistics
from options.errors import UserError
from options.paths import look_up
from runtime.progress import ProgressBar

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Network:
    """A network that measures, and a digest of its weights. `what`: its name in messages."""

    what: str
    digest: str
    network: Any


@dataclass(frozen=True, eq=False)
class Quality:
    """The measures of a set of images.

    shares: of equal pixels per image (N,), whose mean is the mask accuracy; None if not measured.
    distance: from the photos. is_fid: whether that is FID, which the contest's score contains.
    """

    shares: NDArray[np.float64] | None
    distance: float
    images: int
    is_fid: bool

    @property
    def mask_accuracy(self) -> float | None:
        """The mask accuracy, None if not measured."""
        return None if self.shares is None else float(self.shares.mean())

    @property
    def objective(self) -> float | None:
        """The score of 2022 without the aesthetic term if FID is known, else the mask accuracy.

        None if mask accuracy is not measured.
        """
        if not self.is_fid:
            return self.mask_accuracy
        return score_2022(self.mask_accuracy, None, self.distance).without_aesthetic

    def is_better_than(self, other: Quality) -> bool:
        """Whether a choice prefers these images to others of the same layouts.

        With FID the objective decides, and of equal ones the mask accuracy: all scores are 0 while
        FID is above 100. Without it no formula weighs the two measures. The mask accuracy decides
        if it differs by more than its standard error (Breiman et al. 1984, the rule of one standard
        error), else the distance. Raises ValueError if mask accuracy is not measured.
        """
        gain, error = self.gain_over(other)
        if self.is_fid:
            return (self.objective, gain) > (other.objective, 0.0)
        return gain > 0 if abs(gain) > error else self.distance < other.distance

    def gain_over(self, other: Quality) -> tuple[float, float]:
        """The mean difference of the shares, image by image, and its standard error.

        Raises ValueError if mask accuracy is not measured.
        """
        if self.shares is None or other.shares is None:
            raise ValueError("mask accuracy: expected a number, got none.")
        differences = self.shares - other.shares
        error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
        return float(differences.mean()), error


class Measurer:
    """Measures images of the layouts of a selection, in the order of the layouts.

    Results are kept in `cache` under digests of network, images and layouts.
    """

    def __init__(
        self,
        layouts: Sequence[Path],
        classes: LayoutClasses,
        features: Network,
        photos: Sequence[Path],
        cache: Path,
        *,
        is_fid: bool,
    ) -> None:
        self.layouts = list(layouts)
        self.classes = classes
        self.cache = cache
        self.is_fid = is_fid
        self._network = features
        self._reading = [classes.classes, classes.unknown_label, classes.first_id]
        self._layout_stamps = [stamp_of(path) for path in layouts]
        self.photos = self._measure_photos(photos)

    def features(self, paths: Sequence[Path], label: str) -> NDArray[np.float32]:
        """Return the features (N, D) of images."""
        network: FeatureNetwork = self._network.network

        def measure(show: Callable[[int, int], object]) -> Arrays:
            parts = list(pooled_features(paths, network, show))
            return {"features": np.concatenate(parts).astype(np.float32)}

        what = [self._network.digest, [stamp_of(path) for path in paths]]
        return self._cached("features", what, f"{network.name}, {label}", measure)["features"]

    def counts(self, segmenter: Network, paths: Sequence[Path], label: str) -> ImageCounts:
        """Return the pixels that a segmenter finds right, of one image per layout."""
        predictor: Predictor = segmenter.network

        def measure(show: Callable[[int, int], object]) -> Arrays:
            found = count_per_image(paths, self.layouts, self.classes, predictor, show)
            return {"correct": found.correct, "pixels": found.pixels}

        stamps = [stamp_of(path) for path in paths]
        what = [segmenter.digest, stamps, self._layout_stamps, self._reading]
        return ImageCounts(**self._cached("counts", what, f"{segmenter.what}, {label}", measure))

    def photo_accuracy(
        self, segmenter: Network, pairs: Sequence[Pair], size: tuple[int, int]
    ) -> float:
        """Return the mask accuracy of a segmenter on photos and their layouts, at a size (H, W).

        It is the most that this segmenter can see in generated images.
        """
        photos = [pair.image_path for pair in pairs]
        layouts = [pair.label_path for pair in pairs]

        def measure(show: Callable[[int, int], object]) -> Arrays:
            found = count_per_image(
                photos, layouts, self.classes, segmenter.network, show, size=size
            )
            return {"accuracy": np.array(found.mask_accuracy)}

        stamps = [stamp_of(path) for path in (*photos, *layouts)]
        what = [segmenter.digest, stamps, self._reading, size]
        work = f"{segmenter.what}, photos"
        return float(self._cached("photo-accuracy", what, work, measure)["accuracy"])

    def quality(
        self,
        counts: ImageCounts | None,
        features: NDArray[np.floating],
        rows: NDArray[np.integer],
    ) -> Quality:
        """Return the measures of the images of some rows, two or more."""
        mask = None if counts is None else counts.take(rows).shares
        distance = frechet_distance(statistics_of(features[rows]), self.photos)
        return Quality(mask, distance, len(rows), self.is_fid)

    def _measure_photos(self, photos: Sequence[Path]) -> Statistics:
        """The statistics of the photos; the key has their sizes and times, not their contents."""
        network: FeatureNetwork = self._network.network
        found = [(str(path), look_up(path)) for path in photos]
        files = [[name, one and [one.st_size, one.st_mtime_ns]] for name, one in found]
        path = self._path("photos", [self._network.digest, files])
        try:
            if path.is_file():
                return read_statistics(path, network.dimensions, network.name).statistics
        except UserError:  # damaged: measured again
            path.unlink()
        with ProgressBar(f"{network.name}, photos", "photos") as show:
            statistics = measure_features(photos, network, show).statistics
        content = io.BytesIO()
        write_statistics(content, FeatureSet(statistics, None))
        self._write(path, content)
        return statistics

    def _cached(
        self,
        kind: str,
        what: object,
        work: str,
        measure: Callable[[Callable[[int, int], object]], Arrays],
    ) -> Arrays:
        path = self._path(kind, what)
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            pass  # not there, or damaged
        with ProgressBar(work, "images") as show:
            found = measure(show)
        content = io.BytesIO()
        np.savez(content, **found)
        self._write(path, content)
        return found

    def _path(self, kind: str, what: object) -> Path:
        digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:24]
        return self.cache / f"{kind}-{digest}.npz"

    def _write(self, path: Path, content: io.BytesIO) -> None:
        self.cache.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content.getvalue(), durable=False)
