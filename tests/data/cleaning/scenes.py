"""Small pairs whose classes have distinct colors and textures, made in a millisecond."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

SKY, TREE, LAKE, FIELD, HOUSE, ROAD = 1, 5, 20, 22, 27, 23
_COLORS = {
    SKY: (190, 212, 245), TREE: (30, 90, 40), LAKE: (40, 90, 150), FIELD: (125, 125, 45),
    HOUSE: (200, 90, 70), ROAD: (95, 95, 100),
}  # fmt: skip
_ROUGHNESS = {SKY: 2, TREE: 16, LAKE: 5, FIELD: 9, HOUSE: 4, ROAD: 3}


def make_scene(index: int, height: int = 96, width: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Return a photo uint8 RGB (H, W, 3) and a layout int32 (H, W); both are asymmetric."""
    rng = np.random.default_rng(index)
    layout = np.full((height, width), SKY, np.uint8)
    slope = rng.uniform(-0.3, 0.3) * height
    ends = (
        height * rng.uniform(0.35, 0.5) + slope / 2,
        height * rng.uniform(0.35, 0.5) - slope / 2,
    )
    ground = np.linspace(*ends, width)
    layout[np.arange(height)[:, None] > ground] = FIELD
    center = (int(width * rng.uniform(0.05, 0.4)), int(height * rng.uniform(0.7, 0.9)))
    cv2.ellipse(layout, center, (width // 4, height // 7), rng.uniform(-20, 20), 0, 360, LAKE, -1)
    left = int(width * rng.uniform(0.5, 0.8))
    road = [
        (left, height),
        (left + width // 6, height),
        (left + 6, height // 2),
        (left, height // 2),
    ]
    cv2.fillPoly(layout, [np.array(road, np.int32)], ROAD)
    for _ in range(3):
        x, y = int(width * rng.uniform(0, 1)), int(height * rng.uniform(0.35, 0.6))
        cv2.circle(layout, (x, y), int(height * rng.uniform(0.07, 0.16)), TREE, -1)
    x, y = int(width * rng.uniform(0.1, 0.9)), int(height * rng.uniform(0.45, 0.7))
    cv2.rectangle(layout, (x, y), (x + width // 8, y + height // 8), HOUSE, -1)
    image = np.zeros((height, width, 3), np.float32)
    for kind, color in _COLORS.items():
        here = layout == kind
        noise = rng.normal(0, _ROUGHNESS[kind], (int(here.sum()), 1))
        image[here] = np.array(color) + rng.normal(0, 6, 3) + noise
    return np.clip(image, 0, 255).astype(np.uint8), layout.astype(np.int32)


def write_scene(root: Path, stem: str, image: np.ndarray, layout: np.ndarray) -> None:
    """Write a pair in the contest's form."""
    for part in ("train/imgs", "train/labels"):
        (root / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(root / "train/imgs" / f"{stem}.jpg", quality=95)
    Image.fromarray(layout.astype(np.uint16)).save(root / "train/labels" / f"{stem}.png")


def write_scenes(root: Path, count: int) -> list[str]:
    """Write `count` pairs and return their stems."""
    stems = [f"scene {index:03d}" for index in range(count)]
    for index, stem in enumerate(stems):
        write_scene(root, stem, *make_scene(index))
    return stems
