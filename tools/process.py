"""What a program puts right in its own process before it works.

A person's shell may hand it closed or breaking streams, a folder that is gone, other projects'
packages. Standard library only: this runs before anything that may be missing is imported.
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

# A disk that is full may have room again; whoever read a pipe or a terminal is gone for good.
PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Of requirements.txt, what the programs import themselves.
PACKAGES = ("numpy", "PIL", "cv2", "scipy", "skimage", "jittor", "safetensors", "tqdm")


def prepare_process() -> None:
    """Make streams that cannot break, children that can be waited for, files that can be read.

    May be called again. Never raises.
    """
    _open_streams()
    for name in ("stdout", "stderr"):
        # pytest and the like have put something of their own there
        if getattr(sys, name) is getattr(sys, f"__{name}__"):
            setattr(sys, name, _steady(getattr(sys, name), ("stdout", "stderr").index(name) + 1))
    # What a program writes it must be able to read again, whatever the umask keeps from others.
    os.umask(os.umask(0o022) & 0o077)
    # Where it is ignored, nobody can tell whether a compiler has failed.
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def check_surroundings() -> None:
    """Raise UserError where this process stands in no folder, or on other projects' packages."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"the folder that this was started in must be there: {error.strerror}; cd to one that "
            "is, then start again"
        ) from None
    found = foreign_package()
    if found:
        raise UserError(
            f"the packages must be those of {sys.prefix}: PYTHONPATH puts {found} before them; "
            "unset PYTHONPATH, then start again (bash train.sh and bash test.sh leave it out)"
        )


def foreign_package() -> str | None:
    """Where PYTHONPATH has a package that a virtual environment brings itself, None if nowhere."""
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
    """Open what was closed at the start: the next file that is written would take its number."""
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
    """A descriptor to write to; what cannot be written is lost, and the work goes on.

    `head` has read enough, `tee` has died, the terminal is closed after `disown`: none of that
    ends a training.
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
                # another program has made the pipe that we share one that does not wait
                select.select([], [self._descriptor], [])
            except OSError as error:
                if error.errno not in PASSING:
                    null = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(null, self._descriptor)
                    os.close(null)
                return len(content)


def _steady(stream: Any, descriptor: int) -> io.TextIOWrapper:
    """A stream in the place of Python's own: it never breaks, and has a way to write every text."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Unbroken(descriptor)),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=getattr(stream, "line_buffering", True),
        write_through=getattr(stream, "write_through", False),
    )
