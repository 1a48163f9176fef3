"""Names and colours of the classes.

class_names(29)[1]          # 'sky'
colourise(ids, 29)          # uint8 RGB picture of a layout
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# No colour here is a pure grey: a grey RGB label holds ids, not colours (see data.labels).
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
_UNKNOWN_COLOUR = (40, 0, 40)
MAX_CLASSES = 65536


def class_names(k: int) -> tuple[str, ...]:
    """Return the names of k classes: the contest's for 29, those and 'unknown' for 30.

    Any other k gives 'class 0', 'class 1', .... Raises ValueError where k is not 1..65536.
    """
    _check_count(k)
    if k == len(CONTEST_CLASSES):
        return CONTEST_CLASSES
    if k == len(CONTEST_CLASSES) + 1:
        return (*CONTEST_CLASSES, "unknown")
    return tuple(f"class {index}" for index in range(k))


@lru_cache(maxsize=8)
def palette(k: int) -> NDArray[np.uint8]:
    """Return k distinct colours, uint8 (k, 3), read-only.

    29 gives natural colours for the contest's classes, 30 those and a dark violet for unknown. Any
    other k gives the PASCAL VOC colour map: bits 3i, 3i+1, 3i+2 of the id are bit 7-i of red, green
    and blue. Raises ValueError where k is not 1..65536.
    """
    _check_count(k)
    contest = len(_CONTEST)
    if k in (contest, contest + 1):
        colours = np.array([*(rgb for _, rgb in _CONTEST), _UNKNOWN_COLOUR][:k], dtype=np.uint8)
    else:
        ids = np.arange(k)
        colours = np.zeros((k, 3), dtype=np.uint8)
        for bit in range(8):
            for channel in range(3):
                colours[:, channel] |= ((ids >> (3 * bit + channel) & 1) << (7 - bit)).astype(
                    np.uint8
                )
    colours.flags.writeable = False
    return colours


def colourise(ids: NDArray[np.integer], k: int) -> NDArray[np.uint8]:
    """Colour a layout: ids (..., H, W) in 0..k-1 to uint8 RGB (..., H, W, 3).

    Raises ValueError where an id is outside 0..k-1.
    """
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= k):
        raise ValueError(f"ids must be 0..{k - 1}: found {int(ids.min())}..{int(ids.max())}")
    return palette(k)[ids]


def _check_count(k: int) -> None:
    if not 1 <= k <= MAX_CLASSES:
        raise ValueError(f"the number of classes must be 1..{MAX_CLASSES}: {k}")
