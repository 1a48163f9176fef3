"""The Python half of the set-up: what must be right before `import jittor`.

    from tools.set_up import prepare
    route = prepare("auto")
    import jittor as jt
    jt.flags.use_cuda = int(route.device == "cuda")

    python -m tools.set_up [--device auto|cpu|cuda]      does it once and says what was found

Standard library only. tools/set_up.sh makes the environment that this runs in.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from data.locks import warn_of_no_locks
from options.errors import UserError
from tools.arguments import ToolParser, exit_codes
from tools.cuda import (
    CudaRoute,
    Refusal,
    ask_driver,
    card_of_rank,
    choose_cuda,
    find_toolkits,
)
from tools.cuda_home import write_home

Device = Literal["auto", "cpu", "cuda"]

CACHE_PREFIX = "landscape-"
ONEDNN_FOLDER = "dnnl_lnx_2.2.0_cpu_gomp"
ONEDNN_MARK = "put_here_by_jittor_landscape.txt"
ONEDNN_WHEELS = ("onednn-cpu-gomp", "onednn-devel-cpu-gomp")

# what nearly every operator for the CPU includes, behind the two names that Jittor defines there
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

# what this process or its parent has set, so that a child begins from the user's own environment
INHERITED = "JITTOR_LANDSCAPE_ROUTE"


@dataclass(frozen=True)
class OneDNN:
    """An oneDNN that Jittor will take; `ours` where this set-up put it there."""

    folder: Path
    version: str
    ours: bool


@dataclass(frozen=True)
class Route:
    """How Jittor runs in this process.

    `line` says it in a sentence, `environment` is what was set in os.environ, `cache` is the folder
    of Jittor's compiled operators and `refusal` says why CUDA is not used (None where it is, or
    the CPU was asked for).
    """

    device: Literal["cpu", "cuda"]
    line: str
    environment: Mapping[str, str]
    onednn: OneDNN | None
    mpi: bool
    cuda: CudaRoute | None
    refusal: Refusal | None
    cache: Path


_prepared: Route | None = None


def prepare(device: Device = "auto", *, quiet: bool = False) -> Route:
    """Makes `import jittor` work and be quick; every entry point calls it before that import.

    Decides between CPU and CUDA, sets Jittor's environment variables (those that the user has set
    stay), hands oneDNN to Jittor, and compiles Jittor's core where that has not been done yet. With
    'auto' one line on stderr says what it is. A child process's 'auto' is its parent's route.

    Raises:
        UserError: a compiler, headers or package is missing, the home folder cannot be written, or
            'cuda' was asked for and cannot be had.
    """
    global _prepared
    if _prepared is not None:
        if device not in ("auto", _prepared.device):
            raise UserError(
                f"--device {device}: this process runs on {_prepared.device}; start another one"
            )
        return _prepared
    if "jittor" in sys.modules:
        raise RuntimeError("tools.set_up.prepare() must be called before `import jittor`")
    before, inherited = environment_of_user()
    if device == "auto" and inherited:
        device, quiet = inherited, True
    check_python_side(before)
    quiet = quiet or before.get("OMPI_COMM_WORLD_RANK", "0") != "0"

    cuda: CudaRoute | None = None
    refusal: Refusal | None = None
    if device != "cpu":
        card = card_of_rank(before)
        if card is not None:
            # before the driver is asked anything in this process
            before["CUDA_VISIBLE_DEVICES"] = os.environ["CUDA_VISIBLE_DEVICES"] = card
        answer = find_cuda(before)
        if isinstance(answer, CudaRoute):
            cuda = answer
        else:
            refusal = answer
        if refusal and device == "cuda":
            raise UserError(f"--device cuda: {refusal.reason}; {refusal.mend}")
    try:
        route = _take(before, cuda, refusal, quiet)
    except UserError as error:
        if not cuda or device == "cuda":
            raise
        refusal = Refusal(f"Jittor could not be built with {cuda.line}: {error}", "see that log")
        route = _take(before, None, refusal, quiet)
    if device == "auto" and not quiet:
        _say(route.line)
    _prepared = route
    return route


def find_cuda(environ: Mapping[str, str]) -> CudaRoute | Refusal:
    """The CUDA route of this machine, or why it has none."""
    if environ.get("nvcc_path") == "":
        return Refusal("nvcc_path is empty in the environment", "unset nvcc_path")
    return choose_cuda(find_toolkits(environ, jittor_home(environ)), ask_driver())


def jittor_home(environ: Mapping[str, str]) -> Path:
    """The folder under which Jittor keeps .cache/jittor, found as Jittor finds it.

    Jittor also writes JITTOR_HOME into its config.json for every later program; this only reads.
    """
    if not Path.home().is_absolute():
        raise UserError(
            f"HOME must be a path from the root, for Jittor works in other folders: {Path.home()} "
            f"is not; set HOME={Path.home().absolute()}"
        )
    config = Path.home() / ".cache/jittor/config.json"
    home = environ.get("JITTOR_HOME")
    if home is None:
        try:
            home = json.loads(config.read_text()).get("JITTOR_HOME")
        except (FileNotFoundError, NotADirectoryError):
            home = None
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(f"{config} cannot be read ({error}); remove it") from None
    return Path(home).absolute() if home else Path.home()


def check_python_side(environ: Mapping[str, str]) -> None:
    """Raises UserError for the first thing without which Jittor cannot be imported or compiled."""
    for check in (check_packages, check_compiler, check_headers):
        fault = check(environ)
        if fault:
            raise UserError(fault)


def check_machine() -> None:
    """Raises UserError for what would stop `prepare` and can be known at once, before other work.

    That is what Jittor needs of Python and the compiler, and a home folder that can be written.
    """
    environ, _ = environment_of_user()
    check_python_side(environ)
    _open_lock(own_folder(jittor_home(environ))).close()


def check_packages(_environ: Mapping[str, str]) -> str | None:
    """What is wrong with jittor or numpy in this environment, with the mend."""
    mend = "`bash train.sh` sets everything up, or: python -m pip install -r requirements.txt"
    package = importlib.util.find_spec("jittor_utils")
    if package is None or package.origin is None:
        return f"Jittor is not installed for {sys.executable}: {mend}"
    for path in (sys.executable, package.origin):
        if re.search(r"\s", path):
            return (
                f"the path '{path}' has a space; Jittor cannot compile with it: move it elsewhere"
            )
    try:
        version = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        return f"numpy is not installed for {sys.executable}: {mend}"
    if int(version.split(".")[0]) >= 2:
        return f"numpy {version}: Jittor computes wrong numbers with numpy 2: {mend}"
    return None


def check_compiler(environ: Mapping[str, str]) -> str | None:
    """What is wrong with the C++ compiler, with the mend."""
    name = environ.get("cc_path") or "g++"
    if shutil.which(name, path=environ.get("PATH")) is None:
        return f"no C++ compiler ({name}), which Jittor needs: {apt_get('g++')}"
    return None


def check_headers(_environ: Mapping[str, str]) -> str | None:
    """What is wrong with Python's headers, with the mend."""
    folder = sysconfig.get_paths()["include"]
    if not os.path.isfile(os.path.join(folder, "Python.h")):
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-dev"
        return f"{sys.executable} has no headers ({folder}/Python.h): {apt_get(package)}"
    return None


def apt_get(*packages: str) -> str:
    """The command that installs packages on Debian and Ubuntu."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install {' '.join(packages)}"


def own_folder(home: Path) -> Path:
    """Where this set-up keeps its notes, beside Jittor's caches."""
    return home / ".cache/jittor/landscape"


def _take(
    before: Mapping[str, str], cuda: CudaRoute | None, refusal: Refusal | None, quiet: bool
) -> Route:
    """Sets the environment for one route and has Jittor's core compiled for it."""
    home = jittor_home(before)
    own = own_folder(home)
    with _alone_in(own):
        onednn = place_onednn(home, quiet=quiet) if before.get("use_mkl", "1") == "1" else None
        environment = settings_for(before, cuda, onednn, own)
        if cuda and cuda.home:
            write_home(cuda.home)
        config = _python_config(before, own)
        if config and not config[0].is_file():
            _write_whole(*config, mode=0o755)
        if "kernel_flags" in environment:
            header = operator_header(before, own)
            header.parent.mkdir(exist_ok=True)
            if not header.is_file():
                _write_whole(header, OPERATOR_HEADER)
        _apply(before, environment, "cuda" if cuda else "cpu")
        cache = _compile_core(before, environment, onednn, own, quiet)
    on_cpu = f"CPU: {refusal.reason}" if refusal else "CPU, as asked"
    return Route(
        device="cuda" if cuda else "cpu",
        line=cuda.line if cuda else on_cpu,
        environment=environment,
        onednn=onednn,
        mpi=environment["use_mpi"] == "1",
        cuda=cuda,
        refusal=refusal,
        cache=cache,
    )


def settings_for(
    before: Mapping[str, str], cuda: CudaRoute | None, onednn: OneDNN | None, own: Path
) -> dict[str, str]:
    """Jittor's environment variables for one route; the user's own values win where they can."""
    under_mpirun = "OMPI_COMM_WORLD_SIZE" in before
    if under_mpirun and not mpi_compiler(before):
        raise UserError(
            "started by mpirun, but there is no mpicc to compile Jittor's MPI operators with: "
            + apt_get("libopenmpi-dev")
        )
    wished = {
        # Jittor otherwise names its cache after the git branch it finds itself in, which for a
        # .venv inside a repository is that repository's: each branch would compile all again.
        # A CPU and a CUDA build in one cache mix.
        "cache_name": CACHE_PREFIX + (cuda.name if cuda else "cpu"),
        "log_silent": "1",
        # gdb is asked for its version at each import, for stack traces that nobody here wants
        "gdb_path": "",
        # else Jittor imports PyTorch first wherever that is installed
        "FIX_TORCH_ERROR": "0",
        # several compile threads need a lock that Jittor lacks: see tools.compilers
        "use_parallel_op_compiler": "1",
        # compiling the MPI operators takes a minute: only for those who use them
        "use_mpi": "1" if under_mpirun else "0",
    }
    if onednn is None:
        wished["use_mkl"] = "0"
    config = _python_config(before, own)
    if config:
        wished["python_config_path"] = str(config[0])
    threads = openmp_threads(before)
    if threads:
        wished["OMP_NUM_THREADS"] = str(threads)
    if cuda:
        wished.update(cuda.environment)
    settings = {name: before.get(name, value) for name, value in wished.items()}
    if under_mpirun:
        settings["use_mpi"] = "1"
    # an empty path is Jittor's way to be told that there is no CUDA
    settings["nvcc_path"] = cuda.environment["nvcc_path"] if cuda else ""
    # Jittor sets cc_path itself, and a child process inherits it
    compiler = Path(before.get("cc_path") or "g++").name
    if not cuda and compiler.startswith("g++") and "kernel_flags" not in before:
        settings["kernel_flags"] = f' -include "{operator_header(before, own)}" '
    return settings


def operator_header(environment: Mapping[str, str], own: Path) -> Path:
    """The header that each operator for the CPU begins with; its compiled form stands beside it.

    GCC does not see that a compiled header was made of other headers than those of now: the name of
    the folder tells. With and without MPI it is the same, as Jittor's operators are.
    """
    flags = [environment.get(name) for name in ("cc_flags", "debug", "enable_lto")]
    digest = _digest(json.dumps([_machine(environment), flags, OPERATOR_HEADER]))
    return own / f"operators-{digest}" / "operators.h"


def mpi_compiler(environ: Mapping[str, str]) -> str | None:
    """The mpicc that Jittor would take, None where there is none."""
    if "mpicc_path" in environ:
        return environ["mpicc_path"] or None
    return shutil.which("mpicc", path=environ.get("PATH"))


def openmp_threads(environ: Mapping[str, str]) -> int | None:
    """How many threads each process should use, where OpenMP's own guess is wrong; else None.

    It is wrong in a container with a quota of processor time (OpenMP starts a thread for each core
    of the host) and for several processes on one machine that have no cores of their own.
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


def _python_config(environ: Mapping[str, str], own: Path) -> tuple[Path, str] | None:
    """Place and text of a stand-in for python3.X-config, where Jittor would find none."""
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
    return own / f"python3.{minor}-config-{_digest(text)}", text


def environment_of_user() -> tuple[dict[str, str], Literal["cpu", "cuda"] | None]:
    """os.environ as it was before a parent process prepared itself, and that parent's device."""
    environ = dict(os.environ)
    try:
        noted = json.loads(environ.pop(INHERITED))
        device = noted["device"]
        for name, value in noted["before"].items():
            environ.pop(name, None)
            if value is not None:
                environ[name] = value
    except (KeyError, ValueError, TypeError):
        return environ, None
    return environ, device


def _apply(before: Mapping[str, str], environment: Mapping[str, str], device: str) -> None:
    noted = {"device": device, "before": {name: before.get(name) for name in environment}}
    os.environ.clear()
    os.environ.update(before)
    os.environ.update(environment)
    os.environ[INHERITED] = json.dumps(noted)


def onednn_of(home: Path) -> OneDNN | None:
    """The oneDNN that Jittor would take as things are, None where it would try to download one."""
    folder = home / ".cache/jittor/mkl" / ONEDNN_FOLDER
    if not (folder / "lib/libmkldnn.so").is_file() or not (folder / "include").is_dir():
        return None
    return OneDNN(folder, _onednn_version(folder), (folder / ONEDNN_MARK).is_file())


def place_onednn(home: Path, *, quiet: bool = False) -> OneDNN | None:
    """Hands the installed wheels' oneDNN to Jittor, unless it has one; None without any.

    Jittor 1.3.11 takes <home>/.cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp, and would otherwise
    download it. The files are hard links or copies: they outlive this environment, since every
    other Jittor program of the user will take them too. The folder appears whole or not at all.

    Raises:
        UserError: the folder cannot be written, or another one stands before it.
    """
    there = onednn_of(home)
    folder = home / ".cache/jittor/mkl" / ONEDNN_FOLDER
    if there is None:
        files = onednn_wheel_files()
        if files is None:
            if platform.machine() == "x86_64":
                raise UserError(
                    f"oneDNN is not installed for {sys.executable}: "
                    "python -m pip install -r requirements.txt"
                )
            if not quiet:
                _say(
                    "Convolutions run without oneDNN, slowly: there is no wheel for "
                    f"{platform.machine()} (`python -c 'import jittor'` lets Jittor download it)"
                )
            return None
        try:
            _put_onednn(folder, *files)
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error}") from None
        there = OneDNN(folder, _onednn_version(folder), ours=True)
    # Jittor takes the first folder of this name that the file system happens to list
    for other in folder.parent.iterdir():
        if not other.name.startswith("dnnl") or not other.is_dir():
            continue
        if not (other / "lib/libmkldnn.so").is_file():
            raise UserError(f"{other}: Jittor may take it, without lib/libmkldnn.so; move it away")
    return there


def onednn_wheel_files() -> tuple[Path, list[tuple[Path, str]]] | None:
    """The library, and each header with its name below include/; None where a wheel is missing."""
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
    there = [path for path in libraries if path.is_file()]
    return (there[0], headers) if there and headers else None


def _put_onednn(folder: Path, library: Path, headers: list[tuple[Path, str]]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # the name must not begin with dnnl: Jittor would take the unfinished folder
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        new.chmod(0o755)
        (new / "lib").mkdir()
        try:
            os.link(library.resolve(), new / "lib/libmkldnn.so")
        except OSError:
            shutil.copy2(library, new / "lib/libmkldnn.so")
        # the name under which a program linked to it looks for it
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


def _onednn_version(folder: Path) -> str:
    for name in ("oneapi/dnnl/dnnl_version.h", "dnnl_version.h"):
        try:
            text = (folder / "include" / name).read_text(errors="replace")
        except OSError:
            continue
        numbers = re.findall(r"#define\s+DNNL_VERSION_(?:MAJOR|MINOR|PATCH)\s+(\d+)", text)
        if len(numbers) == 3:
            return ".".join(numbers)
    return "of unknown version"


def compiled_cache(environment: Mapping[str, str], onednn: OneDNN | None, own: Path) -> Path | None:
    """Jittor's cache folder for this environment, None where its core is not compiled yet."""
    try:
        noted = json.loads(_core_note(environment, onednn, own).read_text())
        cache, core = Path(noted["cache"]), Path(noted["core"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return cache if core.is_file() else None


def _core_note(environment: Mapping[str, str], onednn: OneDNN | None, own: Path) -> Path:
    """Where it is noted that an import has succeeded under just these circumstances."""
    switches = ("cache_name", "nvcc_path", "use_mkl", "use_mpi")
    flags = ("cc_flags", "nvcc_flags", "kernel_flags", "debug", "enable_lto", "use_data_gz")
    library = (onednn.folder / "lib/libmkldnn.so").stat() if onednn else None
    circumstances = [
        _machine(environment),
        [environment.get(name) for name in switches + flags],
        [library.st_size, library.st_mtime_ns] if library else None,
    ]
    return own / f"core-{_digest(json.dumps(circumstances))}.json"


def _machine(environment: Mapping[str, str]) -> list[str | None]:
    """Jittor, Python, compiler and processor: what all that Jittor compiles depends on."""
    package = importlib.util.find_spec("jittor_utils")
    return [
        importlib.metadata.version("jittor"),
        package.origin if package else None,
        sys.version,
        sysconfig.get_paths()["include"],
        environment.get("python_config_path"),
        platform.platform(),
        platform.node(),
        _processor(),
        first_line([environment.get("cc_path") or "g++", "--version"]),
    ]


def _compile_core(
    before: Mapping[str, str],
    environment: Mapping[str, str],
    onednn: OneDNN | None,
    own: Path,
    quiet: bool,
) -> Path:
    """Has Jittor's core compiled, where it is not, by a first import; returns its cache folder.

    That import is a process of its own because it prints hundreds of lines, and because after some
    changes it exits with 0 and asks to be started again: neither should happen to the caller.
    """
    everything = {**before, **environment}
    cache = compiled_cache(everything, onednn, own)
    if cache:
        return cache
    note = _core_note(everything, onednn, own)
    log = note.with_suffix(".log")
    # not a rank of the parent's MPI job, though with MPI's operators
    job = ("OMPI_", "PMIX_", "PMI_", "PRTE_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(job)}
    env.update(log_silent="0", PYTHONUNBUFFERED="1")
    code = (
        "import glob, json, jittor; folder = jittor.compiler.cache_path; "
        "core = glob.glob(glob.escape(folder) + '/jittor_core*.so')[0]; "
        "told = dict(cache=folder, core=core, flags=jittor.flags.cc_flags); "
        "print('\\nCOMPILED ' + json.dumps(told))"
    )
    for _ in range(3):
        status, output = _run_with_progress([sys.executable, "-c", code], env, own, quiet)
        found = re.search(r"^COMPILED (.*)$", output, re.MULTILINE)
        if found:
            told = json.loads(found[1])
            if "kernel_flags" in environment:
                compiler = before.get("cc_path") or "g++"
                _precompile(compiler, operator_header(before, own), told["flags"])
            _write_whole(note, found[1])
            log.unlink(missing_ok=True)
            return Path(told["cache"])
        if status:
            break
    _write_whole(log, output.replace("\r", "\n"))
    raise UserError(
        f"Jittor could not be compiled: {telling_line(output)} (the whole log: {log}); "
        "`python -m tools.doctor` says what is missing"
    )


def telling_line(output: str) -> str:
    """The line of a failed program's output that tells most, without its colours."""
    plain = re.sub(r"\x1b\[[0-9;]*[mK]", "", output).replace("\r", "\n")
    lines = [line.strip() for line in plain.splitlines() if line.strip()] or ["no output"]
    # a compiler's first complaint causes the others; an exception is said last
    complaints = [line for line in lines if re.search(r"error:|CUDA error", line)]
    reasons = [line for line in lines if re.search(r"Error|Exception|Killed|No space", line)]
    return (complaints[:1] or reasons[-1:] or lines[-1:])[0][:300]


def _precompile(compiler: str, header: Path, flags: str) -> None:
    """Compiles the operators' header where it is not, which halves each operator's time.

    flags: those that Jittor compiles an operator with; its asm_tuner adds -g. Where the flags are
    others after all, or where this fails, GCC reads the text instead, and makes the same operator.
    """
    compiled = header.with_name(header.name + ".gch")
    if compiled.is_file():
        return
    words = iter(shlex.split(flags))
    kept = []
    for word in words:
        if word == "-include":
            next(words)
        elif not word.startswith(("-l", "-L", "-Wl,", "-shared")):
            kept.append(word)
    draft = header.with_name("unfinished")
    command = [compiler, *kept, "-g", "-x", "c++-header", str(header), "-o", str(draft)]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(command, capture_output=True, check=True, timeout=300)
        os.replace(draft, compiled)


def _run_with_progress(
    command: list[str], env: Mapping[str, str], cwd: Path, quiet: bool
) -> tuple[int, str]:
    """Runs Jittor's compilation with one line of progress instead of its own output."""
    text = "Jittor compiles its core once (about 2 minutes on two cores) ..."
    terminal = sys.stderr.isatty()
    started = time.monotonic()
    shown = False
    output = bytearray()
    process = subprocess.Popen(
        command,
        env=env,
        # not where a folder of the caller's could be taken for a module
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            open_end = True
            while open_end:
                if selector.select(timeout=1.0):
                    part = os.read(process.stdout.fileno(), 65536)
                    open_end = bool(part)
                    output += part
                # where all is compiled already, an import takes a second or two: not worth a line
                if quiet or time.monotonic() - started < 4:
                    continue
                if not shown or terminal:
                    steps = re.findall(rb"Compiling (\w+)\((\d+)/(\d+)\)", output[-4000:])
                    at = b"%s %s of %s" % steps[-1] if steps else b""
                    end = "" if terminal else "\n"
                    line = f"\r{text} {at.decode()[:60]:60}" if terminal else text
                    print(line, end=end, file=sys.stderr, flush=True)
                    shown = True
        status = process.wait()
    finally:
        # Ctrl-C: Jittor's compiling workers would outlive it and wait for ever
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if shown:
        seconds = time.monotonic() - started
        done = f"done in {seconds:.0f} s" if status == 0 else f"failed after {seconds:.0f} s"
        print(f"\r{text} {done:60}" if terminal else f"{text} {done}", file=sys.stderr)
    return status, output.decode(errors="replace")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def first_line(command: list[str]) -> str:
    """The first line of what a command prints, '' where it cannot be run."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.split("\n", 1)[0]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write_whole(path: Path, text: str, mode: int = 0o644) -> None:
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


def _open_lock(own: Path) -> TextIO:
    try:
        own.mkdir(parents=True, exist_ok=True)
        return open(own / "lock", "w")
    except OSError as error:
        raise UserError(
            f"{own} cannot be written ({error.strerror}), and Jittor keeps its operators there: "
            "make it writable, or set HOME to a folder that is"
        ) from None


@contextlib.contextmanager
def _alone_in(own: Path) -> Iterator[None]:
    """Wait for other starts that set Jittor up."""
    with _open_lock(own) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            warn_of_no_locks(own, error, "let no two programs start for the first time at once")
        # closing gives it back
        yield


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@exit_codes(stopped="stopped; the same command goes on from what is compiled")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 for what the user must mend, 130 or 143 for a signal."""
    parser = ToolParser("set_up", "Makes Jittor ready and says how it will run.")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    route = prepare(parser.parse_args(argv).device, quiet=False)
    onednn = f"oneDNN {route.onednn.version}" if route.onednn else "no oneDNN"
    mpi = "with MPI" if route.mpi else "without MPI"
    print(f"Jittor on {route.device}, {onednn}, {mpi}, cache {route.cache}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
