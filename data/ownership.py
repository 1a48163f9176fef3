"""Who wrote a file: what a program may replace or remove, and what it never touches.

The policy of every program here that writes results:

1. A file is ours if the marker of its folder, `.jittor-landscape.json`, lists its name, and its
   content still has the size and the SHA-256 that are listed. Everything else is a person's: an
   edited overview, a photo dropped in under a listed name, a link, a folder, any file in a folder
   without a marker. A damaged marker is no marker.
2. A person's file is never overwritten, moved or removed. What stands in the way is named before
   any work starts, with the flag that solves it, and once more before the finished files move in:
   hours may lie between.
3. Files of an earlier start are replaced, and this is announced.
4. Files are made in a hidden folder within the place they are meant for, and move in when all are
   finished. The marker first lists old and new content, then the files move, then it lists the new
   content alone: a kill at any point leaves files that the next start recognizes.
5. A folder that a program makes as a whole (a run) is marked as a whole when it is new or empty.
   In it, names of our making are ours, and no other name is touched.

A file with a mark of its own inside, such as a converted snapshot, needs no list. Readers skip
our files where others lie next to them: results written into a folder of layouts are no layouts.
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
from data.locks import is_held
from options.errors import UserError
from options.json_text import parse_json
from options.paths import read_bytes

MARKER = ".jittor-landscape.json"
FORMAT = "jittor-landscape output 1"
OVERVIEW = "overview.png"  # a sheet for people: no reader takes it for an input
_ABOUT = (
    "Files that Jittor Landscape wrote here. It replaces or removes no other, nor a changed one."
)
# What a file manager leaves in a folder does not make it a person's.
_JUNK = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})

Stamp = tuple[int, str]  # size in bytes, SHA-256
Content = str | bytes | Callable[[BinaryIO], object]


def stamp_of(path: Path, *, durable: bool = False) -> Stamp:
    """The size and the SHA-256 of a file; `durable`: once it is on the disk. Raises OSError."""
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
    """What a folder's marker says: the kind of folder, if ours as a whole, and its files."""

    folder: str | None = None
    files: dict[str, list[Stamp]] = field(default_factory=dict)


class OutputFolder:
    """A folder that results are written into, which may hold a person's files as well.

    `fix` is how a person gets out of its way, as the end of a sentence.
    """

    def __init__(self, path: Path, fix: str) -> None:
        self.path = path
        self.fix = fix

    def owned(self) -> list[str]:
        """The names of our files in it, sorted."""
        files = _read_marker(self.path).files
        return sorted(name for name in files if _has_content(self.path / name, files[name]))

    def check(self, names: Iterable[str], size: int = 0) -> list[str]:
        """Check that files of these names can be written, and return those to be replaced.

        size: bytes that they need together, 0 for few. Raises UserError for the first name that is
        a person's, and if the folder cannot be written. Nothing is written.
        """
        names = list(names)
        nearest = _nearest(self.path)
        if not nearest.is_dir():
            found = "a link that leads nowhere" if nearest.is_symlink() else "no folder"
            raise UserError(f"{self.path}: expected a folder, {nearest} is {found}; {self.fix}")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise UserError(f"{self.path}: you may not write into {nearest}; {self.fix}")
        self._check_room(nearest, size, len(names))
        stamps = _read_marker(self.path).files
        present = [name for name in names if os.path.lexists(self.path / name)]
        for name in present:
            path = self.path / name
            if not _has_content(path, stamps.get(name, [])):
                raise UserError(
                    f"{path} is in the way: {_describe(path, name in stamps)}; move it away, or "
                    f"{self.fix}"
                )
        return present

    def place(self, folder: Path, names: Sequence[str], remove: Iterable[str] = ()) -> None:
        """Move finished files in from `folder`, which is on the same disk.

        Those of `remove` that are ours go. Raises UserError as `check` does, OSError if the disk
        refuses; what has not moved stays in `folder`.
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
        """Give a file of ours a name that is free."""
        with alone_in(self.path):
            marker = _read_marker(self.path)
            marker.files[new] = marker.files[name]
            _write_marker(self.path, marker)
            os.rename(self.path / name, self.path / new)
            del marker.files[name]
            _write_marker(self.path, marker)

    def write(self, files: Mapping[str, Content]) -> None:
        """Write files: texts, bytes, or what a function writes. All of them are made, then moved.

        Raises UserError as `check` does, OSError if the disk refuses.
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
            self.place(Path(folder), list(files))

    def _check_room(self, nearest: Path, size: int, count: int) -> None:
        disk = os.statvfs(nearest)
        free = disk.f_bavail * disk.f_frsize
        # A file system that does not count, such as a bucket's, says 0 of 0.
        if disk.f_blocks and free < size:
            raise UserError(
                f"{self.path}: expected about {size / 1e6:.0f} MB of free space, got "
                f"{free / 1e6:.0f} MB; free some, or {self.fix}"
            )
        if disk.f_files and disk.f_favail < count:
            raise UserError(
                f"{self.path}: expected room for {count} files, the disk takes {disk.f_favail} "
                f"more (df -i); remove some, or {self.fix}"
            )


def output_file(path: Path, fix: str) -> OutputFolder:
    """The folder of a lone file that is to be written, checked for that name."""
    folder = OutputFolder(path.parent, fix)
    folder.check([path.name])
    return folder


def claim_folder(path: Path, kind: str) -> None:
    """Mark a folder, which `check_claim` has let pass, as ours as a whole. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True)
    marker = _read_marker(path)
    if marker.folder != kind:
        marker.folder = kind
        _write_marker(path, marker)


def check_claim(path: Path, kind: str, fix: str, besides: Collection[str] = ()) -> None:
    """Raise UserError unless a folder is ours already, empty, or not there.

    kind: what the folder is, as the marker names it. besides: names that may be there before it is
    ours.
    """
    if not path.is_dir() or _read_marker(path).folder == kind:
        return
    try:
        names = sorted(set(os.listdir(path)) - {*besides, *_JUNK, MARKER})
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; {fix}") from None
    if names:
        raise UserError(
            f"{path}: expected a new folder, an empty one or a {kind}, it holds {names[0]}; {fix}"
        )


def without_own(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Leave out those of a folder's files that are ours and lie next to others.

    A folder with nothing but ours is meant as it is: a submission's images may be read as photos.
    Its overview is never one.
    """
    stamps = _read_marker(folder).files
    if not stamps:
        return list(paths)
    others = [path for path in paths if not _has_content(path, stamps.get(path.name, []))]
    return others or [path for path in paths if path.name != OVERVIEW]


class Partial:
    """The finished files of a set that is not whole yet; they outlive the process that made them.

    They lie in a hidden folder of the output's, with a list of what each was made from. As a
    context manager it keeps other processes out. A file that a kill cut short is not on the list.
    """

    LIST = "finished.jsonl"
    LOCK = "lock"  # not the list: to close any handle of a locked file gives the lock away

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
                # Not flock: helper processes that outlive a kill would inherit it.
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                # A file system without locks gives none: the work goes on.
                if is_held(error):
                    raise UserError(
                        f"{self.output}: another process draws the same files there; wait, or "
                        "stop it"
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
        """The list: name -> what the file was made from, and its stamp. Empty if there is none."""
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
        """Whether a file is finished that was made from `key`.

        One that a killed start had moved into the output already is copied back.
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
        """Write a file, made from what `key` says, and list it. Raises OSError."""
        assert self._list is not None
        (self.path / name).write_bytes(content)
        stamp = stamp_of(self.path / name, durable=True)
        self._list.write(json.dumps([name, key, *stamp]).encode() + b"\n")
        self._list.flush()
        self._entries[name] = (key, stamp)

    def count(self) -> int:
        """How many files are finished."""
        return sum((self.path / name).is_file() for name in self.read())

    def others(self) -> list[Partial]:
        """Those of other settings in the same folder, with finished files."""
        found = []
        for path in sorted(self.output.glob(self._others)):
            other = Partial(self.output, "", "")
            other.path = path
            if path != self.path and other.count():
                found.append(other)
        return found

    def remove(self) -> None:
        """Remove list, lock and folder, if no finished file is left in it."""
        if not self.count():
            (self.path / self.LIST).unlink(missing_ok=True)
            (self.path / self.LOCK).unlink(missing_ok=True)
            if not any(self.path.iterdir()):
                self.path.rmdir()


def _read_marker(folder: Path) -> _Marker:
    """The marker of a folder; an empty one if there is none, or a damaged one."""
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
    # ASCII: names may hold bytes that are no UTF-8.
    write_text(folder / MARKER, json.dumps(content, indent=0) + "\n")


def _has_content(path: Path, stamps: Collection[Stamp]) -> bool:
    """Whether a path is a file, and no link, with one of these contents."""
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
    """The path itself, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if os.path.lexists(place))
