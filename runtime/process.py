"""Prepares a process for its work: streams, file modes, signals, folder and packages.

The user's shell may start it with closed or breaking streams, in a deleted folder, or with other
projects' packages. Standard library only: this runs before any import that may fail.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import io
import os
import select
import signal
import sys
import threading
from typing import Any

from options.errors import UserError

# A full disk may have space again; a closed pipe or terminal never returns.
TEMPORARY = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# The packages of requirements.txt that this project imports and cannot run without.
PACKAGES = ("numpy", "PIL", "cv2", "scipy", "skimage", "jittor", "safetensors", "tqdm")


def prepare_process() -> None:
    """Makes streams unbreakable, children waitable and new files readable.

    Idempotent. Never raises.
    """
    _open_streams()
    for name in ("stdout", "stderr"):
        # not if pytest or another program has replaced it
        if getattr(sys, name) is getattr(sys, f"__{name}__"):
            setattr(sys, name, _steady(getattr(sys, name), ("stdout", "stderr").index(name) + 1))
    # Whatever the umask, a program must be able to read the files that it writes.
    os.umask(os.umask(0o022) & 0o077)
    # If SIGCHLD is ignored, the exit codes of child processes are lost.
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def check_surroundings() -> None:
    """Raises UserError if the current folder is gone, or if PYTHONPATH hides our packages."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"current folder: expected one that exists, got {error.strerror}. Change to another "
            "folder and start again"
        ) from None
    found = foreign_package()
    if found:
        raise UserError(
            f"PYTHONPATH: expected the packages of {sys.prefix} first, got {found}. Unset "
            "PYTHONPATH and start again (bash train.sh and bash test.sh ignore it)"
        )


def foreign_package() -> str | None:
    """The path of a package in PYTHONPATH that hides one of the virtual environment, or None."""
    listed = os.environ.get("PYTHONPATH", "")
    if not listed or sys.prefix == sys.base_prefix:
        return None
    folders = [os.path.realpath(folder) for folder in listed.split(os.pathsep) if folder]
    for name in PACKAGES:
        place = None
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(name)
            place = spec.origin if spec else None
        if place is None or _is_below(place, os.path.realpath(sys.prefix)):
            continue
        if any(_is_below(place, folder) for folder in folders):
            return place
    return None


def _is_below(path: str, folder: str) -> bool:
    return os.path.realpath(path).startswith(folder.rstrip("/") + "/")


def _open_streams() -> None:
    """Opens streams that were closed at the start: the next open file would take their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            else:
                os.set_inheritable(number, True)


class _Unbroken(io.RawIOBase):
    """A descriptor to write to that drops output instead of failing.

    Training continues when `head` has read enough, `tee` has died, or the terminal is closed after
    `disown`.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: Any) -> int:
        while True:
            try:
                return os.write(self._descriptor, content)
            except BlockingIOError:
                # another program made the shared pipe non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                if error.errno not in TEMPORARY:
                    null = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(null, self._descriptor)
                    os.close(null)
                return len(content)


def _steady(stream: Any, descriptor: int) -> io.TextIOWrapper:
    """Replaces a stream of Python's by one that never breaks and can write every text."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Unbroken(descriptor)),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=getattr(stream, "line_buffering", True),
        write_through=getattr(stream, "write_through", False),
    )
