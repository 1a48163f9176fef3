"""A run that takes seconds from end to end: a tiny TSIT, and images that are quickly generated.

Tests that train a complete run share it, and with it the operators that Jittor compiles for it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 4
BLOCK = 8  # pixels on each side of a region of one class
FLAGS = """--size 32 48
--classes 4
--num-downsamples 4
--channels 2
--discriminator-channels 2
--discriminator-layers 2
--lambda-vgg 0
--log-every 1
--sample-every 1000
--workers 1
--device cpu
"""
COLUMNS = "phase  last_epoch  batch_size  subset  learning_rate"


def write_schedule(path: Path, *phases: str) -> Path:
    """Write a schedule of the tiny run; returns its path."""
    path.write_text("\n".join([FLAGS, COLUMNS, *phases, ""]))
    return path


def write_dataset(root: Path, pairs: int, tests: int = 0, size: tuple[int, int] = (32, 48)) -> Path:
    """Write pairs p0, p1, ... and test layouts t0, t1, ... of 4 classes; returns the root.

    A photo has the colors of its layout. Height and width are multiples of 8.
    """
    for name in ("train/imgs", "train/labels", "val/labels"):
        (root / name).mkdir(parents=True)
    for index in range(pairs + tests):
        layout = random_layout(index, size).astype(np.uint16)
        if index >= pairs:
            Image.fromarray(layout).save(root / f"val/labels/t{index - pairs}.png")
            continue
        image = np.stack([layout * 60, 255 - layout * 60, layout * 0 + 9 * index], axis=-1)
        Image.fromarray(image.astype(np.uint8)).save(root / f"train/imgs/p{index}.png")
        Image.fromarray(layout).save(root / f"train/labels/p{index}.png")
    return root


def random_layout(seed: int, size: tuple[int, int], classes: int = CLASSES) -> np.ndarray:
    """A layout of random classes in blocks of 8 x 8 pixels; ids int64 (H, W)."""
    grid = (size[0] // BLOCK, size[1] // BLOCK)
    coarse = np.random.default_rng(seed).integers(0, classes, grid)
    return np.kron(coarse, np.ones((BLOCK, BLOCK), np.int64))
