"""Sheets of pictures for people: rows of layout, photograph and result, with a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from data.classes import class_names, colourise, palette
from data.files import replace_file
from data.transforms import resize_layout

MARGIN = 6
TEXT_HEIGHT = 18
BACKGROUND = (255, 255, 255)
INK = (32, 32, 32)

Picture = NDArray[np.uint8]


def draw_sheet(
    rows: Sequence[Sequence[Picture | None]],
    titles: Sequence[str],
    *,
    cell: tuple[int, int],
    legend: Sequence[int] = (),
    classes: int = 0,
) -> Image.Image:
    """Rows of pictures uint8 (h, w, 3) under column titles, each scaled to `cell` (height, width).

    None leaves its place empty. `legend` lists the class ids whose colours and names stand below,
    of `classes` classes.
    """
    height, width = cell
    columns = len(titles)
    sheet_width = MARGIN + columns * (width + MARGIN)
    top = MARGIN + TEXT_HEIGHT
    grid_height = len(rows) * (height + MARGIN)
    per_line = max(1, (sheet_width - MARGIN) // _entry_width(legend, classes))
    legend_height = math.ceil(len(legend) / per_line) * TEXT_HEIGHT + MARGIN if legend else 0
    sheet = Image.new("RGB", (sheet_width, top + grid_height + legend_height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((MARGIN + column * (width + MARGIN), MARGIN), title, INK, _font())
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            if picture is not None:
                place = (MARGIN + column * (width + MARGIN), top + row * (height + MARGIN))
                sheet.paste(_scale(picture, height, width), place)
    _draw_legend(draw, legend, classes, top + grid_height, per_line)
    return sheet


def save_picture(picture: Image.Image, path: Path, **options: int) -> None:
    """Save a picture in the format of its suffix, whole or not at all."""
    kind = {".png": "PNG", ".jpg": "JPEG"}[path.suffix]
    replace_file(path, lambda file: picture.save(file, kind, **options))


def draw_layout(ids: NDArray[np.integer], classes: int, cell: tuple[int, int]) -> Picture:
    """A layout of ids (H, W), resized to `cell` (height, width), in colours."""
    return colourise(resize_layout(ids.astype(np.int32), *cell), classes)


def fit_cell(height: int, width: int, longest: int = 256) -> tuple[int, int]:
    """The size (height, width) of the same shape whose longer side is `longest` pixels."""
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _scale(picture: Picture, height: int, width: int) -> Image.Image:
    image = Image.fromarray(picture)
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _draw_legend(
    draw: ImageDraw.ImageDraw, legend: Sequence[int], classes: int, top: int, per_line: int
) -> None:
    if not legend:
        return
    names, colours = class_names(classes), palette(classes)
    step = _entry_width(legend, classes)
    for index, number in enumerate(legend):
        line, place = divmod(index, per_line)
        x, y = MARGIN + place * step, top + line * TEXT_HEIGHT
        colour = tuple(int(value) for value in colours[number])
        draw.rectangle((x, y + 3, x + 11, y + 14), colour, INK)
        draw.text((x + 16, y + 1), names[number], INK, _font())


def _entry_width(legend: Sequence[int], classes: int) -> int:
    if not legend:
        return 1
    names = class_names(classes)
    return 28 + max(math.ceil(_font().getlength(names[number])) for number in legend)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(12)
