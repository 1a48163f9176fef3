"""Photo files: reads a photo, or raises what is wrong with its file and how to fix it."""

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
from options.paths import MOST_IMAGE_BYTES, explain, open_file, sentence, show_path

_MODES = {"RGB", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"}
_ORIENTATION_TAG = 0x0112
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Larger images are not decoded: 540 MB as RGB. JPEGs are decoded at a smaller scale.
_MOST_PIXELS = 178_956_970
# Pillow's own limit is made for servers and warns at half of this.
Image.MAX_IMAGE_PIXELS = None
# Pillow accepts 1 MB of text per chunk; the edit history that editors store exceeds it.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
# First bytes of files that are not images: what they are, and the fix.
_AGAIN = "download it again"
_CONVERT = "convert it to JPEG or PNG"
_LOOKALIKES: tuple[tuple[bytes, str, str], ...] = (
    (rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", "a HEIC image from a phone", _CONVERT),
    (rb"....ftypavi[fs]", "an AVIF image", _CONVERT),
    (rb"....ftyp", "a video", "replace it by an image"),
    (rb"....JXL |\xff\x0a", "a JPEG XL image", _CONVERT),
    (rb"....jP  |\xff\x4f\xff\x51", "a JPEG 2000 image", _CONVERT),
    (rb"version https://git-lfs", "a Git LFS pointer", "download the image: git lfs pull"),
    (rb"\s*<(?:!doctype html|html|head)", "a web page", _AGAIN),
    (rb"\s*(?:<\?xml|<svg)", "XML or SVG text", _CONVERT),
    (rb"PK\x03\x04", "a zip archive", "unpack it"),
    (rb"\x1f\x8b", "a gzip archive", "unpack it"),
    (rb"%PDF", "a PDF", _CONVERT),
    (rb"8BPS", "a Photoshop file", _CONVERT),
    (rb"\x93NUMPY", "a NumPy array", "save it as PNG"),
    (rb"\x00{16}", "zeros", _AGAIN),
)
# Everything that Pillow's parsers raised on damaged files in tests.
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


def describe_fault(path: Path | str, rule: str, value: str, fix: str) -> str:
    """Return `path: expected X, got Y. Fix.`; escapes unprintable characters of the path."""
    fix = " " + sentence(fix) if fix else ""
    return f"{show_path(path)}: expected {rule}, got {value}.{fix}"


class ImageFileError(UserError):
    """A file that cannot be used: path, expected content (`rule`), found content (`value`), fix."""

    def __init__(self, path: Path | str, rule: str, value: str, fix: str = "") -> None:
        # The exception's args are all four, so it can be pickled between processes.
        super().__init__(path, rule, value, fix)
        self.path = Path(path)
        self.rule = rule
        self.value = value
        self.fix = fix

    def __str__(self) -> str:
        return describe_fault(self.path, self.rule, self.value, self.fix)


class ImageError(ImageFileError):
    """A photo file that cannot be used."""


@dataclass(frozen=True)
class ImageFacts:
    """Properties of a photo file: height and width in pixels after its EXIF orientation."""

    height: int
    width: int
    mode: str
    rotated: bool


@contextmanager
def open_image(
    path: Path | str, error: type[ImageFileError] = ImageFileError
) -> Iterator[Image.Image]:
    """Open an image; turn whatever its parser raises, also in the body, into `error`."""
    path = Path(path)
    try:
        with open_file(path, MOST_IMAGE_BYTES) as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise error(path, "an image", "an empty file", _AGAIN)
            with Image.open(file) as image:
                yield image
    except ImageFileError:
        raise
    except UnidentifiedImageError:
        raise error(path, "an image", *_describe_other_file(path)) from None
    except _BROKEN as broken:
        unreadable = isinstance(broken, OSError) and broken.errno is not None
        # A name with a NUL character raises a ValueError.
        if unreadable or "\0" in str(path):
            assert isinstance(broken, (OSError, ValueError))
            raise error(path, "a readable file", *explain(path, broken)) from None
        found = " ".join(str(broken).split()) or type(broken).__name__
        if "MAX_TEXT" in found:
            fix = "remove them: exiftool -all= FILE"
            raise error(path, "less than 64 MB of comments", "more", fix) from None
        raise error(path, "a complete image", f"damage ({found})", _AGAIN) from None


def check_pixels(
    path: Path | str, image: Image.Image, error: type[ImageFileError] = ImageFileError
) -> None:
    """Raise `error` before decoding an image that needs too much memory."""
    if image.width * image.height > _MOST_PIXELS:
        found = f"{image.height} x {image.width}"
        most = f"at most {_MOST_PIXELS // 10**6} megapixels (height x width)"
        raise error(path, most, found, "scale it down")


def _describe_other_file(path: Path) -> tuple[str, str]:
    """Return the kind of a file that Pillow does not recognize, and the fix."""
    with open_file(path) as file:
        start = file.read(512)
    for pattern, found, fix in _LOOKALIKES:
        if re.match(pattern, start, re.DOTALL | re.IGNORECASE):
            return found, fix
    if b"\0" not in start and start[:64].decode("utf-8", "ignore").isprintable():
        return "text", _AGAIN
    return "an unknown format", _AGAIN


def read_image(
    path: Path | str, height: int | None = None, width: int | None = None
) -> NDArray[np.uint8]:
    """Read a photo as uint8 RGB (H, W, 3), rotated by its EXIF orientation.

    If height and width are given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, but not
    below twice height x width. Gray becomes RGB; transparency is dropped. Raises ImageError.
    """
    with open_image(path, ImageError) as image:
        _check_form(path, image)
        turn = _exif_turn(image)
        if height is not None and width is not None:
            # At half the size, libjpeg's reduced inverse DCT keeps 45% of a wave of 0.35 cycles
            # per pixel, as an area mean does; antialiased bicubic keeps 12%. Decoding at twice
            # the size leaves the last 2x to the better filter.
            wide, high = (height, width) if _swaps_sides(turn) else (width, height)
            image.draft(None, (2 * wide, 2 * high))
        check_pixels(path, image, ImageError)
        if turn is not None:
            image = image.transpose(turn)
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def inspect_image(path: Path | str) -> ImageFacts:
    """Decode a photo to its last byte and return its properties. Raises ImageError."""
    with open_image(path, ImageError) as image:
        _check_form(path, image)
        width, height = image.size
        mode = image.mode
        turn = _exif_turn(image)
        # At 1/8 of the size every byte is still parsed, in a third of the time.
        image.draft(None, (max(1, width // 8), max(1, height // 8)))
        check_pixels(path, image, ImageError)
        image.load()
    if _swaps_sides(turn):
        height, width = width, height
    return ImageFacts(height=height, width=width, mode=mode, rotated=turn is not None)


def _check_form(path: Path | str, image: Image.Image) -> None:
    # Before the EXIF, which decodes the whole of a PNG. JPEGs are checked at their reduced size.
    if image.format not in ("JPEG", "MPO"):
        check_pixels(path, image, ImageError)
    if image.mode not in _MODES:
        rule = "a photo of 8 bits per channel (RGB, RGBA, CMYK, gray or palette)"
        raise ImageError(path, rule, f"mode {image.mode}", "save it as an 8-bit RGB image")


def _exif_turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _ORIENTATIONS.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except _BROKEN:
        # Broken EXIF data does not make a photo unusable.
        return None


def _swaps_sides(turn: Image.Transpose | None) -> bool:
    return turn in (_ORIENTATIONS[5], _ORIENTATIONS[6], _ORIENTATIONS[7], _ORIENTATIONS[8])
