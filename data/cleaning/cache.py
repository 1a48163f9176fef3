"""Findings kept by the files' content, in one SQLite file that survives a stop at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from options.errors import UserError
from options.paths import MOST_PICTURE_BYTES, open_file

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (name BLOB PRIMARY KEY, size INT, time INT, key TEXT);
CREATE TABLE IF NOT EXISTS pairs (key TEXT PRIMARY KEY, measures BLOB, features BLOB, drawing BLOB);
CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, arrays BLOB);
"""


def pack(arrays: Mapping[str, NDArray]) -> bytes:
    """Write named arrays as bytes: a line of JSON, then their contents."""
    head = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    body = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    return json.dumps(head).encode() + b"\n" + body


def unpack(content: bytes) -> dict[str, NDArray]:
    """Read what `pack` wrote; the arrays are read-only."""
    end = content.index(b"\n") + 1
    arrays = {}
    for name, kind, shape in json.loads(content[:end]):
        dtype, count = np.dtype(kind), int(np.prod(shape))
        arrays[name] = np.frombuffer(content, dtype, count, end).reshape(shape)
        end += count * dtype.itemsize
    return arrays


def content_key(*paths: Path, form: str) -> str:
    """Return the hash (BLAKE2b, 128 bits) of some files' contents and of how they are read."""
    digest = hashlib.blake2b(form.encode(), digest_size=16)
    for path in paths:
        with open_file(path, MOST_PICTURE_BYTES) as file:
            digest.update(f"|{os.fstat(file.fileno()).st_size}|".encode())
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _is_database(path: Path) -> bool:
    with open_file(path) as file:
        return file.read(16) == b"SQLite format 3\0"


class Cache:
    """The SQLite file; its rows are written whole or not at all.

    Raises UserError if it cannot be opened or written, or another file has its name. One that is
    damaged is begun anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._base = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) or not _is_database(path):
                raise self._refused(error) from None
            path.unlink(missing_ok=True)
            self._base = self._open()

    def stamps(self) -> dict[bytes, tuple[int, int, str]]:
        """Return (size, time of change in ns, key of the pair) of each file by its name."""
        rows = self._read("SELECT name, size, time, key FROM files")
        return {name: (size, time, key) for name, size, time, key in rows}

    def keys(self) -> set[str]:
        """Return the keys of all pairs that were measured."""
        return {key for (key,) in self._read("SELECT key FROM pairs")}

    def add(
        self,
        pairs: Iterable[tuple[str, bytes, bytes, bytes]],
        files: Iterable[tuple[bytes, int, int, str]],
    ) -> None:
        """Keep measured pairs and the stamps of files, in one transaction."""
        try:
            with self._base:
                self._base.executemany("INSERT OR REPLACE INTO pairs VALUES (?, ?, ?, ?)", pairs)
                self._base.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", files)
        except sqlite3.Error as error:
            raise self._refused(error) from None

    def column(self, name: str, keys: Sequence[str]) -> list[bytes]:
        """Return 'measures', 'features' or 'drawing' of the pairs with these keys, in order."""
        assert name in ("measures", "features", "drawing")
        found: dict[str, bytes] = {}
        if len(keys) > 500:
            found = dict(self._read(f"SELECT key, {name} FROM pairs"))
        else:
            for key in set(keys):
                found.update(self._read(f"SELECT key, {name} FROM pairs WHERE key = ?", (key,)))
        return [found[key] for key in keys]

    def result(self, key: str) -> dict[str, NDArray] | None:
        """Return what was kept of a whole dataset, or None."""
        rows = self._read("SELECT arrays FROM results WHERE key = ?", (key,))
        return unpack(rows[0][0]) if rows else None

    def keep_result(self, key: str, arrays: Mapping[str, NDArray]) -> None:
        """Keep the latest of what was found of a whole dataset."""
        try:
            with self._base:
                self._base.execute("DELETE FROM results")
                self._base.execute("INSERT INTO results VALUES (?, ?)", (key, pack(arrays)))
        except sqlite3.Error as error:
            raise self._refused(error) from None

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def _open(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._path, timeout=60)
        try:
            base.executescript(_SCHEMA)
            with base:
                # Reading alone would find a read-only folder too late, after the work.
                base.execute("DELETE FROM results WHERE key = ''")
        except BaseException:
            base.close()
            raise
        return base

    def _read(self, command: str, values: tuple[str, ...] = ()) -> list[tuple]:
        try:
            return self._base.execute(command, values).fetchall()
        except sqlite3.Error as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> UserError:
        return UserError(
            f"the measures are kept beside the selections: {self._path}: {error}; give another "
            "--output_path, or remove that file"
        )
