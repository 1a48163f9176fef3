"""Jittor's environment variables for one device, and the files that they name.

environ, inherited = environment_of_user()
settings = settings_for(environ, cuda, onednn, own)
apply_settings(environ, settings, "cpu")
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from options.errors import UserError
from runtime.cuda import CudaBackend
from runtime.machine import apt_get, digest, toolchain
from runtime.onednn import OneDNN

CACHE_PREFIX = "landscape-"
# Settings of this process and its device, from which a child process restores the user's own.
INHERITED = "JITTOR_LANDSCAPE_ROUTE"

# What nearly every CPU operator includes, after the two names that Jittor defines first.
OPERATOR_HEADER = """\
#define JIT 1
#define JIT_cpu 1
#include <algorithm>
#include <cmath>
#include "var.h"
#include "executor.h"
#include "fused_op.h"
#include "ops/array_op.h"
#include "ops/binary_op.h"
#include "ops/broadcast_to_op.h"
#include "ops/op_register.h"
"""


def settings_for(
    environ: Mapping[str, str], cuda: CudaBackend | None, onednn: OneDNN | None, own: Path
) -> dict[str, str]:
    """Jittor's environment variables; the user's own values take precedence if possible.

    Args:
        environ: the user's environment variables.
        cuda: how to build with CUDA, None for the CPU.
        onednn: the oneDNN that Jittor uses, None for none.
        own: the set-up's folder.

    Raises:
        UserError: mpirun started this process, and mpicc is missing.
    """
    under_mpirun = "OMPI_COMM_WORLD_SIZE" in environ
    if under_mpirun and not mpi_compiler(environ):
        raise UserError(
            "mpirun: expected mpicc, to compile Jittor's MPI operators, got none. Run "
            + apt_get("libopenmpi-dev")
        )
    defaults = {
        # By default Jittor names its cache after the git branch of its folder, which for a .venv
        # inside a repository is the branch of that repository: each branch would compile everything
        # again. CPU and CUDA builds must not share a cache.
        "cache_name": CACHE_PREFIX + (cuda.name if cuda else "cpu"),
        "log_silent": "1",
        # skips a call of gdb at each import, for stack traces that this project does not use
        "gdb_path": "",
        # otherwise Jittor imports PyTorch first if it is installed
        "FIX_TORCH_ERROR": "0",
        # more compile threads need a lock that Jittor lacks: see runtime.compilers
        "use_parallel_op_compiler": "1",
        # compiling the MPI operators takes a minute, so only under mpirun
        "use_mpi": "1" if under_mpirun else "0",
    }
    if onednn is None:
        defaults["use_mkl"] = "0"
    config = python_config(environ, own)
    if config:
        defaults["python_config_path"] = str(config[0])
    threads = openmp_threads(environ)
    if threads:
        defaults["OMP_NUM_THREADS"] = str(threads)
    if cuda:
        defaults.update(cuda.environment)
    settings = {name: environ.get(name, value) for name, value in defaults.items()}
    if under_mpirun:
        settings["use_mpi"] = "1"
    # an empty path tells Jittor to build without CUDA
    settings["nvcc_path"] = cuda.environment["nvcc_path"] if cuda else ""
    # Jittor sets cc_path itself, and a child process inherits it
    compiler = Path(environ.get("cc_path") or "g++").name
    if not cuda and compiler.startswith("g++") and "kernel_flags" not in environ:
        settings["kernel_flags"] = f' -include "{operator_header(environ, own)}" '
    return settings


def environment_of_user() -> tuple[dict[str, str], Literal["cpu", "cuda"] | None]:
    """os.environ without the settings of a parent process, and that parent's device."""
    environ = dict(os.environ)
    try:
        inherited = json.loads(environ.pop(INHERITED))
        device = inherited["device"]
        for name, value in inherited["before"].items():
            environ.pop(name, None)
            if value is not None:
                environ[name] = value
    except (KeyError, ValueError, TypeError):
        return environ, None
    return environ, device


def apply_settings(environ: Mapping[str, str], settings: Mapping[str, str], device: str) -> None:
    """Sets os.environ to the user's variables and these settings, and records both for children."""
    record = {"device": device, "before": {name: environ.get(name) for name in settings}}
    os.environ.clear()
    os.environ.update(environ)
    os.environ.update(settings)
    os.environ[INHERITED] = json.dumps(record)


def operator_header(environ: Mapping[str, str], own: Path) -> Path:
    """The header that each CPU operator starts with; its compiled form is in the same folder.

    GCC does not notice that a compiled header was made from older headers, so the name of the
    folder is a hash of the toolchain. It is the same with and without MPI, as are Jittor's
    operators.
    """
    flags = [environ.get(name) for name in ("cc_flags", "debug", "enable_lto")]
    name = digest(json.dumps([toolchain(environ), flags, OPERATOR_HEADER]))
    return own / f"operators-{name}" / "operators.h"


def mpi_compiler(environ: Mapping[str, str]) -> str | None:
    """The mpicc that Jittor would use, None if there is none."""
    if "mpicc_path" in environ:
        return environ["mpicc_path"] or None
    return shutil.which("mpicc", path=environ.get("PATH"))


def openmp_threads(environ: Mapping[str, str]) -> int | None:
    """The number of threads per process if OpenMP's own choice is wrong, else None.

    It is wrong in a container with a processor quota, since OpenMP starts a thread per core of the
    host, and for several processes on one machine that are not bound to cores.
    """
    if "OMP_NUM_THREADS" in environ:
        return None
    seen = len(os.sched_getaffinity(0))
    processes = int(environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
    bound = seen < (os.cpu_count() or seen)
    quota = _processor_quota()
    share = min(seen, quota) if quota else seen
    if processes > 1 and not bound:
        share = max(1, share // processes)
    return share if share < seen else None


def _processor_quota(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        limit, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not limit.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return max(1, math.ceil(int(limit) / int(period)))


def python_config(environ: Mapping[str, str], own: Path) -> tuple[Path, str] | None:
    """Path and text of a script that replaces python3.X-config; None if Jittor finds a real one."""
    minor = sys.version_info[1]
    folder = os.path.dirname(sys.executable)
    places = [
        environ.get("python_config_path", ""),
        f"{folder}/python3.{minor}-config",
        f"{sys.executable}-config",
        f"/usr/bin/python3.{minor}-config",
        f"/usr/local/bin/python3.{minor}-config",
        f"{folder}/python3-config",
    ]
    if any(os.path.isfile(place) for place in places):
        return None
    include = sysconfig.get_paths()["include"]
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    includes = shlex.quote(f'-I"{include}"')
    text = (
        "#!/bin/sh\n"
        f'case "$1" in --includes) echo {includes} ;; --extension-suffix) echo {suffix} ;; '
        "*) exit 1 ;; esac\n"
    )
    return own / f"python3.{minor}-config-{digest(text)}", text
