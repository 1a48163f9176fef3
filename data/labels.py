"""Label files: class ids and instance numbers exactly as the PNG stores them."""

from __future__ import annotations

import struct
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.classes import CONTEST_CLASSES, palette
from data.images import PictureError, open_picture

_MEND = "save it as an 8-bit or 16-bit grey PNG of class ids"
# Colour types of a PNG's header; 2 is RGB, 6 RGBA.
_GREY, _INDEXED, _GREY_ALPHA = 0, 3, 4


class LabelError(PictureError):
    """A label file that cannot be used."""


def read_label(path: Path | str, classes: int = len(CONTEST_CLASSES)) -> NDArray[np.int32]:
    """Read a label PNG as int32 ids (H, W), exactly as stored: none is mapped or left out.

    Grey of 1, 2, 4, 8 or 16 bits gives its values, an indexed PNG its indices. 8-bit RGB and RGBA
    give the value where the whole picture is grey and the values are below `classes`; else each
    pixel must be a colour of `palette(classes)` and gives its index. Alpha must be opaque.
    Raises LabelError.
    """
    stored, bits, colour_type = _decode(path)
    if colour_type == _INDEXED:
        return stored.astype(np.int32)
    if colour_type == _GREY:
        return _grey_ids(stored, bits)
    if stored.shape[-1] in (2, 4):
        _check_opaque(path, stored[..., -1])
    if colour_type == _GREY_ALPHA:
        return stored[..., 0].astype(np.int32)
    return _colour_ids(path, stored, classes)


def read_instances(path: Path | str) -> NDArray[np.int32]:
    """Read an instance map as int32 (H, W): equal numbers are one object.

    Grey and indexed PNGs as in `read_label`; of RGB, any colour is a number. Raises LabelError.
    """
    stored, bits, colour_type = _decode(path)
    if colour_type == _INDEXED:
        return stored.astype(np.int32)
    if colour_type == _GREY:
        return _grey_ids(stored, bits)
    if colour_type == _GREY_ALPHA:
        return stored[..., 0].astype(np.int32)
    return _packed(stored)


def _decode(path: Path | str) -> tuple[NDArray[np.generic], int, int]:
    """Return the array of a PNG, its bits a channel and its colour type.

    The last two come from the file's header, as Pillow's mode does not tell them: 16-bit RGB loses
    its low bytes as 'RGB', and 2-bit and 4-bit grey is stretched to 0..255 as 'L'.
    """
    with open_picture(path, LabelError) as picture:
        if picture.format != "PNG":
            rule = "a label must be a PNG, which keeps ids as they are"
            raise LabelError(path, rule, f"a {picture.format} file", "make the labels anew as PNG")
        with Path(path).open("rb") as file:
            bits, colour_type = struct.unpack("BB", file.read(26)[24:26])
        if bits == 16 and colour_type != _GREY:
            rule = "16 bits a channel are read in grey labels only"
            raise LabelError(path, rule, f"mode {picture.mode} of 16 bits", _MEND)
        return np.asarray(picture), bits, colour_type


def _grey_ids(stored: NDArray[np.generic], bits: int) -> NDArray[np.int32]:
    ids = stored.astype(np.int32)
    return ids // (255 // (2**bits - 1)) if bits in (2, 4) else ids


def _check_opaque(path: Path | str, alpha: NDArray[np.generic]) -> None:
    if int(alpha.min()) < 255:
        row, column = np.unravel_index(int(alpha.argmin()), alpha.shape)
        value = f"alpha {int(alpha.min())} at row {row}, column {column}"
        raise LabelError(path, "a label must have no transparent pixel", value, _MEND)


def _packed(colours: NDArray[np.generic]) -> NDArray[np.int32]:
    red, green, blue = (colours[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue


@lru_cache(maxsize=2)
def _colour_table(classes: int) -> NDArray[np.int32]:
    # Zero means no class, so that the untouched pages of this 64 MB table are never allocated.
    table = np.zeros(1 << 24, dtype=np.int32)
    table[_packed(palette(classes))] = np.arange(1, classes + 1)
    return table


def _colour_ids(path: Path | str, colours: NDArray[np.generic], classes: int) -> NDArray[np.int32]:
    red, green, blue = (colours[..., channel] for channel in range(3))
    grey = bool((red == green).all() and (green == blue).all())
    if grey and int(red.max()) < classes:
        return red.astype(np.int32)
    ids = _colour_table(classes)[_packed(colours)] - 1
    if int(ids.min()) < 0:
        if grey:
            return red.astype(np.int32)
        row, column = np.unravel_index(int(ids.argmin()), ids.shape)
        rule = f"an RGB label must be grey ids or the colours of palette({classes})"
        value = f"colour {tuple(colours[row, column].tolist())} at row {row}, column {column}"
        raise LabelError(path, rule, value, _MEND)
    return ids
