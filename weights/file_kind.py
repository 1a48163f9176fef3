"""The kind of a file: weights in one of four forms, or something else.

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

START = 2048  # bytes that are read to tell the kind
HEADER_LIMIT = 100_000_000  # bytes of a safetensors header; the format's own limit
DOWNLOAD = "Download it again"
UNPACK = "Unpack it and name the file of weights in it"
NAME_ANOTHER = "Name another file"

# First bytes of files that people mistake for weights, with the kind of file and the fix.
STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\xfd7zXZ\x00", "an xz archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (b"\xff\xd8\xff", "a JPEG image", NAME_ANOTHER),
    (b"\x89PNG\r\n", "a PNG image", NAME_ANOTHER),
    (b"GIF8", "a GIF image", NAME_ANOTHER),
    (b"RIFF", "a WebP image or a sound", NAME_ANOTHER),
    (b"II*\x00", "a TIFF image", NAME_ANOTHER),
    (b"MM\x00*", "a TIFF image", NAME_ANOTHER),
    (b"%PDF", "a PDF document", NAME_ANOTHER),
    (b"\x7fELF", "a program", NAME_ANOTHER),
    (b"\x89HDF\r\n", "an HDF5 file, as Keras writes it", "Convert it to safetensors"),
    (b"\x93NUMPY", "a single NumPy array", "Save the tensors by name, as safetensors"),
)
# Pickles of protocols 0 and 1 carry no mark; a dictionary or an OrderedDict begins like this.
OLD_PICKLES = (b"(dp", b"(dq", b"}q", b"ccollections", b"c__builtin__", b"(lp", b"]q")


def read_start(path: Path) -> tuple[bytes, int]:
    """Return the first bytes and the size of a file.

    Raises UserError if the file cannot be read or is empty.
    """
    try:
        if path.is_dir():
            raise UserError(
                f"{path}: expected a file of weights, got a folder. {_list_weights(path)}"
            )
        with open_file(path) as file:
            start = file.read(START)
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not start:
        raise UserError(f"{path}: expected a file of weights, got an empty one. {DOWNLOAD}")
    return start, size


def weights_kind(path: Path) -> Kind:
    """Return the form of a file of weights.

    Raises UserError that names the kind of any other file.
    """
    start, size = read_start(path)
    # First, because a header of 128 bytes begins like a pickle.
    length = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and length <= HEADER_LIMIT:
        return "safetensors"
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if start[257:262] == b"ustar":
        return "tar"
    if start.startswith(b"\x80"):
        return "pickle"
    found, fix = _identify(start, size)
    raise UserError(f"{path}: expected a file of weights, got {found}. {fix}")


def _identify(start: bytes, size: int) -> tuple[str, str]:
    """Return the kind of a file that holds no weights, and the fix."""
    for mark, kind, fix in STARTS:
        if start.startswith(mark):
            return kind, fix
    if start.startswith(b"PK\x05\x06"):
        return "a zip archive without entries", DOWNLOAD
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"version https://git-lfs"):
        found = re.search(rb"^size (\d+)", text, re.MULTILINE)
        target = f" to {int(found[1])} bytes" if found else ""
        return f"a git-lfs pointer{target}", "Run `git lfs pull` in that repository, or download it"
    lower = text[:200].lower()
    if lower.startswith((b"<!doctype html", b"<html", b"<head")) or b"<html" in lower:
        return "a web page (HTML)", f"{DOWNLOAD}, by the address of the file itself"
    if lower.startswith((b"<?xml", b"<error")):
        return "XML, perhaps a server's error message", DOWNLOAD
    if not start.strip(b"\0"):
        return f"{size} bytes of zeros, a download that never finished", DOWNLOAD
    if text.startswith(OLD_PICKLES):
        return (
            "a pickle of protocol 0 or 1",
            "Load it in its own program and save it with protocol 2 or later",
        )
    return _identify_text(start, size) or (
        f"a file that begins with {start[:8].hex(' ')}",
        f"It may be damaged. {DOWNLOAD}",
    )


def _identify_text(start: bytes, size: int) -> tuple[str, str] | None:
    """Return the kind of a text and the fix; None if the bytes are no text."""
    try:
        text = start.decode("utf-8", "strict" if size <= START else "ignore")
    except UnicodeDecodeError:
        return None
    if any(ord(letter) < 32 and letter not in "\t\r\n\f" for letter in text):
        return None
    if text.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
        return "JSON", NAME_ANOTHER
    shown = json.dumps(" ".join(text.split())[:40], ensure_ascii=False)
    return f"text ({shown})", NAME_ANOTHER


def _list_weights(folder: Path) -> str:
    """Return the fix for a folder in the place of a file."""
    endings = (".pth", ".pt", ".pkl", ".ckpt", ".safetensors")
    names = sorted(item.name for item in folder.iterdir() if item.suffix in endings)
    return f"Name one of its files: {list_names(names)}" if names else "It holds no weights"
