"""Ownership of output files: a program replaces only its own files, never those of the user.

The policy of every program here that writes results:

1. A file is the program's if the marker of its folder, `.jittor-landscape.json`, lists its name
   and its content still has the listed size and SHA-256. Everything else is the user's: an edited
   overview, a photo saved under a listed name, a link, a folder, any file in a folder without a
   marker. A damaged marker counts as missing.
2. The user's files are never overwritten, moved or removed. A file in the way is reported before
   any work starts, with the flag that solves it, and again before the finished files move in, as
   hours may pass in between.
3. Files of an earlier start are replaced, with a note.
4. Files are written into a hidden folder inside the output folder, and move in when all are
   finished. The marker first lists old and new contents, then the files move, then it lists only
   the new contents: after a kill at any point the next start recognizes the files.
5. A program that owns a whole folder (a run) marks it when it is new or empty. It then owns the
   names that it writes there, and touches no other name.

A file that carries its own mark, such as a converted snapshot, needs no list. Readers skip the
program's files among others: results in a folder of layouts are no layouts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO

from data.files import alone_in, write_bytes, write_text
from options.errors import UserError
from options.json_text import parse_json
from options.paths import path_error, read_bytes, sentence
from runtime.locks import is_held

MARKER = ".jittor-landscape.json"
FORMAT = "jittor-landscape output 1"
OVERVIEW = "overview.png"  # a contact sheet; never read as an input
_ABOUT = (
    "Files that Jittor Landscape wrote here. It never replaces or removes other or changed files."
)
# Files of file managers; a folder that holds only these is empty.
_JUNK = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})

Stamp = tuple[int, str]  # size in bytes, SHA-256
Content = str | bytes | Callable[[BinaryIO], object]


def stamp_of(path: Path, *, durable: bool = False) -> Stamp:
    """Return size and SHA-256 of a file; `durable`: sync it to the disk first. Raises OSError."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        if durable:
            os.fsync(file.fileno())
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


@dataclass
class _Marker:
    """A folder's marker: the kind of a folder that is owned as a whole, and the owned files."""

    folder: str | None = None
    files: dict[str, list[Stamp]] = field(default_factory=dict)


class OutputFolder:
    """A folder for results that may also hold files of the user.

    fix: how the user can choose another place, as the end of a sentence.
    """

    def __init__(self, path: Path, fix: str) -> None:
        self.path = path
        self.fix = fix

    def owned(self) -> list[str]:
        """Return the names of the program's files, sorted."""
        files = _read_marker(self.path).files
        return sorted(name for name in files if _has_content(self.path / name, files[name]))

    def check(self, names: Iterable[str], size: int = 0) -> list[str]:
        """Check that files of these names can be written; return those that will be replaced.

        size: bytes of all files together, 0 if small. Writes nothing. Raises UserError for the
        first name that is the user's, or if the folder cannot be written.
        """
        names = list(names)
        nearest = _nearest(self.path)
        if not nearest.is_dir():
            found = "a broken link" if nearest.is_symlink() else "a file"
            raise UserError(
                f"{self.path}: expected a folder, got {found} at {nearest}. {sentence(self.fix)}"
            )
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise UserError(
                f"{self.path}: expected a writable folder, got a read-only one at {nearest}. "
                f"{sentence(self.fix)}"
            )
        self._check_room(nearest, size, len(names))
        stamps = _read_marker(self.path).files
        present = [name for name in names if os.path.lexists(self.path / name)]
        for name in present:
            path = self.path / name
            if not _has_content(path, stamps.get(name, [])):
                raise UserError(
                    f"{path} is in the way: {_describe(path, name in stamps)}. Move it away, or "
                    f"{self.fix}."
                )
        return present

    def place(self, folder: Path, names: Sequence[str], remove: Iterable[str] = ()) -> None:
        """Move finished files in from `folder`, which is on the same disk.

        Deletes those of `remove` that are the program's. Raises UserError as `check` does, OSError
        if the disk fails; files that did not move stay in `folder`.
        """
        with alone_in(self.path):
            self.check(names)
            marker = _read_marker(self.path)
            old = {
                name: stamps
                for name, stamps in marker.files.items()
                if _has_content(self.path / name, stamps)
            }
            new = {name: [stamp_of(folder / name, durable=True)] for name in names}
            marker.files = {n: old.get(n, []) + new.get(n, []) for n in old.keys() | new.keys()}
            _write_marker(self.path, marker)
            for name in names:
                os.replace(folder / name, self.path / name)
            gone = [name for name in remove if name in old and name not in new]
            for name in gone:
                (self.path / name).unlink()
            marker.files = {name: s for name, s in (old | new).items() if name not in gone}
            _write_marker(self.path, marker)

    def rename(self, name: str, new: str) -> None:
        """Rename a file of the program to a free name."""
        with alone_in(self.path):
            marker = _read_marker(self.path)
            marker.files[new] = marker.files[name]
            _write_marker(self.path, marker)
            os.rename(self.path / name, self.path / new)
            del marker.files[name]
            _write_marker(self.path, marker)

    def write(self, files: Mapping[str, Content], remove: Iterable[str] = ()) -> None:
        """Write files from texts, bytes or functions; all of them are written, then moved in.

        Deletes those of `remove` that are the program's. Raises UserError as `check` does, OSError
        if the disk fails.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.path) as folder:
            for name, content in files.items():
                path = Path(folder, name)
                if isinstance(content, str):
                    write_text(path, content)
                elif isinstance(content, bytes):
                    write_bytes(path, content)
                else:
                    with path.open("wb") as file:
                        content(file)
            self.place(Path(folder), list(files), remove)

    def _check_room(self, nearest: Path, size: int, count: int) -> None:
        disk = os.statvfs(nearest)
        free = disk.f_bavail * disk.f_frsize
        # File systems without counters, such as mounted buckets, report 0 of 0.
        if disk.f_blocks and free < size:
            raise UserError(
                f"{self.path}: expected about {size / 1e6:.0f} MB of free space, got "
                f"{free / 1e6:.0f} MB. Free some, or {self.fix}."
            )
        if disk.f_files and disk.f_favail < count:
            raise UserError(
                f"{self.path}: expected room for {count} files, got room for {disk.f_favail} "
                f"(df -i). Remove some, or {self.fix}."
            )


def output_file(path: Path, fix: str) -> OutputFolder:
    """Return the folder of a single output file, checked for its name."""
    folder = OutputFolder(path.parent, fix)
    folder.check([path.name])
    return folder


def claim_folder(path: Path, kind: str) -> None:
    """Mark a folder that passed `check_claim` as owned as a whole. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True)
    marker = _read_marker(path)
    if marker.folder != kind:
        marker.folder = kind
        _write_marker(path, marker)


def check_claim(path: Path, kind: str, fix: str, allowed: Collection[str] = ()) -> None:
    """Raise UserError unless a folder is the program's already, empty, or missing.

    kind: of the folder, as in the marker. allowed: names that it may hold before it is claimed.
    """
    if not path.is_dir() or _read_marker(path).folder == kind:
        return
    try:
        names = sorted(set(os.listdir(path)) - {*allowed, *_JUNK, MARKER})
    except OSError as error:
        raise path_error(path, error, "a readable folder") from None
    if names:
        raise UserError(
            f"{path}: expected a new folder, an empty one or a {kind}, got one that holds "
            f"{names[0]}. {sentence(fix)}"
        )


def without_own(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Remove the program's files from a folder's paths, unless it holds nothing else.

    A folder of results alone may be an input: the images of a submission may be read as photos.
    The overview is never an input.
    """
    stamps = _read_marker(folder).files
    if not stamps:
        return list(paths)
    others = [path for path in paths if not _has_content(path, stamps.get(path.name, []))]
    return others or [path for path in paths if path.name != OVERVIEW]


class Partial:
    """Finished files of an incomplete set of outputs; a later process can complete the set.

    They are kept in a hidden folder of the output folder, with a list of the key that each was made
    from. As a context manager it locks out other processes. The list has no file that a kill cut
    short.
    """

    LIST = "finished.jsonl"
    LOCK = "lock"  # not the list: closing any handle of a locked file releases the lock

    def __init__(self, output: Path, kind: str, key: str) -> None:
        self.output = output
        self.path = output / f".{kind}-{key[:12]}"
        self._others = f".{kind}-*"
        self._entries: dict[str, tuple[str, Stamp]] = {}
        self._list: IO[bytes] | None = None
        self._files = contextlib.ExitStack()

    def __enter__(self) -> Partial:
        self.path.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context((self.path / self.LOCK).open("ab"))
            try:
                # Not flock: helper processes inherit that lock, and may survive a kill.
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                # On a file system without locks, continue without one.
                if is_held(error):
                    raise UserError(
                        f"{self.output}: expected one writer, got another process that writes the "
                        "same files. Wait for it, or stop it."
                    ) from None
            path = self.path / self.LIST
            torn = path.is_file() and not path.read_bytes().endswith(b"\n")
            self._list = stack.enter_context(path.open("ab"))
            self._list.write(b"\n" * torn)
            self._entries = self.read()
            self._files = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()
        self._list = None

    def read(self) -> dict[str, tuple[str, Stamp]]:
        """Return the list: name -> key and stamp of the file; empty if there is no list."""
        entries: dict[str, tuple[str, Stamp]] = {}
        try:
            lines = read_bytes(self.path / self.LIST).splitlines()
        except OSError:
            return entries
        for line in lines:
            try:
                name, key, size, digest = parse_json(line)
            except (ValueError, TypeError):
                continue  # cut short by a kill
            entries[name] = (key, (size, digest))
        return entries

    def has(self, name: str, key: str) -> bool:
        """Return whether a file made from `key` is finished.

        Copies it back if a killed start had already moved it into the output folder.
        """
        made_from, stamp = self._entries.get(name, ("", (0, "")))
        if made_from != key:
            return False
        if _has_content(self.path / name, [stamp]):
            return True
        if not _has_content(self.output / name, [stamp]):
            return False
        shutil.copyfile(self.output / name, self.path / name)
        return True

    def add(self, name: str, key: str, content: bytes) -> None:
        """Write a file made from `key`, and list it. Raises OSError."""
        assert self._list is not None
        (self.path / name).write_bytes(content)
        stamp = stamp_of(self.path / name, durable=True)
        self._list.write(json.dumps([name, key, *stamp]).encode() + b"\n")
        self._list.flush()
        self._entries[name] = (key, stamp)

    def count(self) -> int:
        """Return the number of finished files."""
        return sum((self.path / name).is_file() for name in self.read())

    def others(self) -> list[Partial]:
        """Return the incomplete sets of other settings in the same folder, if they have files."""
        found = []
        for path in sorted(self.output.glob(self._others)):
            other = Partial(self.output, "", "")
            other.path = path
            if path != self.path and other.count():
                found.append(other)
        return found

    def remove(self) -> None:
        """Remove list, lock and folder if no finished file is left."""
        if not self.count():
            (self.path / self.LIST).unlink(missing_ok=True)
            (self.path / self.LOCK).unlink(missing_ok=True)
            if not any(self.path.iterdir()):
                self.path.rmdir()


def _read_marker(folder: Path) -> _Marker:
    """Return the marker of a folder; an empty one if it is missing or damaged."""
    try:
        content = parse_json(read_bytes(folder / MARKER))
        if content["format"] != FORMAT:
            return _Marker()
        files = {
            str(name): [(int(size), str(digest)) for size, digest in stamps]
            for name, stamps in content["files"].items()
            if name == os.path.basename(name)
        }
        return _Marker(content.get("folder"), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _Marker()


def _write_marker(folder: Path, marker: _Marker) -> None:
    content: dict[str, Any] = {"format": FORMAT, "about": _ABOUT}
    if marker.folder is not None:
        content["folder"] = marker.folder
    content["files"] = dict(sorted(marker.files.items()))
    # ASCII, as names may hold bytes that are not UTF-8.
    write_text(folder / MARKER, json.dumps(content, indent=0) + "\n")


def _has_content(path: Path, stamps: Collection[Stamp]) -> bool:
    """Return whether a path is a regular file, not a link, with one of these contents."""
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size not in {size for size, _ in stamps}:
            return False
        return stamp_of(path) in stamps
    except OSError:
        return False


def _describe(path: Path, listed: bool) -> str:
    if path.is_symlink():
        return "it is a link"
    if path.is_dir():
        return "it is a folder"
    return "it was changed since" if listed else "this program did not write it"


def _nearest(path: Path) -> Path:
    """Return the path itself, or the nearest parent that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if os.path.lexists(place))
