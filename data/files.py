"""Files that appear whole or not at all: written beside their place, then moved there."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO


def replace_file(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = True) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in the place of `path`.

    durable: the content is on the disk when this returns; where thousands of files are drawn again
    after a power cut, that is not worth its time. Raises OSError where the folder refuses.
    """
    # Cut, as a name may fill the 255 bytes that a file system allows.
    temporary = path.with_name(f".{path.name[:60]}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all; what UTF-8 has not is escaped.

    Names of files may hold such bytes.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write bytes whole or not at all; `durable` as in `replace_file`."""
    replace_file(path, lambda file: file.write(content), durable=durable)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait for other processes that write into this folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network folders know no locks; there, two writers would do the work twice.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
