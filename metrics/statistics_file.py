"""Statistics of features in .npz files, as pytorch-fid writes and reads them.

`mu` (D,) and `sigma` (D, D) are pytorch-fid's. Files written here also have `count`, the number of
images, and `sample` (n, D), features for KID; pytorch-fid ignores both.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from metrics.features import FeatureSet
from metrics.frechet import Statistics
from options.errors import UserError
from options.paths import show_path
from weights.npz_file import read_npz

MU, SIGMA, COUNT, SAMPLE = "mu", "sigma", "count", "sample"
FIX = "Write the file again, or name another one"


def write_statistics(file: BinaryIO, features: FeatureSet) -> None:
    """Write statistics as .npz into an open file."""
    statistics = features.statistics
    arrays: dict[str, NDArray] = {MU: statistics.mean, SIGMA: statistics.covariance}
    if statistics.count is not None:
        arrays[COUNT] = np.array(statistics.count)
    if features.sample is not None:
        arrays[SAMPLE] = features.sample
    np.savez(file, **arrays)


def read_statistics(path: Path | str, dimensions: int, network: str) -> FeatureSet:
    """Read the statistics of `dimensions` features of a network, whose name is for messages.

    Raises UserError if the file cannot be read, or has other arrays.
    """
    arrays = read_npz(path, "statistics as .npz (mu, sigma)", FIX, (MU, SIGMA, COUNT, SAMPLE))
    for name, shape in ((MU, (dimensions,)), (SIGMA, (dimensions, dimensions))):
        if name not in arrays:
            raise UserError(
                f"{show_path(path)}: expected the arrays mu and sigma, got "
                f"{', '.join(arrays) or 'none'}. {FIX}"
            )
        _check(path, name, arrays[name], shape, network)
    count, sample = arrays.get(COUNT), arrays.get(SAMPLE)
    if count is not None and (count.shape != () or count.dtype.kind not in "iu" or count < 2):
        raise UserError(f"{show_path(path)}: expected a count of 2 or more, got {count}. {FIX}")
    if sample is not None:
        rows = max(2, len(sample)) if sample.ndim else 2
        _check(path, SAMPLE, sample, (rows, dimensions), network)
        sample = sample.astype(np.float32)
    statistics = Statistics(
        arrays[MU].astype(np.float64),
        arrays[SIGMA].astype(np.float64),
        None if count is None else int(count),
    )
    return FeatureSet(statistics, sample)


def _check(
    path: Path | str, name: str, array: NDArray, shape: tuple[int, ...], network: str
) -> None:
    if array.shape != shape:
        raise UserError(
            f"{show_path(path)}: expected {name} of shape {shape} for {network}, got "
            f"{array.shape}. {FIX}"
        )
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise UserError(f"{show_path(path)}: expected finite numbers in {name}, got others. {FIX}")
