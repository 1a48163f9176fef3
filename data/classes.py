"""Names and colors of the classes.

class_names(29)[1]          # 'sky'
colorize(ids, 29)           # uint8 RGB image of a layout
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# None is a pure gray, as gray RGB labels hold ids, not colors (see data.labels).
_CONTEST: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("mountain", (108, 104, 150)),
    ("sky", (150, 205, 242)),
    ("water", (62, 142, 196)),
    ("sea", (18, 72, 138)),
    ("rock", (138, 128, 116)),
    ("tree", (34, 98, 44)),
    ("earth", (120, 82, 50)),
    ("hill", (128, 150, 72)),
    ("river", (64, 184, 206)),
    ("sand", (234, 208, 142)),
    ("land", (172, 142, 92)),
    ("building", (190, 92, 100)),
    ("grass", (116, 190, 60)),
    ("plant", (66, 152, 92)),
    ("person", (236, 88, 132)),
    ("boat", (246, 146, 36)),
    ("waterfall", (208, 238, 248)),
    ("wall", (190, 168, 152)),
    ("pier", (158, 112, 100)),
    ("path", (214, 172, 104)),
    ("lake", (36, 110, 172)),
    ("bridge", (156, 48, 60)),
    ("field", (204, 206, 78)),
    ("road", (94, 92, 104)),
    ("railing", (186, 190, 206)),
    ("fence", (160, 122, 42)),
    ("ship", (206, 52, 40)),
    ("house", (226, 126, 92)),
    ("other", (170, 84, 190)),
)
CONTEST_CLASSES: tuple[str, ...] = tuple(name for name, _ in _CONTEST)
_UNKNOWN_COLOR = (40, 0, 40)
MAX_CLASSES = 65536


def class_names(k: int) -> tuple[str, ...]:
    """Return the names of k classes: the contest's for 29, those and 'unknown' for 30.

    Any other k gives 'class 0', 'class 1', .... Raises ValueError if k is not 1..65536.
    """
    _check_count(k)
    if k == len(CONTEST_CLASSES):
        return CONTEST_CLASSES
    if k == len(CONTEST_CLASSES) + 1:
        return (*CONTEST_CLASSES, "unknown")
    return tuple(f"class {index}" for index in range(k))


@lru_cache(maxsize=8)
def palette(k: int) -> NDArray[np.uint8]:
    """Return k distinct colors, uint8 (k, 3), read-only.

    k = 29 gives natural colors for the contest's classes, k = 30 adds a dark violet for unknown.
    Any other k gives the PASCAL VOC color map: bits 3i, 3i+1, 3i+2 of the id are bit 7-i of red,
    green and blue. Raises ValueError if k is not 1..65536.
    """
    _check_count(k)
    contest = len(_CONTEST)
    if k in (contest, contest + 1):
        colors = np.array([*(rgb for _, rgb in _CONTEST), _UNKNOWN_COLOR][:k], dtype=np.uint8)
    else:
        ids = np.arange(k)
        colors = np.zeros((k, 3), dtype=np.uint8)
        for bit in range(8):
            for channel in range(3):
                bits = (ids >> (3 * bit + channel) & 1) << (7 - bit)
                colors[:, channel] |= bits.astype(np.uint8)
    colors.flags.writeable = False
    return colors


def colorize(ids: NDArray[np.integer], k: int) -> NDArray[np.uint8]:
    """Color a layout: ids (..., H, W) in 0..k-1 to uint8 RGB (..., H, W, 3).

    Raises ValueError if an id is outside 0..k-1.
    """
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= k):
        raise ValueError(f"ids: expected 0..{k - 1}, got {int(ids.min())}..{int(ids.max())}.")
    return palette(k)[ids]


def _check_count(k: int) -> None:
    if not 1 <= k <= MAX_CLASSES:
        raise ValueError(f"number of classes: expected 1..{MAX_CLASSES}, got {k}.")
