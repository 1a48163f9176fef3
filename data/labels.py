"""Label files: class ids and instance numbers exactly as lossless images store them."""

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
from data.images import ImageFileError, check_pixels, open_image

# (color as 0xRRGGBB, id) per entry of an indexed label. A color must mean one id in all files.
Colors: TypeAlias = tuple[tuple[int, int], ...]

_FORMATS = ("PNG", "BMP", "TIFF", "GIF")
_FIX = "save it as an 8-bit or 16-bit gray PNG of class ids"
_FROM_SOURCE = "export it as PNG from the tool that made it; the ids in this file are lost"
# Grays below this look alike on a screen, so no palette uses them as class colors.
_DARKEST_COLOR = 32
# Color types in the header of a PNG.
_PNG_KINDS: dict[int, Literal["gray", "rgb", "indexed"]] = {
    0: "gray", 2: "rgb", 3: "indexed", 4: "gray", 6: "rgb",
}  # fmt: skip
# Tags of a TIFF: bits per sample; photometric interpretation: 0 is white (0) or black (1).
_TIFF_BITS, _TIFF_ZERO_IS = 258, 262


class LabelError(ImageFileError):
    """A label file that cannot be used."""


@dataclass(frozen=True)
class _Stored:
    """A decoded file: values (H, W) or (H, W, channels), and their meaning.

    bits: per gray sample in the file. table: palette of an indexed file, uint8 (entries, 3).
    used: indices that occur. transparent: indices that are not opaque.
    """

    values: NDArray[np.generic]
    kind: Literal["gray", "rgb", "indexed"]
    bits: int = 8
    table: NDArray[np.uint8] | None = None
    used: NDArray[np.int64] | None = None
    transparent: frozenset[int] = frozenset()


def read_label(path: Path | str, classes: int = len(CONTEST_CLASSES)) -> NDArray[np.int32]:
    """Read a label as int32 ids (H, W), exactly as stored.

    Formats: PNG, BMP, TIFF, GIF.

    Gray of 1, 2, 4, 8 or 16 bits: the values are the ids.
    Indexed: the palette entries in use decide. Grays are ids, colors of `palette(classes)` are
    their classes; with any other colors the index is the id. Ambiguous palettes are errors.
    8-bit RGB and RGBA: a gray image with values below `classes` holds ids; else each pixel must be
    a color of `palette(classes)`. Alpha must be opaque.

    Raises LabelError.
    """
    return read_colored_label(path, classes)[0]


def read_colored_label(
    path: Path | str, classes: int = len(CONTEST_CLASSES)
) -> tuple[NDArray[np.int32], Colors]:
    """Read a label as `read_label` does, and the color of each id if it is indexed.

    Omits colors that several entries of the palette share. Raises LabelError.
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

    Gray: as in `read_label`. Indexed: the indices. RGB: each color is a number, 0xRRGGBB.
    Raises LabelError.
    """
    stored = _decode(path)
    if stored.kind == "indexed":
        return stored.values.astype(np.int32)
    if stored.kind == "gray":
        return _gray_ids(path, stored)
    return _packed(stored.values)


def _decode(path: Path | str) -> _Stored:
    with open_image(path, LabelError) as image:
        check_pixels(path, image, LabelError)
        if image.format not in _FORMATS:
            rule = "a lossless label: PNG, BMP, TIFF or GIF"
            found = f"a {image.format} file"
            if image.format in ("JPEG", "MPO", "WEBP", "AVIF"):
                found += ", whose compression may change ids"
            raise LabelError(path, rule, found, _FROM_SOURCE)
        if image.format != "PNG":
            return _decode_other(path, image)
        # Pillow's mode hides two cases: 16-bit RGB loses its low bytes as 'RGB', and 2-bit and
        # 4-bit gray is stretched to 0..255 as 'L'.
        with Path(path).open("rb") as file:
            bits, color_type = struct.unpack("BB", file.read(26)[24:26])
        if bits == 16 and color_type != 0:
            rule = "a gray label, or at most 8 bits per channel"
            raise LabelError(path, rule, f"mode {image.mode} of 16 bits", _FIX)
        kind = _PNG_KINDS[color_type]
        if kind == "indexed":
            return _decode_indexed(image)
        return _Stored(np.asarray(image), kind, bits)


def _decode_indexed(image: Image.Image) -> _Stored:
    values = np.asarray(image)
    table = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    transparency = image.info.get("transparency")
    if isinstance(transparency, bytes):
        transparent = frozenset(i for i, alpha in enumerate(transparency) if alpha < 255)
    else:
        transparent = frozenset() if transparency is None else frozenset({transparency})
    used = np.flatnonzero(image.histogram())
    return _Stored(values, "indexed", table=table, used=used, transparent=transparent)


def _decode_other(path: Path | str, image: Image.Image) -> _Stored:
    """Decode a BMP, a TIFF or a GIF."""
    if getattr(image, "n_frames", 1) > 1:
        found = f"{getattr(image, 'n_frames', 1)} images"
        raise LabelError(path, "one image in the file", found, _FIX)
    if "jpeg" in str(image.info.get("compression")):
        raise LabelError(
            path, "a lossless label", "JPEG compression, which changes ids", _FROM_SOURCE
        )
    bits = 8
    if image.format == "BMP":
        with Path(path).open("rb") as file:
            bits = struct.unpack("<H", file.read(30)[28:30])[0]
        # Pillow unpacks such files as if they had the bits of its mode.
        if bits != {"1": 1, "L": 8}.get(image.mode, bits):
            found = f"{bits} bits with a gray palette"
            raise LabelError(path, "a BMP of 8-bit indices", found, _FIX)
    elif image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        bits = tags.get(_TIFF_BITS, (8,))[0]
        if tags.get(_TIFF_ZERO_IS) == 0:
            raise LabelError(path, "a TIFF in which 0 is black", "one in which 0 is white", _FIX)
    if image.mode == "P":
        return _decode_indexed(image)
    if image.mode == "1" and image.format == "BMP":
        # BMP has no gray type: Pillow uses this mode for a palette of black and white.
        table = np.array([[0] * 3, [255] * 3], dtype=np.uint8)
        values = np.asarray(image).astype(np.uint8)
        return _Stored(values, "indexed", table=table, used=np.unique(values).astype(np.int64))
    if image.mode in ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I"):
        return _Stored(np.asarray(image), "gray", bits)
    if image.mode in ("RGB", "RGBA") and (bits <= 8 or image.format == "BMP"):
        return _Stored(np.asarray(image), "rgb")
    rule = "a label of integers or of 8-bit RGB"
    raise LabelError(path, rule, f"mode {image.mode} of {bits} bits", _FIX)


def _gray_ids(path: Path | str, stored: _Stored) -> NDArray[np.int32]:
    values = stored.values[..., 0] if stored.values.ndim == 3 else stored.values
    ids = values.astype(np.int32)
    if stored.bits in (2, 4):
        return ids // (255 // (2**stored.bits - 1))
    if stored.bits > 16 and not 0 <= int(ids.min()) <= int(ids.max()) <= 65535:
        found = f"{ids.min()}..{ids.max()}"
        raise LabelError(path, "ids 0..65535", found, _FIX)
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

    Label tools write the id as the index, with any colors for display. Editors and optimizers keep
    the colors but reorder the indices. Colors with a known meaning therefore take precedence over
    the index; with other colors, the index is the only source of the id.
    """
    rule = "a palette of grays (gray g is id g), of the program's colors, or of colors by index"
    shown = used[used < len(table)]
    grays, own = _known_colors(table, classes)
    readings = []
    if len(shown) == len(used):
        colored_table = bool((grays < 0).any())
        gray, mine = grays[used], own[used]
        # A palette of colors may hold grays too; grays that are no valid ids are colors.
        others = (own < 0) & (_packed(table) != 0)
        if (mine >= 0).all() and (_has_own_colors(classes) or others.sum() < len(used)):
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
                f"entry {used[place]}, which is both gray {readings[-1][place]} and the color of "
                f"class {reading[place]}"
            )
            raise LabelError(path, rule, found, _FIX)
        if len(np.unique(reading)) < len(reading):
            _, first = np.unique(reading, return_index=True)
            twice = np.setdiff1d(np.arange(len(reading)), first)[0]
            color = tuple(table[used[twice]].tolist())
            indices = used[(reading == reading[twice])].tolist()
            found = f"color {color} at indices {indices[0]} and {indices[1]}"
            raise LabelError(path, rule, found, _FIX)
        if len(table) > 1 and (table == table[0]).all():
            found = f"{len(table)} entries of one color, an unfilled palette"
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
    """Raise LabelError if colors that mean an id are stored at other indices.

    Black does not count: it fills unused entries, and many tools use it for 'no label'.
    """
    index = np.arange(len(table))
    black = _packed(table) == 0
    gray_id = (grays >= 0) & (grays < classes)
    meaningful = (gray_id | (own >= 0)) & ~black
    moved = meaningful & (grays != index) & (own != index)
    certain = (gray_id & (grays < _DARKEST_COLOR)) | ((own >= 0) & _has_own_colors(classes))
    certain &= moved
    in_use = moved[shown]
    others = len(np.unique(_packed(table)[~moved & ~black]))
    if certain[shown].any() or (in_use.any() and int(in_use.sum()) >= others):
        place = shown[(certain if certain[shown].any() else moved)[shown]][0]
        meant = grays[place] if gray_id[place] else own[place]
        color = tuple(table[place].tolist())
        found = f"color {color}, which is id {meant}, at index {place} among other colors"
        raise LabelError(path, rule, found, _FIX)


def _known_colors(
    table: NDArray[np.uint8], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each entry's gray value and its class among the program's colors, -1 for none."""
    gray = (table == table[:, :1]).all(axis=1)
    grays = np.where(gray, table[:, 0].astype(np.int64), -1)
    return grays, (_color_table(classes)[_packed(table)] - 1).astype(np.int64)


def _has_own_colors(classes: int) -> bool:
    """Return whether only this program uses `palette(classes)`; many tools use the VOC colors."""
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
    # Zero means no class: the untouched pages of this 64 MB table are never allocated.
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
        rule = f"an RGB label of gray ids or of colors of palette({classes})"
        value = f"color {tuple(colors[row, column].tolist())} at row {row}, column {column}"
        raise LabelError(path, rule, value, _FIX)
    return ids
