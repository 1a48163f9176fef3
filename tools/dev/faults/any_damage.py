"""Damage that any file can suffer. The order of the table decides the numbered cases."""

from __future__ import annotations

import io
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Random = random.Random
Damage = Callable[[Path, Random], None]
PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body></body></html>\n"
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 386917263\n"
)
NAMES = [
    "two\nlines",
    " spaces at both ends ",
    "天空与山",
    "e\u0301 decomposed",
    "line\u2028separator",
    "# no comment",
    "-rf",
    "a" * 200,
    "no suffix at all.",
    "tab\there",
    "quote\"and'quote",
    "percent%20",
    "\udcb7\udce7\udcbe\udcb0",  # GBK bytes
    "null.png.exe",
]


def cut(path: Path, random: Random) -> None:
    """Keep only the first bytes."""
    content = path.read_bytes()
    path.write_bytes(content[: random.randrange(len(content) or 1)])


def empty(path: Path, random: Random) -> None:
    """Remove every byte."""
    path.write_bytes(b"")


def flip_bits(path: Path, random: Random) -> None:
    """Flip some bits."""
    content = bytearray(path.read_bytes())
    for _ in range(random.choice([1, 3, 20])):
        if content:
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def zero_a_stretch(path: Path, random: Random) -> None:
    """Overwrite some bytes with zeros."""
    content = bytearray(path.read_bytes())
    start = random.randrange(len(content) or 1)
    stop = min(len(content), start + random.choice([4, 64, 4096]))
    content[start:stop] = bytes(stop - start)
    path.write_bytes(content)


def noise(path: Path, random: Random) -> None:
    """Replace the file with random bytes."""
    path.write_bytes(random.randbytes(random.choice([1, 100, 10_000])))


def append(path: Path, random: Random) -> None:
    """Append random bytes."""
    path.write_bytes(path.read_bytes() + random.randbytes(random.choice([1, 1000])))


def prepend(path: Path, random: Random) -> None:
    """Prepend a byte-order mark, a line break or a zero."""
    path.write_bytes(random.choice([b"\xef\xbb\xbf", b"\n", b"\0"]) + path.read_bytes())


def web_page(path: Path, random: Random) -> None:
    """Replace the file with an error page or a Git LFS pointer."""
    path.write_bytes(random.choice([PAGE, POINTER, b'{"error": "not found"}', b"Not Found"]))


def other_form(path: Path, random: Random) -> None:
    """Keep the name, but write another file format."""
    target = io.BytesIO()
    form = random.choice(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "zip", "npy", "pickle"])
    if form == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("a.txt", "a")
    elif form == "npy":
        np.save(target, np.zeros((2, 2)))
    elif form == "pickle":
        pickle.dump({"a": [1, 2]}, target)
    else:
        Image.new("RGB", (48, 32), "red").save(target, form)
    path.write_bytes(target.getvalue())


def folder_instead(path: Path, random: Random) -> None:
    """Put a folder in place of the file."""
    path.unlink()
    path.mkdir()


def link_instead(path: Path, random: Random) -> None:
    """Put a link in place of the file."""
    path.unlink()
    path.symlink_to(random.choice([path.name, "nowhere", "/dev/null", "/proc/self/mem"]))


def pipe_instead(path: Path, random: Random) -> None:
    """Put a named pipe in place of the file."""
    path.unlink()
    os.mkfifo(path)


def missing(path: Path, random: Random) -> None:
    """Remove the file."""
    path.unlink()


def sparse(path: Path, random: Random) -> None:
    """Grow the file to 40 GB of holes."""
    os.truncate(path, 40 << 30)


def renamed(path: Path, random: Random) -> None:
    """Give the file an unusual name."""
    target = path.with_name(
        random.choice(NAMES) + random.choice([path.suffix, path.suffix.upper()])
    )
    path.rename(target)


def copied(path: Path, random: Random) -> None:
    """Add a second file with the same stem, or with the same name in other letters."""
    suffix = random.choice([".bmp", ".PNG", ".txt", ".jpg", ".png~", ""])
    path.with_name(path.stem + suffix).write_bytes(path.read_bytes())


ANY: list[Damage] = [
    cut,
    empty,
    flip_bits,
    zero_a_stretch,
    noise,
    append,
    prepend,
    web_page,
    other_form,
    folder_instead,
    link_instead,
    pipe_instead,
    missing,
    sparse,
    renamed,
    copied,
]
