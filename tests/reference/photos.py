"""Real photos for the goldens of pretrained networks; needs NumPy and Pillow.

They are no part of the project: tests that read them are skipped if they are not next to it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FOLDER = Path(__file__).resolve().parents[2] / ".." / "shared/datasets/coco_stuff/train_img"
SIZE = (256, 192)  # width and height; the photos are 4 : 3 and 3 : 2
# Name -> ImageNet's class of the object in it.
CLASSES = {
    "000000203744.jpg": 146,  # albatross
    "000000284465.jpg": 805,  # soccer ball
    "000000371376.jpg": 681,  # notebook, computer
    "000000580986.jpg": 752,  # racket
}


def available() -> bool:
    """Whether the photos are here."""
    return all((FOLDER / name).is_file() for name in CLASSES)


def read_photos() -> NDArray[np.float32]:
    """The photos in the order of `CLASSES`, (N, 3, 192, 256) in [-1, 1]."""
    photos = []
    for name in CLASSES:
        with Image.open(FOLDER / name) as image:
            small = image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC)
            photos.append(np.asarray(small, np.float32).transpose(2, 0, 1) / 127.5 - 1)
    return np.stack(photos)
