"""Provides oneDNN to Jittor from the installed wheels.

Jittor 1.3.11 uses <home>/.cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp, and downloads it otherwise.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from options.errors import UserError

ONEDNN_FOLDER = "dnnl_lnx_2.2.0_cpu_gomp"
ONEDNN_MARK = "put_here_by_jittor_landscape.txt"
ONEDNN_WHEELS = ("onednn-cpu-gomp", "onednn-devel-cpu-gomp")


@dataclass(frozen=True)
class OneDNN:
    """A oneDNN that Jittor uses; `ours` if this set-up placed it."""

    folder: Path
    version: str
    ours: bool


def onednn_of(home: Path) -> OneDNN | None:
    """The oneDNN that Jittor would use now, None if it would download one."""
    folder = home / ".cache/jittor/mkl" / ONEDNN_FOLDER
    if not (folder / "lib/libmkldnn.so").is_file() or not (folder / "include").is_dir():
        return None
    return OneDNN(folder, _version(folder), (folder / ONEDNN_MARK).is_file())


def place_onednn(home: Path, *, quiet: bool = False) -> OneDNN | None:
    """Places the oneDNN of the installed wheels for Jittor, unless it has one; None without wheels.

    The files are hard links or copies, because they must outlive this environment: the user's
    other Jittor programs use them too. The folder appears atomically.

    Raises:
        UserError: the folder cannot be written, or Jittor may use another one instead.
    """
    placed = onednn_of(home)
    folder = home / ".cache/jittor/mkl" / ONEDNN_FOLDER
    if placed is None:
        files = onednn_wheel_files()
        if files is None:
            if platform.machine() == "x86_64":
                raise UserError(
                    f"oneDNN: expected its wheels in {sys.executable}, got none. "
                    "Run python -m pip install -r requirements.txt"
                )
            if not quiet:
                print(
                    f"Convolutions run slowly, without oneDNN: no wheel for {platform.machine()} "
                    "(`python -c 'import jittor'` lets Jittor download it)",
                    file=sys.stderr,
                    flush=True,
                )
            return None
        try:
            _place(folder, *files)
        except OSError as error:
            raise UserError(
                f"{folder}: expected a writable folder, got {error}. Change its permissions or "
                "free some space"
            ) from None
        placed = OneDNN(folder, _version(folder), ours=True)
    # Jittor uses the first folder of this name that the file system happens to list
    for other in folder.parent.iterdir():
        if not other.name.startswith("dnnl") or not other.is_dir():
            continue
        if not (other / "lib/libmkldnn.so").is_file():
            raise UserError(
                f"{other}: expected lib/libmkldnn.so, since Jittor may use this folder, got none. "
                "Move it away"
            )
    return placed


def onednn_wheel_files() -> tuple[Path, list[tuple[Path, str]]] | None:
    """The library, and each header with its name below include/; None if a wheel is missing."""
    libraries: list[Path] = []
    headers: list[tuple[Path, str]] = []
    try:
        for wheel in ONEDNN_WHEELS:
            for entry in importlib.metadata.distribution(wheel).files or []:
                path = Path(os.path.normpath(str(entry.locate())))
                if re.fullmatch(r"libdnnl\.so\.\d+", path.name):
                    libraries.append(path)
                elif "include" in entry.parts:
                    below = entry.parts[entry.parts.index("include") + 1 :]
                    headers.append((path, "/".join(below)))
    except importlib.metadata.PackageNotFoundError:
        return None
    existing = [path for path in libraries if path.is_file()]
    return (existing[0], headers) if existing and headers else None


def _place(folder: Path, library: Path, headers: list[tuple[Path, str]]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # the name must not start with dnnl: Jittor would use the unfinished folder
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        new.chmod(0o755)
        (new / "lib").mkdir()
        try:
            os.link(library.resolve(), new / "lib/libmkldnn.so")
        except OSError:
            shutil.copy2(library, new / "lib/libmkldnn.so")
        # the name under which a program linked to it searches it
        (new / "lib" / library.name).symlink_to("libmkldnn.so")
        for path, name in headers:
            target = new / "include" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        versions = [f"{wheel} {importlib.metadata.version(wheel)}" for wheel in ONEDNN_WHEELS]
        (new / ONEDNN_MARK).write_text("\n".join(versions) + "\n")
        if folder.is_symlink() or folder.exists():
            aside = Path(tempfile.mkdtemp(prefix="replaced-", dir=folder.parent))
            os.replace(folder, aside / folder.name)
            if (aside / folder.name / ONEDNN_MARK).is_file():
                shutil.rmtree(aside)
        os.replace(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _version(folder: Path) -> str:
    for name in ("oneapi/dnnl/dnnl_version.h", "dnnl_version.h"):
        try:
            text = (folder / "include" / name).read_text(errors="replace")
        except OSError:
            continue
        numbers = re.findall(r"#define\s+DNNL_VERSION_(?:MAJOR|MINOR|PATCH)\s+(\d+)", text)
        if len(numbers) == 3:
            return ".".join(numbers)
    return "of unknown version"
