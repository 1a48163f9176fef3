"""Small datasets in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeDataset = Callable[..., Path]


def make_pair(index: int, height: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a photo (H, W, 3) whose red channel is 8 times the id, and its layout (H, W)."""
    rng = np.random.default_rng(index)
    coarse = rng.integers(0, classes, (3, 4))
    rows = np.arange(height) * 3 // height
    columns = np.arange(width) * 4 // width
    layout = coarse[rows[:, None], columns].astype(np.uint16)
    image = np.stack([layout * 8, np.full_like(layout, index % 256), layout * 0], axis=-1)
    return image.astype(np.uint8), layout


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    def make(
        count: int = 4,
        *,
        size: tuple[int, int] = (24, 32),
        classes: int = 29,
        images: str = "train/imgs",
        labels: str = "train/labels",
        instances: str | None = None,
        suffix: str = ".png",
        root: Path = tmp_path / "dataset",
    ) -> Path:
        folders = [root / name for name in (images, labels, instances) if name is not None]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            image, layout = make_pair(index, *size, classes)
            stem = f"photo {index:03d}"
            Image.fromarray(image).save(root / images / f"{stem}{suffix}")
            Image.fromarray(layout).save(root / labels / f"{stem}.png")
            if instances is not None:
                Image.fromarray(layout).save(root / instances / f"{stem}.png")
        return root

    return make
