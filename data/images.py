"""Photographs: read one from its file, or say what is wrong with it."""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from options.errors import UserError
from options.paths import MOST_PICTURE_BYTES, explain, open_file, sentence, show_path

_MODES = {"RGB", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"}
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pixels of the largest picture that is decoded; 540 MB as RGB. JPEGs are decoded smaller.
_MOST_PIXELS = 178_956_970
# Pillow's own limit is for servers; it warns at half of this.
Image.MAX_IMAGE_PIXELS = None
# Its limit of text is one megabyte a chunk, which an editor's history of changes exceeds.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
# What a file is that is no picture, by its first bytes, and the fix.
_AGAIN = "download it again"
_CONVERT = "convert it to JPEG or PNG"
_LOOKALIKES: tuple[tuple[bytes, str, str], ...] = (
    (rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", "a HEIC picture, of a phone", _CONVERT),
    (rb"....ftypavi[fs]", "an AVIF picture", _CONVERT),
    (rb"....ftyp", "a video", "take the picture itself"),
    (rb"....JXL |\xff\x0a", "a JPEG XL picture", _CONVERT),
    (rb"....jP  |\xff\x4f\xff\x51", "a JPEG 2000 picture", _CONVERT),
    (rb"version https://git-lfs", "a pointer of Git LFS", "get the picture: git lfs pull"),
    (rb"\s*<(?:!doctype html|html|head)", "a web page", _AGAIN),
    (rb"\s*(?:<\?xml|<svg)", "XML or SVG text", _CONVERT),
    (rb"PK\x03\x04", "a zip archive", "unpack it"),
    (rb"\x1f\x8b", "a gzip archive", "unpack it"),
    (rb"%PDF", "a PDF", _CONVERT),
    (rb"8BPS", "a Photoshop file", _CONVERT),
    (rb"\x93NUMPY", "a NumPy array", "save it as PNG"),
    (rb"\x00{16}", "zeros", _AGAIN),
)
# All that Pillow's parsers were seen to raise on damaged files.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


def describe_fault(path: Path | str, rule: str, value: str, mend: str) -> str:
    """Return `path: expected X, got Y. Fix.`, whatever characters the path has."""
    fix = " " + sentence(mend) if mend else ""
    return f"{show_path(path)}: expected {rule}, got {value}.{fix}"


class PictureError(UserError):
    """One file that cannot be used: its path, what was expected, what was found, the fix."""

    def __init__(self, path: Path | str, rule: str, value: str, mend: str = "") -> None:
        # All four are the exception's args, so that it pickles across processes.
        super().__init__(path, rule, value, mend)
        self.path = Path(path)
        self.rule = rule
        self.value = value
        self.mend = mend

    def __str__(self) -> str:
        return describe_fault(self.path, self.rule, self.value, self.mend)


class ImageError(PictureError):
    """A photograph that cannot be used."""


@dataclass(frozen=True)
class ImageFacts:
    """What a photograph's file holds; height and width in pixels, as it is shown."""

    height: int
    width: int
    mode: str
    turned: bool


@contextmanager
def open_picture(
    path: Path | str, error: type[PictureError] = PictureError
) -> Iterator[Image.Image]:
    """Open a picture and turn whatever its parser raises, in the body too, into `error`."""
    path = Path(path)
    try:
        with open_file(path, MOST_PICTURE_BYTES) as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise error(path, "a picture", "an empty file", _AGAIN)
            with Image.open(file) as picture:
                yield picture
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise error(path, "a picture", *_describe_stranger(path)) from None
    except _BROKEN as broken:
        unreadable = isinstance(broken, OSError) and broken.errno is not None
        # A name with a NUL raises a ValueError of its own.
        if unreadable or "\0" in str(path):
            assert isinstance(broken, (OSError, ValueError))
            raise error(path, "a readable file", *explain(path, broken)) from None
        found = " ".join(str(broken).split()) or type(broken).__name__
        if "MAX_TEXT" in found:
            fix = "remove them: exiftool -all= FILE"
            raise error(path, "less than 64 MB of comments", "more", fix) from None
        raise error(path, "a complete picture", f"damage ({found})", _AGAIN) from None


def check_pixels(
    path: Path | str, picture: Image.Image, error: type[PictureError] = PictureError
) -> None:
    """Raise `error` if a picture would take too much memory, before it is decoded."""
    if picture.width * picture.height > _MOST_PIXELS:
        found = f"{picture.height} x {picture.width}"
        most = f"at most {_MOST_PIXELS // 10**6} megapixels (height x width)"
        raise error(path, most, found, "scale it down")


def _describe_stranger(path: Path) -> tuple[str, str]:
    """Return what a file is that Pillow does not know, and the fix."""
    with open_file(path) as file:
        start = file.read(512)
    for pattern, found, fix in _LOOKALIKES:
        if re.match(pattern, start, re.DOTALL | re.IGNORECASE):
            return found, fix
    if b"\0" not in start and start[:64].decode("utf-8", "ignore").isprintable():
        return "text", _AGAIN
    return "bytes of no known format", _AGAIN


def read_image(
    path: Path | str, height: int | None = None, width: int | None = None
) -> NDArray[np.uint8]:
    """Read a photograph as uint8 RGB (H, W, 3), turned as its EXIF orientation says.

    Where height and width are given, a JPEG may come decoded at 1/2, 1/4 or 1/8 of its size, but
    never smaller than twice height x width. Grey becomes RGB and transparency is dropped.
    Raises ImageError.
    """
    with open_picture(path, ImageError) as picture:
        _check_form(path, picture)
        turn = _turn(picture)
        if height is not None and width is not None:
            # libjpeg's smaller inverse DCT leaves as much aliasing as an area mean: 45% of a wave
            # of 0.35 cycles a pixel at half the size, where antialiased bicubic leaves 12%. Twice
            # the size wanted leaves the last halving to the better filter.
            wide, high = (height, width) if _swaps(turn) else (width, height)
            picture.draft(None, (2 * wide, 2 * high))
        check_pixels(path, picture, ImageError)
        if turn is not None:
            picture = picture.transpose(turn)
        if picture.mode == "P" and "transparency" in picture.info:
            picture = picture.convert("RGBA")
        return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def inspect_image(path: Path | str) -> ImageFacts:
    """Decode a photograph to its last byte and say what it holds. Raises ImageError."""
    with open_picture(path, ImageError) as picture:
        _check_form(path, picture)
        width, height = picture.size
        mode = picture.mode
        turn = _turn(picture)
        # Every byte is still parsed at an eighth of the size, in a third of the time.
        picture.draft(None, (max(1, width // 8), max(1, height // 8)))
        check_pixels(path, picture, ImageError)
        picture.load()
    if _swaps(turn):
        height, width = width, height
    return ImageFacts(height=height, width=width, mode=mode, turned=turn is not None)


def _check_form(path: Path | str, picture: Image.Image) -> None:
    # Not yet a JPEG, which is decoded smaller. Of a PNG the EXIF alone decodes the whole picture.
    if picture.format not in ("JPEG", "MPO"):
        check_pixels(path, picture, ImageError)
    if picture.mode not in _MODES:
        rule = "a photograph of 8 bits per channel (RGB, RGBA, CMYK, gray or palette)"
        raise ImageError(path, rule, f"mode {picture.mode}", "save it as an 8-bit RGB picture")


def _turn(picture: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(picture.getexif().get(_ORIENTATION_TAG, 1))
    except _BROKEN:
        # A photograph with broken EXIF is still a photograph.
        return None


def _swaps(turn: Image.Transpose | None) -> bool:
    return turn in (_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8])
