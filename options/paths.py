"""File system queries; each returns an answer or raises UserError with one line and a fix.

is_folder("DIR/labels")     # False if the path does not exist; UserError if the system refuses
list_folder("DIR/labels")   # its entries by name, dangling links included
read_file("list.txt")       # its bytes
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from options.errors import UserError

MOST_BYTES = 1 << 28  # of a list, a table or another text; the largest real ones have a few MB
MOST_IMAGE_BYTES = 1 << 30
_REMOUNT = "mount the drive again, then start the same command"
# Error number -> what was found instead of a usable path, and the fix.
_FAULTS: dict[int, tuple[str, str]] = {
    errno.ENOENT: ("nothing there", "restore it or correct the path"),
    errno.EACCES: ("permission denied", "give yourself the right to read it (chmod, chown)"),
    errno.EPERM: ("permission denied", "give yourself the right to read it (chmod, chown)"),
    errno.ELOOP: ("a link that leads back to itself", "remove the link or point it at a file"),
    errno.ENOTDIR: ("a file where the path needs a folder", "correct the path"),
    errno.EISDIR: ("a folder", "name a file"),
    errno.ENAMETOOLONG: ("a name longer than the file system takes", "shorten it"),
    errno.ESTALE: ("a file that its server has lost (stale handle)", _REMOUNT),
    errno.ENOTCONN: ("a drive that does not answer", _REMOUNT),
    errno.ETIMEDOUT: ("a drive that does not answer", _REMOUNT),
    errno.EIO: ("an input/output error", "check the disk; dmesg names the cause"),
    errno.EMFILE: ("too many open files", "raise the limit: ulimit -n 4096"),
    errno.ENOSPC: ("no space left on the disk", "free some space"),
    errno.EDQUOT: ("no space left in your quota", "free some space"),
    errno.EROFS: ("a read-only file system", "choose another place"),
    errno.ESPIPE: ("a pipe or a device", "name a file"),
}
_ABSENT = (errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True, order=True)
class Entry:
    """An entry of a folder; `fault` describes a broken one and its fix."""

    path: Path
    kind: Literal["file", "folder", "other", "broken"]
    fault: str = ""


def explain(path: Path | str, error: OSError | ValueError) -> tuple[str, str]:
    """Return what was found instead of a usable path, and the fix, for an error on `path`.

    Python raises ValueError for a name that no file can have.
    """
    if not isinstance(error, OSError):
        return "a name that no file can have", "correct the path"
    if error.errno in _ABSENT:
        target = _target_of_link(path)
        if target is not None:
            return f"a link to {target}, which is not there", "restore that or remove the link"
    if error.errno == errno.EFBIG:
        return error.strerror or "a file that is too large", "name another file"
    if error.errno in _FAULTS:
        found, fix = _FAULTS[error.errno]
        return found + _where(path, error.errno), fix
    return (error.strerror or str(error) or type(error).__name__).lower(), "check the disk"


def path_error(
    path: Path | str, error: OSError | ValueError, expected: str = "a readable path"
) -> UserError:
    """Return the UserError for an error that an operation on `path` raised."""
    found, fix = explain(path, error)
    return UserError(f"{show_path(path)}: expected {expected}, got {found}. {sentence(fix)}")


def sentence(text: str) -> str:
    """Return a text with a capital letter first and a period last."""
    return f"{text[:1].upper()}{text[1:]}" + "." * (not text.endswith((".", "?", "!")))


def show_path(path: Path | str) -> str:
    """Return a path as one line of UTF-8, with all other characters escaped."""
    text = str(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\u3000" else ascii(c)[1:-1] for c in text)


def expand(path: Path | str) -> Path:
    """Return a path with `~` expanded; UserError if there is no home folder for it."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{path}: expected a home folder for ~, got none. Write the path in full."
        ) from None


def look_up(path: Path | str) -> os.stat_result | None:
    """Return the status of a path, links followed, or None if it does not exist.

    Raises UserError if the system refuses to answer.
    """
    try:
        return os.stat(path)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _ABSENT:
            return None
        raise path_error(path, error) from None


def exists(path: Path | str) -> bool:
    """Whether a path exists; a dangling link does not. Raises as `look_up`."""
    return look_up(path) is not None


def is_folder(path: Path | str) -> bool:
    """Whether a path is a folder. Raises as `look_up`."""
    found = look_up(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def is_file(path: Path | str) -> bool:
    """Whether a path is a regular file. Raises as `look_up`."""
    found = look_up(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def list_folder(path: Path | str) -> list[Entry]:
    """Return the entries of a folder, hidden ones included, sorted by name.

    Raises UserError if the folder cannot be read; an unreadable entry is `broken`.
    """
    path = Path(path)
    try:
        with os.scandir(path) as entries:
            return sorted(_describe(path / entry.name, entry) for entry in entries)
    except (OSError, ValueError) as error:
        raise path_error(path, error, "a readable folder") from None


def existing_folder(path: Path | str) -> Path:
    """Return a folder that the user named, `~` expanded; UserError if it cannot be read."""
    folder = expand(path)
    found = look_up(folder)
    if found is None:
        raise _missing_folder(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise UserError(
            f"{show_path(folder)}: expected a folder, got a file. Name the folder that holds it."
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise path_error(folder, PermissionError(errno.EACCES, ""), "a readable folder")
    return folder


def open_file(path: Path | str, most: int | None = None) -> BinaryIO:
    """Open a regular file of at most `most` bytes to read; OSError for anything else.

    A pipe or a device may have no end, and opening a pipe may block forever. A sparse file may be
    larger than memory.
    """
    file = os.fdopen(_open(path, os.O_RDONLY), "rb")
    size = os.fstat(file.fileno()).st_size
    if most is not None and size > most:
        file.close()
        raise OSError(errno.EFBIG, f"{size >> 20} MB, more than {most >> 20}", str(path))
    return file


def open_to_append(path: Path | str) -> int:
    """Open or create a file to append to; return its descriptor. OSError as `open_file`."""
    return _open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _open(path: Path | str, flags: int) -> int:
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.ESPIPE
        raise OSError(number, _FAULTS[number][0], str(path))
    return handle


def read_bytes(path: Path | str) -> bytes:
    """Return the bytes of a list, a table or another text; OSError as `open_file`."""
    with open_file(path, MOST_BYTES) as file:
        return file.read()


def read_file(path: Path | str, expected: str = "a readable file") -> bytes:
    """Return the bytes of a list, a table or another text; UserError if it cannot be read."""
    try:
        return read_bytes(path)
    except (OSError, ValueError) as error:
        raise path_error(path, error, expected) from None


def first_that(paths: Iterable[Path], fits: Callable[[Path], bool]) -> Path | None:
    """Return the first path that `fits`; skip those that raise, since this is for hints."""
    for path in paths:
        try:
            if fits(path):
                return path
        except UserError:
            continue
    return None


def _describe(path: Path, entry: os.DirEntry[str]) -> Entry:
    try:
        if entry.is_file():
            return Entry(path, "file")
        if entry.is_dir():
            return Entry(path, "folder")
        # Both are also False for a dangling link.
        entry.stat()
    except OSError as error:
        found, fix = explain(path, error)
        return Entry(path, "broken", f"{found}; {fix}")
    return Entry(path, "other")


def _missing_folder(folder: Path) -> UserError:
    found, fix = explain(folder, FileNotFoundError(errno.ENOENT, ""))
    if _target_of_link(folder) is None:
        nearest = first_that(folder.absolute().parents, exists)
        found, fix = f"nothing; only {nearest} exists", "correct the path"
    return UserError(f"{show_path(folder)}: expected a folder, got {found}. {sentence(fix)}")


def _where(path: Path | str, number: int) -> str:
    """Return the folder above a path that causes an error, for the end of `found`."""
    if number not in (errno.EACCES, errno.ELOOP):
        return ""
    whole = Path(path).absolute()
    for place in (*reversed(whole.parents), whole):
        try:
            os.stat(place)
        except OSError as error:
            # An entry's permissions are those of its folder.
            cause = place.parent if number == errno.EACCES else place
            return f" at {show_path(cause)}" if error.errno == number and cause != whole else ""
    return ""


def _target_of_link(path: Path | str) -> str | None:
    try:
        return show_path(os.readlink(path))
    except (OSError, ValueError):
        return None
