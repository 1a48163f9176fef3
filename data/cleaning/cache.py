"""Scan results by file content, in one SQLite file that survives a stop at any time."""

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
from options.paths import MOST_IMAGE_BYTES, open_file

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (name BLOB PRIMARY KEY, size INT, time INT, key TEXT);
CREATE TABLE IF NOT EXISTS pairs
    (key TEXT PRIMARY KEY, measures BLOB, features BLOB, thumbnails BLOB);
CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, arrays BLOB);
"""


def pack(arrays: Mapping[str, NDArray]) -> bytes:
    """Serialize named arrays: one line of JSON, then their bytes."""
    head = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    body = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    return json.dumps(head).encode() + b"\n" + body


def unpack(content: bytes) -> dict[str, NDArray]:
    """Return the arrays of `pack`; they are read-only."""
    end = content.index(b"\n") + 1
    arrays = {}
    for name, kind, shape in json.loads(content[:end]):
        dtype, count = np.dtype(kind), int(np.prod(shape))
        arrays[name] = np.frombuffer(content, dtype, count, end).reshape(shape)
        end += count * dtype.itemsize
    return arrays


def content_key(*paths: Path, form: str) -> str:
    """Return the hash (BLAKE2b, 128 bits) of the contents of files and of the settings `form`."""
    digest = hashlib.blake2b(form.encode(), digest_size=16)
    for path in paths:
        with open_file(path, MOST_IMAGE_BYTES) as file:
            digest.update(f"|{os.fstat(file.fileno()).st_size}|".encode())
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _is_database(path: Path) -> bool:
    with open_file(path) as file:
        return file.read(16) == b"SQLite format 3\0"


class Cache:
    """The SQLite file; each write is one transaction.

    Raises UserError if it cannot be opened or written, or if another kind of file has its name. A
    damaged database is replaced by an empty one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._database = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) or not _is_database(path):
                raise self._error(error) from None
            path.unlink(missing_ok=True)
            self._database = self._open()

    def stamps(self) -> dict[bytes, tuple[int, int, str]]:
        """Return (size, modification time in ns, key of the pair) per file name."""
        rows = self._read("SELECT name, size, time, key FROM files")
        return {name: (size, time, key) for name, size, time, key in rows}

    def keys(self) -> set[str]:
        """Return the keys of all measured pairs."""
        return {key for (key,) in self._read("SELECT key FROM pairs")}

    def add(
        self,
        pairs: Iterable[tuple[str, bytes, bytes, bytes]],
        files: Iterable[tuple[bytes, int, int, str]],
    ) -> None:
        """Store measured pairs and the stamps of files, in one transaction."""
        try:
            with self._database:
                self._database.executemany(
                    "INSERT OR REPLACE INTO pairs VALUES (?, ?, ?, ?)", pairs
                )
                self._database.executemany(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", files
                )
        except sqlite3.Error as error:
            raise self._error(error) from None

    def column(self, name: str, keys: Sequence[str]) -> list[bytes]:
        """Return 'measures', 'features' or 'thumbnails' of pairs, in the order of their keys."""
        assert name in ("measures", "features", "thumbnails")
        found: dict[str, bytes] = {}
        if len(keys) > 500:
            found = dict(self._read(f"SELECT key, {name} FROM pairs"))
        else:
            for key in set(keys):
                found.update(self._read(f"SELECT key, {name} FROM pairs WHERE key = ?", (key,)))
        return [found[key] for key in keys]

    def result(self, key: str) -> dict[str, NDArray] | None:
        """Return the stored result of a whole dataset, or None."""
        rows = self._read("SELECT arrays FROM results WHERE key = ?", (key,))
        return unpack(rows[0][0]) if rows else None

    def keep_result(self, key: str, arrays: Mapping[str, NDArray]) -> None:
        """Store the result of a whole dataset, and drop the previous one."""
        try:
            with self._database:
                self._database.execute("DELETE FROM results")
                self._database.execute("INSERT INTO results VALUES (?, ?)", (key, pack(arrays)))
        except sqlite3.Error as error:
            raise self._error(error) from None

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=60)
        try:
            database.executescript(_SCHEMA)
            with database:
                # A write, to detect a read-only folder before the work.
                database.execute("DELETE FROM results WHERE key = ''")
        except BaseException:
            database.close()
            raise
        return database

    def _read(self, command: str, values: tuple[str, ...] = ()) -> list[tuple]:
        try:
            return self._database.execute(command, values).fetchall()
        except sqlite3.Error as error:
            raise self._error(error) from None

    def _error(self, error: Exception) -> UserError:
        return UserError(
            f"{self._path}: expected a writable cache of the measures, got: {error}. Give another "
            "--output_path, or remove that file."
        )
