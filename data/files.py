"""Atomic writes: a file is written under a temporary name, then moved to its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO


def replace_file(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = True) -> None:
    """Let `write` fill a temporary file in the folder of `path`, then rename it to `path`.

    durable: wait until the content is on the disk (fsync). Not worth its time for files that the
    next start makes again after a power cut. Raises OSError if the folder cannot be written.
    """
    # A name may already fill the 255 bytes that file systems allow, so only its start is used.
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
    """Write a text atomically as UTF-8; characters that UTF-8 lacks are escaped.

    File names may hold such bytes.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write bytes atomically; `durable` as in `replace_file`."""
    replace_file(path, lambda file: file.write(content), durable=durable)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; waits for other processes that write into it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network folders have no locks; two writers do the work twice there.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
