"""A run that takes seconds from end to end: a tiny TSIT, and pictures that are quickly drawn.

Tests that train a whole run share it, and so the operators that Jittor compiles for it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

FLAGS = """--size 32 48
--classes 4
--halvings 4
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


def write_dataset(root: Path, pairs: int, tests: int = 0) -> Path:
    """Write pairs p0, p1, ... and test layouts t0, ... of 32 x 48 and 4 classes; returns the root.

    A photograph has the colours of its layout.
    """
    for name in ("train/imgs", "train/labels", "val/labels"):
        (root / name).mkdir(parents=True)
    for index in range(pairs + tests):
        random = np.random.default_rng(index)
        layout = np.kron(random.integers(0, 4, (4, 6)), np.ones((8, 8))).astype(np.uint16)
        if index >= pairs:
            Image.fromarray(layout).save(root / f"val/labels/t{index - pairs}.png")
            continue
        image = np.stack([layout * 60, 255 - layout * 60, layout * 0 + 9 * index], axis=-1)
        Image.fromarray(image.astype(np.uint8)).save(root / f"train/imgs/p{index}.png")
        Image.fromarray(layout).save(root / f"train/labels/p{index}.png")
    return root
