"""The layouts that networks are timed on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.folders import find_pairs
from data.loader import read_layout

UNKNOWN = 255
MOST = 255


def read_layouts(source: str, count: int, height: int, width: int, classes: int) -> NDArray:
    """`count` layouts as int32 (N, H, W): the first pairs of a folder, or random rectangles.

    A folder with fewer pairs starts again from its first; source 'random' needs none.

    An id 255 becomes the last class, and a folder of more classes serves too: ids beyond are taken
    modulo the count. Raises UserError where the folder has no pairs.
    """
    if source == "random":
        random = np.random.default_rng(0)
        ids = random.integers(0, classes, (count, -(-height // 32), -(-width // 32)))
        return np.kron(ids, np.ones((1, 32, 32), np.int64))[:, :height, :width].astype(np.int32)
    pairs = find_pairs(source).pairs
    chosen = [pairs[i % len(pairs)].label_path for i in range(count)]
    # Read with 255 as a class of its own, which is then counted among the others.
    layouts = np.stack(
        [read_layout(path, height, width, classes=MOST, unknown_label=UNKNOWN) for path in chosen]
    )
    return np.where(layouts == MOST, classes - 1, layouts % classes).astype(np.int32)
