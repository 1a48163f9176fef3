"""The rows of the aesthetic measures: NIMA on image files, and the contrastive scorer.

rows = measure_aesthetic(images, load_rater(path)) + measure_contrast(made, real, "FILE.npz")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metrics.aesthetics import measure_aesthetics
from metrics.contrast import FEWEST, contrast
from metrics.features import FeatureNetwork, FeatureSet
from metrics.table import Row, aesthetic_rows, contrast_rows
from runtime.progress import ProgressBar


def measure_aesthetic(images: Sequence[Path], rater: FeatureNetwork | None) -> list[Row]:
    """Return the rows of NIMA, not measured without it. UserError as `measure_aesthetics`."""
    if rater is None:
        return aesthetic_rows(None, "needs an aesthetic model: --aesthetic-weights FILE")
    with ProgressBar(f"{rater.name}, images", "images") as show:
        return aesthetic_rows(measure_aesthetics(images, rater, show))


def measure_contrast(made: FeatureSet, real: FeatureSet, source: str) -> list[Row]:
    """Return the rows of the contrastive scorer, trained on features of images and of photos.

    source: the file of the photos' statistics, for the note if it has no features.
    """
    if made.sample is None or real.sample is None:
        return contrast_rows(
            None, f"{source} has no features of photos; remove it, or name another"
        )
    if min(len(made.sample), len(real.sample)) < FEWEST:
        return contrast_rows(None, f"needs {FEWEST} or more images and photos")
    return contrast_rows(contrast(made.sample, real.sample))
