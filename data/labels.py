"""Label files: class ids and instance numbers exactly as a lossless picture stores them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.classes import CONTEST_CLASSES, palette
from data.images import PictureError, check_pixels, open_picture

# (color as 0xRRGGBB, id) of an indexed label: the same color must mean the same id in all files.
Colors: TypeAlias = tuple[tuple[int, int], ...]

_FORMATS = ("PNG", "BMP", "TIFF", "GIF")
_FIX = "save it as an 8-bit or 16-bit gray PNG of class ids"
_FROM_SOURCE = "export it anew as PNG from the tool that made it; ids cannot be restored from this"
# Shades of gray below this look alike on a screen: no one picks them as colors of classes.
_DARKEST_COLOR = 32
# Color types of a PNG's header.
_PNG_KINDS: dict[int, Literal["gray", "rgb", "indexed"]] = {
    0: "gray", 2: "rgb", 3: "indexed", 4: "gray", 6: "rgb",
}  # fmt: skip
# Tags of a TIFF: bits per sample, and whether 0 is white (0), black (1) or something else.
_TIFF_BITS, _TIFF_ZERO_IS = 258, 262


class LabelError(PictureError):
    """A label file that cannot be used."""


@dataclass(frozen=True)
class _Stored:
    """A decoded file: values (H, W) or (H, W, channels), and what they stand for.

    `bits` are those of a gray channel in the file. `table` is the palette of an indexed file,
    uint8 (entries, 3), `used` are the indices that occur, `transparent` those that are not opaque.
    """

    values: NDArray[np.generic]
    kind: Literal["gray", "rgb", "indexed"]
    bits: int = 8
    table: NDArray[np.uint8] | None = None
    used: NDArray[np.int64] | None = None
    transparent: frozenset[int] = frozenset()


def read_label(path: Path | str, classes: int = len(CONTEST_CLASSES)) -> NDArray[np.int32]:
    """Read a label as int32 ids (H, W), exactly as stored: none is mapped or left out.

    Gray of 1, 2, 4, 8 or 16 bits gives its values. An indexed file is read by its palette, of which
    only the entries in use count: grays are ids, colors of `palette(classes)` are their classes,
    and any other table of colors says nothing, so that the index is the id. A palette that allows
    two readings, or none, is a fault. 8-bit RGB and RGBA give the value if the whole picture is
    gray and its values are below `classes`; else each pixel must be a color of `palette(classes)`.
    Alpha must be opaque. PNG, BMP, TIFF and GIF are read. Raises LabelError.
    """
    return read_colored_label(path, classes)[0]


def read_colored_label(
    path: Path | str, classes: int = len(CONTEST_CLASSES)
) -> tuple[NDArray[np.int32], Colors]:
    """Read a label as `read_label` does, and the color of each id of an indexed one.

    Colors that several entries of the palette share are left out. Raises LabelError.
    """
    stored = _decode(path)
    if stored.table is not None and stored.used is not None:
        return _indexed_ids(path, stored, stored.table, stored.used, classes)
    if stored.values.ndim == 3 and stored.values.shape[-1] in (2, 4):
        _check_opaque(path, stored.values[..., -1])
    if stored.kind == "gray":
        return _gray_ids(path, stored), ()
    return _rgb_ids(path, stored.values, classes), ()


def read_instances(path: Path | str) -> NDArray[np.int32]:
    """Read an instance map as int32 (H, W): equal numbers are one object.

    Gray as in `read_label`; of an indexed file the indices; of RGB any color is a number. Raises
    LabelError.
    """
    stored = _decode(path)
    if stored.kind == "indexed":
        return stored.values.astype(np.int32)
    if stored.kind == "gray":
        return _gray_ids(path, stored)
    return _packed(stored.values)


def _decode(path: Path | str) -> _Stored:
    with open_picture(path, LabelError) as picture:
        check_pixels(path, picture, LabelError)
        if picture.format not in _FORMATS:
            rule = "a lossless label: PNG, BMP, TIFF or GIF"
            found = f"a {picture.format} file"
            if picture.format in ("JPEG", "MPO", "WEBP", "AVIF"):
                found += ", which changes ids when it is saved"
            raise LabelError(path, rule, found, _FROM_SOURCE)
        if picture.format != "PNG":
            return _decode_other(path, picture)
        # Pillow's mode does not tell these: 16-bit RGB loses its low bytes as 'RGB', and 2-bit and
        # 4-bit gray is stretched to 0..255 as 'L'.
        with Path(path).open("rb") as file:
            bits, color_type = struct.unpack("BB", file.read(26)[24:26])
        if bits == 16 and color_type != 0:
            rule = "a gray label, or at most 8 bits per channel"
            raise LabelError(path, rule, f"mode {picture.mode} of 16 bits", _FIX)
        kind = _PNG_KINDS[color_type]
        if kind == "indexed":
            return _decode_indexed(picture)
        return _Stored(np.asarray(picture), kind, bits)


def _decode_indexed(picture: Image.Image) -> _Stored:
    values = np.asarray(picture)
    table = np.array(picture.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    transparency = picture.info.get("transparency")
    if isinstance(transparency, bytes):
        transparent = frozenset(i for i, alpha in enumerate(transparency) if alpha < 255)
    else:
        transparent = frozenset() if transparency is None else frozenset({transparency})
    used = np.flatnonzero(picture.histogram())
    return _Stored(values, "indexed", table=table, used=used, transparent=transparent)


def _decode_other(path: Path | str, picture: Image.Image) -> _Stored:
    """Decode a BMP, a TIFF or a GIF."""
    if getattr(picture, "n_frames", 1) > 1:
        found = f"{getattr(picture, 'n_frames', 1)} pictures"
        raise LabelError(path, "one picture in the file", found, _FIX)
    if "jpeg" in str(picture.info.get("compression")):
        raise LabelError(path, "a lossless label", "JPEG inside, which changes ids", _FROM_SOURCE)
    bits = 8
    if picture.format == "BMP":
        with Path(path).open("rb") as file:
            bits = struct.unpack("<H", file.read(30)[28:30])[0]
        # Pillow unpacks these as if they had the bits of its mode.
        if bits != {"1": 1, "L": 8}.get(picture.mode, bits):
            found = f"{bits} bits with a palette of grays"
            raise LabelError(path, "a BMP of 8-bit indices", found, _FIX)
    elif picture.format == "TIFF":
        tags = getattr(picture, "tag_v2", {})
        bits = tags.get(_TIFF_BITS, (8,))[0]
        if tags.get(_TIFF_ZERO_IS) == 0:
            raise LabelError(path, "a TIFF in which 0 is black", "one in which 0 is white", _FIX)
    if picture.mode == "P":
        return _decode_indexed(picture)
    if picture.mode == "1" and picture.format == "BMP":
        # BMP has no gray: this is Pillow's word for two entries, black and white.
        table = np.array([[0] * 3, [255] * 3], dtype=np.uint8)
        values = np.asarray(picture).astype(np.uint8)
        return _Stored(values, "indexed", table=table, used=np.unique(values).astype(np.int64))
    if picture.mode in ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I"):
        return _Stored(np.asarray(picture), "gray", bits)
    if picture.mode in ("RGB", "RGBA") and (bits <= 8 or picture.format == "BMP"):
        return _Stored(np.asarray(picture), "rgb")
    rule = "a label of whole numbers, or of 8-bit RGB"
    raise LabelError(path, rule, f"mode {picture.mode} of {bits} bits", _FIX)


def _gray_ids(path: Path | str, stored: _Stored) -> NDArray[np.int32]:
    values = stored.values[..., 0] if stored.values.ndim == 3 else stored.values
    ids = values.astype(np.int32)
    if stored.bits in (2, 4):
        return ids // (255 // (2**stored.bits - 1))
    if stored.bits > 16 and not 0 <= int(ids.min()) <= int(ids.max()) <= 65535:
        found = f"{ids.min()}..{ids.max()}"
        raise LabelError(path, "ids of 0..65535", found, _FIX)
    return ids


def _indexed_ids(
    path: Path | str,
    stored: _Stored,
    table: NDArray[np.uint8],
    used: NDArray[np.int64],
    classes: int,
) -> tuple[NDArray[np.int32], Colors]:
    ids = _read_palette(path, table, used, stored.transparent, classes)
    by_index = np.zeros(256, dtype=np.int32)
    by_index[used] = ids
    packed = _packed(table)
    colors, counts = np.unique(packed, return_counts=True)
    single = set(colors[counts == 1].tolist())
    known = tuple(
        (color, one)
        for color, one in zip(packed[used[used < len(table)]].tolist(), ids.tolist(), strict=False)
        if color in single
    )
    if (ids == used).all():
        return stored.values.astype(np.int32), known
    return by_index[stored.values], known


def _read_palette(
    path: Path | str,
    table: NDArray[np.uint8],
    used: NDArray[np.int64],
    transparent: frozenset[int],
    classes: int,
) -> NDArray[np.int64]:
    """Return the id of each index in use.

    Label tools write the id as the index, and a table of colors for the eye. Editors and optimizers
    keep the colors and sort the indices. What the colors say therefore goes first; a table that is
    neither grays nor the project's colors cannot have come from ids that way.
    """
    rule = "a palette of grays (gray g is id g), of the program's colors, or of colors by index"
    shown = used[used < len(table)]
    grays, own = _claims(table, classes)
    readings = []
    if len(shown) == len(used):
        colored_table = bool((grays < 0).any())
        gray, mine = grays[used], own[used]
        # A table of colors has grays too; those that can be no ids are colors.
        strangers = (own < 0) & (_packed(table) != 0)
        if (mine >= 0).all() and (_unmistakable(classes) or strangers.sum() < len(used)):
            readings.append(mine)
        possible = (gray < classes).all() or not (colored_table or readings)
        if (gray >= 0).all() and possible:
            readings.append(gray)
    if any((reading == used).all() for reading in readings):
        return used
    if readings:
        reading = readings[0]
        if not (reading == readings[-1]).all():
            place = int((reading != readings[-1]).argmax())
            found = (
                f"entry {used[place]} that is gray {readings[-1][place]} and the color of class "
                f"{reading[place]}"
            )
            raise LabelError(path, rule, found, _FIX)
        if len(np.unique(reading)) < len(reading):
            _, first = np.unique(reading, return_index=True)
            twice = np.setdiff1d(np.arange(len(reading)), first)[0]
            color = tuple(table[used[twice]].tolist())
            others = used[(reading == reading[twice])].tolist()
            found = f"color {color} at indices {others[0]} and {others[1]}"
            raise LabelError(path, rule, found, _FIX)
        if len(table) > 1 and (table == table[0]).all():
            found = f"{len(table)} entries of one color, as if never filled"
            raise LabelError(path, rule, found, _FIX)
        hidden = [int(index) for index in used if index in transparent]
        if hidden:
            found = f"index {hidden[0]}, which is transparent"
            raise LabelError(path, "a label without transparent pixels", found, _FIX)
        return reading
    _check_color_table(path, rule, table, shown, grays, own, classes)
    return used


def _check_color_table(
    path: Path | str,
    rule: str,
    table: NDArray[np.uint8],
    shown: NDArray[np.int64],
    grays: NDArray[np.int64],
    own: NDArray[np.int64],
    classes: int,
) -> None:
    """Raise LabelError if what looks like ids in a table of colors is at other indices.

    Black says nothing: it fills the unused rest of a table, and is many a tool's 'no label'.
    """
    index = np.arange(len(table))
    black = _packed(table) == 0
    gray_id = (grays >= 0) & (grays < classes)
    claims = (gray_id | (own >= 0)) & ~black
    against = claims & (grays != index) & (own != index)
    sure = against & ((gray_id & (grays < _DARKEST_COLOR)) | ((own >= 0) & _unmistakable(classes)))
    in_use = against[shown]
    others = len(np.unique(_packed(table)[~against & ~black]))
    if sure[shown].any() or (in_use.any() and int(in_use.sum()) >= others):
        place = shown[(sure if sure[shown].any() else against)[shown]][0]
        meant = grays[place] if gray_id[place] else own[place]
        color = tuple(table[place].tolist())
        found = f"color {color}, which is id {meant}, at index {place} among other colors"
        raise LabelError(path, rule, found, _FIX)


def _claims(table: NDArray[np.uint8], classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the gray value of each entry and its class among the program's colors, -1 for none."""
    gray = (table == table[:, :1]).all(axis=1)
    grays = np.where(gray, table[:, 0].astype(np.int64), -1)
    return grays, (_color_table(classes)[_packed(table)] - 1).astype(np.int64)


def _unmistakable(classes: int) -> bool:
    """Whether `palette(classes)` is the program's own: the VOC colors are many a tool's."""
    return classes in (len(CONTEST_CLASSES), len(CONTEST_CLASSES) + 1)


def _check_opaque(path: Path | str, alpha: NDArray[np.generic]) -> None:
    if int(alpha.min()) < 255:
        row, column = np.unravel_index(int(alpha.argmin()), alpha.shape)
        value = f"alpha {int(alpha.min())} at row {row}, column {column}"
        raise LabelError(path, "a label without transparent pixels", value, _FIX)


def _packed(colors: NDArray[np.generic]) -> NDArray[np.int32]:
    red, green, blue = (colors[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue


@lru_cache(maxsize=2)
def _color_table(classes: int) -> NDArray[np.int32]:
    # Zero means no class, so that the untouched pages of this 64 MB table are never allocated.
    table = np.zeros(1 << 24, dtype=np.int32)
    table[_packed(palette(classes))] = np.arange(1, classes + 1)
    return table


def _rgb_ids(path: Path | str, colors: NDArray[np.generic], classes: int) -> NDArray[np.int32]:
    red, green, blue = (colors[..., channel] for channel in range(3))
    gray = bool((red == green).all() and (green == blue).all())
    if gray and int(red.max()) < classes:
        return red.astype(np.int32)
    ids = _color_table(classes)[_packed(colors)] - 1
    if int(ids.min()) < 0:
        if gray:
            return red.astype(np.int32)
        row, column = np.unravel_index(int(ids.argmin()), ids.shape)
        rule = f"an RGB label of gray ids or of the colors of palette({classes})"
        value = f"color {tuple(colors[row, column].tolist())} at row {row}, column {column}"
        raise LabelError(path, rule, value, _FIX)
    return ids
