"""Reads one layout or photo at the size of the networks: int32 classes or uint8 RGB."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.classes import CONTEST_CLASSES
from data.images import read_image
from data.labels import Colors, LabelError, read_colored_label
from data.transforms import map_unknown, resize_image, resize_layout


@dataclass(frozen=True)
class LayoutClasses:
    """The classes of layouts and their ids in files, as `read_layout` takes them."""

    classes: int = len(CONTEST_CLASSES)
    unknown_label: int | None = None
    first_id: int = 0

    @property
    def count(self) -> int:
        """The number of classes, with the unknown class."""
        return self.classes + (self.unknown_label is not None)

    def read(self, path: Path | str, height: int, width: int) -> NDArray[np.int32]:
        """Read a layout as classes int32 (height, width); raises LabelError as `read_layout`."""
        return read_layout(
            path,
            height,
            width,
            classes=self.classes,
            unknown_label=self.unknown_label,
            first_id=self.first_id,
        )


def read_layout(
    path: Path | str,
    height: int | None = None,
    width: int | None = None,
    *,
    classes: int = len(CONTEST_CLASSES),
    unknown_label: int | None = None,
    first_id: int = 0,
) -> NDArray[np.int32]:
    """Read a layout as classes int32 (H, W), resized by nearest pixels if a size is given.

    The id `first_id` becomes class 0, `unknown_label` class `classes`. Raises LabelError if the
    file cannot be read or has another id outside first_id..first_id+classes-1.
    """
    layout, _ = read_colored_layout(
        path, classes=classes, unknown_label=unknown_label, first_id=first_id
    )
    if height is not None and width is not None:
        layout = resize_layout(layout, height, width)
    return map_unknown(layout, classes, unknown_label, first_id)


def read_colored_layout(
    path: Path | str, *, classes: int, unknown_label: int | None, first_id: int
) -> tuple[NDArray[np.int32], Colors]:
    """Read a layout's ids int32 (H, W), as stored, and the color of each id if it is indexed.

    Raises LabelError as `read_layout` does.
    """
    end = first_id + classes
    layout, colors = read_colored_label(path, end)
    if int(layout.max()) >= end or first_id:
        wrong = (layout < first_id) | (layout >= end)  # (H, W)
        wrong &= layout != (-1 if unknown_label is None else unknown_label)
        if wrong.any():
            allowed = f"{first_id}..{end - 1}" + f" or {unknown_label}" * (
                unknown_label is not None
            )
            row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
            value = f"id {layout[row, column]} at row {row}, column {column}"
            fix = (
                "fix the label, or train with other values of --classes, --first-id and "
                "--unknown-label"
            )
            raise LabelError(path, f"ids {allowed}", value, fix)
    return layout, colors


def read_photo(path: Path | str, height: int, width: int) -> NDArray[np.uint8]:
    """Read a photo as uint8 RGB (height, width, 3), antialiased. Raises ImageError."""
    return resize_image(read_image(path, height, width), height, width)
