"""The kinds of landscape, and the share of each in the dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data.synthetic.composition import Scene, Size
from data.synthetic.inland import city, desert, forest_path, high_mountains, open_road, village
from data.synthetic.waterside import alpine_lake, beach, coast, river_valley, waterfall


class Kind(NamedTuple):
    """A composition, and its share of the images."""

    compose: Callable[[np.random.Generator, Size], Scene]
    share: float


SCENES: dict[str, Kind] = {
    "alpine lake": Kind(alpine_lake, 0.14),
    "river valley": Kind(river_valley, 0.12),
    "coast": Kind(coast, 0.13),
    "beach": Kind(beach, 0.10),
    "waterfall": Kind(waterfall, 0.06),
    "village": Kind(village, 0.12),
    "open road": Kind(open_road, 0.07),
    "desert": Kind(desert, 0.07),
    "forest path": Kind(forest_path, 0.06),
    "city": Kind(city, 0.08),
    "high mountains": Kind(high_mountains, 0.05),
}
