"""Contact sheets: rows of layout, photo and result, with a legend of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from data.classes import class_names, colorize, palette
from data.files import replace_file
from data.transforms import resize_layout

MARGIN = 6
TEXT_HEIGHT = 18
BACKGROUND = (255, 255, 255)
INK = (32, 32, 32)

Pixels: TypeAlias = NDArray[np.uint8]


def render_sheet(
    rows: Sequence[Sequence[Pixels | None]],
    titles: Sequence[str],
    *,
    cell: tuple[int, int],
    legend: Sequence[int] = (),
    classes: int = 0,
) -> Image.Image:
    """Render rows of images uint8 (h, w, 3) under column titles, scaled to `cell` (height, width).

    None leaves a cell empty. `legend` lists the ids, of `classes` classes, whose colors and names
    are shown below.
    """
    height, width = cell
    columns = len(titles)
    sheet_width = MARGIN + columns * (width + MARGIN)
    top = MARGIN + TEXT_HEIGHT
    grid_height = len(rows) * (height + MARGIN)
    per_line = max(1, (sheet_width - MARGIN) // _entry_width(legend, classes))
    legend_height = math.ceil(len(legend) / per_line) * TEXT_HEIGHT + MARGIN if legend else 0
    sheet = Image.new("RGB", (sheet_width, top + grid_height + legend_height), BACKGROUND)
    canvas = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        canvas.text((MARGIN + column * (width + MARGIN), MARGIN), title, INK, _font())
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            if image is not None:
                place = (MARGIN + column * (width + MARGIN), top + row * (height + MARGIN))
                sheet.paste(_scale(image, height, width), place)
    _render_legend(canvas, legend, classes, top + grid_height, per_line)
    return sheet


def save_image(image: Image.Image, path: Path, **options: int) -> None:
    """Save an image atomically, in the format of its suffix."""
    kind = {".png": "PNG", ".jpg": "JPEG"}[path.suffix]
    replace_file(path, lambda file: image.save(file, kind, **options))


def render_layout(ids: NDArray[np.integer], classes: int, cell: tuple[int, int]) -> Pixels:
    """Render a layout of ids (H, W) in colors, resized to `cell` (height, width)."""
    return colorize(resize_layout(ids.astype(np.int32), *cell), classes)


def fit_cell(height: int, width: int, longest: int = 256) -> tuple[int, int]:
    """A size (height, width) of the same aspect ratio, `longest` pixels on the longer side."""
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _scale(pixels: Pixels, height: int, width: int) -> Image.Image:
    image = Image.fromarray(pixels)
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _render_legend(
    canvas: ImageDraw.ImageDraw, legend: Sequence[int], classes: int, top: int, per_line: int
) -> None:
    if not legend:
        return
    names, colors = class_names(classes), palette(classes)
    step = _entry_width(legend, classes)
    for index, number in enumerate(legend):
        line, place = divmod(index, per_line)
        x, y = MARGIN + place * step, top + line * TEXT_HEIGHT
        color = tuple(int(value) for value in colors[number])
        canvas.rectangle((x, y + 3, x + 11, y + 14), color, INK)
        canvas.text((x + 16, y + 1), names[number], INK, _font())


def _entry_width(legend: Sequence[int], classes: int) -> int:
    if not legend:
        return 1
    names = class_names(classes)
    return 28 + max(math.ceil(_font().getlength(names[number])) for number in legend)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(12)
