"""Checks what Jittor needs to be imported and to compile: packages, compiler, headers, home.

problem = check_compiler(os.environ)
str(problem)      # C++ compiler: expected g++, got none. Run apt-get install g++
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass

from options.errors import UserError
from runtime.machine import apt_get, jittor_home, open_lock, own_folder
from runtime.settings import environment_of_user

INSTALL = "Run `bash train.sh`, or: python -m pip install -r requirements.txt"


@dataclass(frozen=True)
class Problem:
    """A requirement that is not met: what was expected and found, and the fix."""

    requirement: str
    text: str
    fix: str

    def __str__(self) -> str:
        return f"{self.requirement}: {self.text}. {self.fix}"


def check_python_side(environ: Mapping[str, str]) -> None:
    """Raises UserError for the first problem that keeps Jittor from being imported or compiled."""
    for check in (check_packages, check_compiler, check_headers):
        problem = check(environ)
        if problem:
            raise UserError(str(problem))


def check_machine() -> None:
    """Raises UserError for a problem that would stop `prepare`, so that it is known early.

    Covers Python, the compiler, and whether the home folder can be written.
    """
    environ, _ = environment_of_user()
    check_python_side(environ)
    open_lock(own_folder(jittor_home(environ))).close()


def check_packages(_environ: Mapping[str, str]) -> Problem | None:
    """Checks jittor and numpy in this environment."""
    package = importlib.util.find_spec("jittor_utils")
    if package is None or package.origin is None:
        return Problem("Jittor", f"expected it in {sys.executable}, got none", INSTALL)
    for path in (sys.executable, package.origin):
        if re.search(r"\s", path):
            text = f"expected a path without spaces for its compiler, got '{path}'"
            return Problem("Jittor", text, "Move the project to another folder")
    try:
        version = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        return Problem("numpy", f"expected it in {sys.executable}, got none", INSTALL)
    if int(version.split(".")[0]) >= 2:
        text = (
            f"expected a version below 2, since Jittor computes wrong numbers with 2, got {version}"
        )
        return Problem("numpy", text, INSTALL)
    return None


def check_compiler(environ: Mapping[str, str]) -> Problem | None:
    """Checks the C++ compiler."""
    name = environ.get("cc_path") or "g++"
    if shutil.which(name, path=environ.get("PATH")) is None:
        return Problem("C++ compiler", f"expected {name}, got none", f"Run {apt_get('g++')}")
    return None


def check_headers(_environ: Mapping[str, str]) -> Problem | None:
    """Checks Python's headers."""
    header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
    if not os.path.isfile(header):
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-dev"
        return Problem("Python headers", f"expected {header}, got none", f"Run {apt_get(package)}")
    return None
