"""Layouts for timing networks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.folders import find_pairs
from data.reading import read_layout

UNKNOWN = 255
MOST = 255


def read_layouts(source: str, count: int, height: int, width: int, classes: int) -> NDArray:
    """`count` layouts as int32 (N, H, W): the first pairs of a folder, or random rectangles.

    Repeats the pairs if the folder has fewer. Source 'random' needs no folder. Id 255 becomes the
    last class; other ids are taken modulo `classes`. Raises UserError if the folder has no pairs.
    """
    if source == "random":
        random = np.random.default_rng(0)
        ids = random.integers(0, classes, (count, -(-height // 32), -(-width // 32)))
        return np.kron(ids, np.ones((1, 32, 32), np.int64))[:, :height, :width].astype(np.int32)
    pairs = find_pairs(source).pairs
    chosen = [pairs[i % len(pairs)].label_path for i in range(count)]
    # id 255 is read as a separate class, which becomes the last class below
    layouts = np.stack(
        [read_layout(path, height, width, classes=MOST, unknown_label=UNKNOWN) for path in chosen]
    )
    return np.where(layouts == MOST, classes - 1, layouts % classes).astype(np.int32)
