"""This machine: its tools, the folders of Jittor and of the set-up, and their files and lock.

Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from options.errors import UserError
from runtime.locks import warn_of_no_locks


def jittor_home(environ: Mapping[str, str]) -> Path:
    """The folder in which Jittor keeps .cache/jittor, found as Jittor finds it.

    Jittor also writes JITTOR_HOME into its config.json for later programs; this only reads it.

    Raises:
        UserError: HOME is a relative path, or config.json cannot be read.
    """
    if not Path.home().is_absolute():
        raise UserError(
            f"HOME: expected an absolute path, since Jittor works in other folders, got "
            f"{Path.home()}. Set HOME={Path.home().absolute()}"
        )
    config = Path.home() / ".cache/jittor/config.json"
    home = environ.get("JITTOR_HOME")
    if home is None:
        try:
            home = json.loads(config.read_text()).get("JITTOR_HOME")
        except (FileNotFoundError, NotADirectoryError):
            home = None
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(f"{config}: expected a JSON object, got {error}. Remove it") from None
    return Path(home).absolute() if home else Path.home()


def own_folder(home: Path) -> Path:
    """The folder in which the set-up keeps its files, next to Jittor's caches."""
    return home / ".cache/jittor/landscape"


def open_lock(own: Path) -> TextIO:
    """Creates the set-up's folder and opens its lock file.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        own.mkdir(parents=True, exist_ok=True)
        return open(own / "lock", "w")
    except OSError as error:
        raise UserError(
            f"{own}: expected a writable folder for Jittor's operators, got {error.strerror}. "
            "Change its permissions, or set HOME to another folder"
        ) from None


@contextlib.contextmanager
def locked(own: Path) -> Iterator[None]:
    """Holds the set-up's lock, so that only one program at a time sets Jittor up."""
    with open_lock(own) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            warn_of_no_locks(own, error, "start no two programs for the first time at once")
        # closing the file releases the lock
        yield


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Writes a file under another name and then renames it."""
    handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def apt_get(*packages: str) -> str:
    """The command that installs packages on Debian and Ubuntu."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install {' '.join(packages)}"


def first_line(command: list[str]) -> str:
    """The first line that a command prints; empty if it cannot be run."""
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return output.split("\n", 1)[0]


def toolchain(environ: Mapping[str, str]) -> list[str | None]:
    """Jittor, Python, compiler and processor: everything that Jittor's compiled code depends on."""
    package = importlib.util.find_spec("jittor_utils")
    return [
        importlib.metadata.version("jittor"),
        package.origin if package else None,
        sys.version,
        sysconfig.get_paths()["include"],
        environ.get("python_config_path"),
        platform.platform(),
        platform.node(),
        _processor(),
        first_line([environ.get("cc_path") or "g++", "--version"]),
    ]


def digest(text: str) -> str:
    """A short hash for the names of files."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
