"""Contact sheets: cells, titles and legends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from data.classes import palette
from inference.contact_sheet import (
    MARGIN,
    TEXT_HEIGHT,
    fit_cell,
    render_layout,
    render_sheet,
    save_image,
)


def test_images_fill_their_cells() -> None:
    red, blue = np.zeros((2, 6, 8, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    sheet = render_sheet([[red, blue], [None, red]], ["a", "b"], cell=(12, 16))
    assert sheet.size == (MARGIN + 2 * (16 + MARGIN), MARGIN + TEXT_HEIGHT + 2 * (12 + MARGIN))
    top, left, right = MARGIN + TEXT_HEIGHT, MARGIN, MARGIN + 16 + MARGIN
    assert sheet.getpixel((left + 8, top + 6)) == (255, 0, 0)
    assert sheet.getpixel((right + 8, top + 6)) == (0, 0, 255)
    assert sheet.getpixel((left + 8, top + 12 + MARGIN + 6)) == (255, 255, 255)
    assert sheet.getpixel((right + 8, top + 12 + MARGIN + 6)) == (255, 0, 0)


def test_the_legend_has_the_given_classes() -> None:
    blank = np.full((6, 8, 3), 255, np.uint8)
    without = render_sheet([[blank]], [""], cell=(6, 80))
    sheet = render_sheet([[blank]], [""], cell=(6, 80), legend=[1, 5, 28], classes=29)
    assert sheet.height > without.height
    colors = {color for _, color in sheet.getcolors(1 << 16) or []}
    for number in (1, 5, 28):
        assert tuple(palette(29)[number].tolist()) in colors
    assert tuple(palette(29)[0].tolist()) not in colors


def test_a_layout_is_resized_without_new_colors() -> None:
    ids = np.array([[0, 1], [2, 3]])
    image = render_layout(ids, 4, (7, 9))
    assert image.shape == (7, 9, 3)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) == 4


def test_cells_keep_the_aspect_ratio() -> None:
    assert fit_cell(384, 512) == (192, 256)
    assert fit_cell(512, 256) == (256, 128)


def test_the_suffix_selects_the_format(tmp_path: Path) -> None:
    save_image(Image.new("RGB", (4, 3)), tmp_path / "a.png")
    save_image(Image.new("RGB", (4, 3)), tmp_path / "a.jpg", quality=95)
    assert Image.open(tmp_path / "a.png").format == "PNG"
    assert Image.open(tmp_path / "a.jpg").format == "JPEG"
    assert len(list(tmp_path.iterdir())) == 2
