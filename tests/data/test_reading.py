from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.labels import LabelError
from data.reading import read_layout, read_photo


def test_read_layout(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    stored = np.zeros((8, 8), dtype=np.uint16)
    stored[:, 4:] = 28
    stored[7, 7] = 300
    Image.fromarray(stored).save(path)
    layout = read_layout(path, 4, 4, unknown_label=300)
    assert layout.shape == (4, 4)
    assert layout.dtype == np.int32 and layout.tolist()[3] == [0, 0, 28, 29]
    assert read_layout(path, unknown_label=300).shape == (8, 8)
    for options in ({}, {"unknown_label": 255}):
        with pytest.raises(LabelError, match=r"id 300 at row 7, column 7"):
            read_layout(path, 4, 4, **options)
    # A stored id equal to the class of unknown pixels is not unknown.
    stored[7, 7] = 29
    Image.fromarray(stored).save(path)
    with pytest.raises(LabelError, match=r"0\.\.28 or 255, got id 29"):
        read_layout(path, unknown_label=255)
    assert read_layout(path, unknown_label=29)[7, 7] == 29


def test_read_photo_is_antialiased(tmp_path: Path) -> None:
    columns = np.arange(512)
    wave = 127.5 + 100 * np.cos(2 * np.pi * 0.35 * columns)
    image = np.broadcast_to(wave.astype(np.uint8)[None, :, None], (256, 512, 3))
    path = tmp_path / "a.jpg"
    Image.fromarray(np.ascontiguousarray(image)).save(path, quality=95)
    assert np.asarray(Image.open(path))[:, ::2].std() > 60
    for height, width in ((128, 256), (64, 128), (32, 64), (100, 190)):
        small = read_photo(path, height, width)
        assert small.shape == (height, width, 3)
        assert small[:, 4:-4].std() < 10, (height, width)
