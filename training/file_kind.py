"""Says what a file is before what it is not: weights in one of three forms, or something else.

    kind = weights_kind(Path("latest_net_G.pth"))    # "safetensors", "zip", "tar" or "pickle"

The content decides, never the suffix.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

from options.errors import UserError, list_names
from options.paths import open_file

Kind = Literal["safetensors", "zip", "tar", "pickle"]

START = 2048  # bytes read to tell
HEADER_LIMIT = 100_000_000  # bytes of a safetensors header; the format's own limit
FETCH = "Download it again"
UNPACK = "Unpack it and name the file of weights in it"
NO_WEIGHTS = "Name another file"

# The first bytes of files that stand in the place of weights, what they are and what to do.
STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\xfd7zXZ\x00", "an xz archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (b"\xff\xd8\xff", "a JPEG image", NO_WEIGHTS),
    (b"\x89PNG\r\n", "a PNG image", NO_WEIGHTS),
    (b"GIF8", "a GIF image", NO_WEIGHTS),
    (b"RIFF", "a WebP image or a sound", NO_WEIGHTS),
    (b"II*\x00", "a TIFF image", NO_WEIGHTS),
    (b"MM\x00*", "a TIFF image", NO_WEIGHTS),
    (b"%PDF", "a PDF document", NO_WEIGHTS),
    (b"\x7fELF", "a program", NO_WEIGHTS),
    (b"\x89HDF\r\n", "an HDF5 file, as Keras writes it", "Convert it to safetensors"),
    (b"\x93NUMPY", "a single NumPy array", "Save the tensors by name, as safetensors"),
)
# Pickles of protocols 0 and 1 have no mark of their own: a dictionary or an OrderedDict begins so.
OLD_PICKLES = (b"(dp", b"(dq", b"}q", b"ccollections", b"c__builtin__", b"(lp", b"]q")


def read_start(path: Path) -> tuple[bytes, int]:
    """The first bytes and the size of a file; UserError if it cannot be read or is empty."""
    try:
        if path.is_dir():
            raise UserError(f"{path}: expected a file of weights, got a folder. {_say_files(path)}")
        with open_file(path) as file:
            start = file.read(START)
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not start:
        raise UserError(f"{path}: expected a file of weights, got an empty one. {FETCH}")
    return start, size


def weights_kind(path: Path) -> Kind:
    """The form of a file of weights.

    Raises UserError that says what the file is instead.
    """
    start, size = read_start(path)
    # The first: a header of 128 bytes begins as a pickle does.
    length = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and length <= HEADER_LIMIT:
        return "safetensors"
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if start[257:262] == b"ustar":
        return "tar"
    if start.startswith(b"\x80"):
        return "pickle"
    what, fix = _name(start, size)
    raise UserError(f"{path}: expected a file of weights, got {what}. {fix}")


def _name(start: bytes, size: int) -> tuple[str, str]:
    """What a file that holds no weights is, and what to do."""
    for mark, what, fix in STARTS:
        if start.startswith(mark):
            return what, fix
    if start.startswith(b"PK\x05\x06"):
        return "a zip archive without entries", FETCH
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"version https://git-lfs"):
        found = re.search(rb"^size (\d+)", text, re.MULTILINE)
        whole = f" to {int(found[1])} bytes" if found else ""
        return f"a git-lfs pointer{whole}", "Run `git lfs pull` in that repository, or download it"
    lower = text[:200].lower()
    if lower.startswith((b"<!doctype html", b"<html", b"<head")) or b"<html" in lower:
        return "a web page (HTML)", f"{FETCH}, by the address of the file itself"
    if lower.startswith(b"<?xml") or lower.startswith(b"<error"):
        return "XML, perhaps a server's error message", FETCH
    if not start.strip(b"\0"):
        return f"{size} bytes of zeros, a download that never finished", FETCH
    if text.startswith(OLD_PICKLES):
        return (
            "a pickle of protocol 0 or 1",
            "Load it in its own program and save it with protocol 2 or later",
        )
    unknown = f"a file that begins with {start[:8].hex(' ')}", f"It may be damaged. {FETCH}"
    try:
        words = start.decode("utf-8", "strict" if size <= START else "ignore")
    except UnicodeDecodeError:
        return (
            f"a file that begins with {start[:8].hex(' ')}",
            "It may be damaged: " + FETCH.lower(),
        )
    if not any(ord(letter) < 32 and letter not in "\t\r\n\f" for letter in words):
        if text[:1] in (b"{", b"["):
            return "JSON", NO_WEIGHTS
        return f"text ({json.dumps(' '.join(words.split())[:40], ensure_ascii=False)})", NO_WEIGHTS
    return unknown


def _say_files(folder: Path) -> str:
    """What to name in a folder."""
    endings = (".pth", ".pt", ".pkl", ".ckpt", ".safetensors")
    names = sorted(item.name for item in folder.iterdir() if item.suffix in endings)
    return f"Name one of its files: {list_names(names)}" if names else "It holds no weights"
