"""Finds CUDA on this machine and chooses how Jittor is built against it.

Standard library only, without side effects: `runtime.set_up` acts on the answer.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.cuda_home import (
    COMPILER_FLAGS,
    WHEELS,
    CudaHome,
    CudaLibrary,
    Version,
    find_library,
    header_version,
    plan_home,
    wheel_folders,
)


@dataclass(frozen=True)
class Driver:
    """A working NVIDIA driver: the newest CUDA version it supports and the names of its GPUs."""

    version: Version
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Toolkit:
    """An nvcc with its headers and libraries; `cudnn` is None if its cuDNN is missing.

    `libraries` are those of the CUDA 13 home, from the toolkit, the system or wheels.
    """

    nvcc: Path
    version: Version
    cudnn: Version | None
    libraries: tuple[CudaLibrary, ...] = ()


@dataclass(frozen=True)
class Unavailable:
    """Why CUDA is unavailable, and the fix."""

    reason: str
    fix: str


@dataclass(frozen=True)
class CudaBackend:
    """A way to build Jittor with CUDA: its environment variables, and the name of its cache.

    `home` is the folder to create first, None if the toolkit is used as it is.
    """

    name: str
    toolkit: Toolkit
    driver: Driver
    environment: Mapping[str, str]
    home: CudaHome | None = None

    @property
    def line(self) -> str:
        """CUDA, cuDNN and GPUs in one line."""
        cudnn = text_of(self.toolkit.cudnn) if self.toolkit.cudnn else "none"
        devices = ", ".join(self.driver.devices)
        return f"CUDA {text_of(self.toolkit.version)}, cuDNN {cudnn} on {devices}"


def text_of(version: Version) -> str:
    """Formats a version: '12.2' for (12, 2)."""
    return ".".join(map(str, version))


def ask_driver() -> Driver | Unavailable:
    """Queries the NVIDIA driver through its own library, the only reliable test of it."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Unavailable(
            "no NVIDIA driver answers", "Install the NVIDIA driver, until nvidia-smi works"
        )
    code = library.cuInit(0)
    if code:
        name = ctypes.c_char_p()
        library.cuGetErrorName(code, ctypes.byref(name))
        answer = name.value.decode() if name.value else f"error {code}"
        return Unavailable(
            f"the NVIDIA driver answers {answer}", "Fix the driver, until nvidia-smi works"
        )
    number = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(number))
    version = (number.value // 1000, number.value % 1000 // 10)
    count = ctypes.c_int()
    library.cuDeviceGetCount(ctypes.byref(count))
    if count.value < 1:
        return Unavailable(
            "the NVIDIA driver shows no GPU", "Check CUDA_VISIBLE_DEVICES and nvidia-smi"
        )
    devices = []
    for index in range(count.value):
        device = ctypes.c_int()
        name_of = ctypes.create_string_buffer(128)
        library.cuDeviceGet(ctypes.byref(device), index)
        library.cuDeviceGetName(name_of, len(name_of), device)
        devices.append(name_of.value.decode(errors="replace"))
    return Driver(version, tuple(devices))


# The driver reads CUDA_VISIBLE_DEVICES once per process, so another process counts the GPUs.
_COUNT = """
import ctypes
driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
    print(count.value)
"""


def gpu_of_rank(environ: Mapping[str, str]) -> str | None:
    """The CUDA_VISIBLE_DEVICES of this process under mpirun: one GPU, chosen by its local rank.

    Without NCCL, which is not built here, Jittor puts every process on the first GPU. None without
    mpirun, or if no GPU is found.
    """
    rank = environ.get("OMPI_COMM_WORLD_LOCAL_RANK")
    if rank is None:
        return None
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = [gpu.strip() for gpu in visible.split(",") if gpu.strip()]
    else:
        command = [sys.executable, "-c", _COUNT]
        count = subprocess.run(command, env=dict(environ), capture_output=True, text=True).stdout
        gpus = [str(index) for index in range(int(count or 0))]
    return gpus[int(rank) % len(gpus)] if gpus else None


def find_toolkits(environ: Mapping[str, str], jittor_home: Path) -> list[Toolkit]:
    """Every toolkit that Jittor could use, in the order in which they are tried.

    A toolkit is an nvcc with its cuda_runtime.h; a bare wrapper on the PATH does not count.
    """
    asked = environ.get("nvcc_path")
    if asked is not None:
        candidates = [asked] if asked else []
    else:
        # Jittor's own download (python -m jittor_utils.install_cuda), then the places that Jittor
        # searches itself, then older toolkits next to a newer default
        downloads = sorted((jittor_home / ".cache/jittor/jtcuda").glob("*/bin/nvcc"), reverse=True)
        versions = sorted(Path("/usr/local").glob("cuda-1*/bin/nvcc"), key=_natural, reverse=True)
        homes = [environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
        candidates = [
            *map(str, downloads),
            shutil.which("nvcc", path=environ.get("PATH")) or "",
            *(f"{home}/bin/nvcc" for home in homes if home),
            "/usr/local/cuda/bin/nvcc",
            "/usr/bin/nvcc",
            "/opt/cuda/bin/nvcc",
            *map(str, versions),
        ]
    toolkits: dict[Path, Toolkit] = {}
    for candidate in candidates:
        nvcc = Path(candidate)
        if not candidate or not os.access(nvcc, os.X_OK) or nvcc.resolve() in toolkits:
            continue
        if not any((d / "cuda_runtime.h").is_file() for d in _include_folders(nvcc)):
            continue
        version = _nvcc_version(nvcc)
        if not version:
            continue
        libraries = _libraries(nvcc, environ.get("PATH", "")) if version >= (13,) else ()
        cudnn = next((lib.version for lib in libraries if lib.name == "cudnn"), None)
        toolkits[nvcc.resolve()] = Toolkit(
            nvcc, version, cudnn or _cudnn_version(nvcc), tuple(libraries)
        )
    return list(toolkits.values())


def choose_cuda(
    toolkits: Sequence[Toolkit], driver: Driver | Unavailable
) -> CudaBackend | Unavailable:
    """The first toolkit that works with this driver, or why there is none."""
    if isinstance(driver, Unavailable):
        found = f"nvcc {text_of(toolkits[0].version)} found, but" if toolkits else "no nvcc, and"
        return Unavailable(f"{found} {driver.reason}", driver.fix)
    if not toolkits:
        devices = ", ".join(driver.devices)
        return Unavailable(f"no nvcc found for {devices}", _INSTALL_TOOLKIT)
    answers = [
        _cuda_13(toolkit, driver) if toolkit.version >= (13,) else _stock(toolkit, driver)
        for toolkit in toolkits
    ]
    return next((answer for answer in answers if isinstance(answer, CudaBackend)), answers[0])


_INSTALL_TOOLKIT = (
    "Install a CUDA 11.2 to 12.2 toolkit with cuDNN 8, or CUDA 13 with cuDNN 9, or let Jittor "
    "download one: python -m jittor_utils.install_cuda"
)
# Jittor's optional speed-ups, each downloaded at the first import.
_WITHOUT_DOWNLOADS = {"use_cutt": "0", "use_cutlass": "0", "use_nccl": "0"}


def _stock(toolkit: Toolkit, driver: Driver) -> CudaBackend | Unavailable:
    """Unchanged Jittor: CUDA 10.2 to 12.x with cuDNN 8 (10.2 also with 7)."""
    found = f"nvcc {text_of(toolkit.version)} found, but "
    if toolkit.version < (10, 2):
        return Unavailable(found + "Jittor needs CUDA 10.2 or newer", _INSTALL_TOOLKIT)
    if driver.version[:1] < toolkit.version[:1]:
        return _too_new(toolkit, driver)
    fitting = (7, 8) if toolkit.version < (11,) else (8,)
    if toolkit.cudnn is None or toolkit.cudnn[0] not in fitting:
        there = f"cuDNN {text_of(toolkit.cudnn)}" if toolkit.cudnn else "no cuDNN"
        return Unavailable(
            found + f"{there} with it, expected 8", "Install the development files of cuDNN 8"
        )
    return CudaBackend(
        name=f"cuda{text_of(toolkit.version)}",
        toolkit=toolkit,
        driver=driver,
        environment={"nvcc_path": str(toolkit.nvcc), **_WITHOUT_DOWNLOADS},
    )


def _cuda_13(toolkit: Toolkit, driver: Driver) -> CudaBackend | Unavailable:
    """CUDA 13 with cuDNN 9, which Jittor does not support: through our own CUDA home."""
    found = f"nvcc {text_of(toolkit.version)} found, but "
    if toolkit.version >= (14,):
        return Unavailable(found + "CUDA 13 is the newest supported version", _INSTALL_TOOLKIT)
    if driver.version[:1] < toolkit.version[:1]:
        return _too_new(toolkit, driver)
    there = {library.name for library in toolkit.libraries}
    missing = [name for name in WHEELS if name not in there]
    if missing:
        wheels = " ".join(WHEELS[name] for name in missing)
        return Unavailable(
            found + f"no {', '.join(missing)} with it or among Python's packages",
            f"Run {sys.executable} -m pip install {wheels}",
        )
    if toolkit.cudnn is None or toolkit.cudnn[0] != 9:
        return Unavailable(
            found + f"cuDNN {text_of(toolkit.cudnn or ())} with it, expected 9",
            f"Run {sys.executable} -m pip install {WHEELS['cudnn']}",
        )
    root = _root(toolkit.nvcc)
    include = next(f for f in _include_folders(toolkit.nvcc) if f.is_dir())
    folder = next((f for f in (root / "lib64", root / "lib") if f.is_dir()), root / "lib64")
    home = plan_home(toolkit.nvcc.resolve(), include, folder, toolkit.libraries)
    return CudaBackend(
        # named by the home's content, as is the cache of code compiled with it
        name=home.folder.name,
        toolkit=toolkit,
        driver=driver,
        environment={
            "nvcc_path": str(home.nvcc),
            "cc_flags": COMPILER_FLAGS,
            **_WITHOUT_DOWNLOADS,
        },
        home=home,
    )


def _too_new(toolkit: Toolkit, driver: Driver) -> Unavailable:
    return Unavailable(
        f"nvcc {text_of(toolkit.version)} found, but the driver supports CUDA "
        f"{text_of(driver.version)} at most",
        "Update the NVIDIA driver, or install an older toolkit with its cuDNN",
    )


def _natural(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def _machine_folder() -> str:
    return "x86_64" if platform.machine() in ("x86_64", "AMD64") else "aarch64"


SYSTEM_INCLUDE = Path("/usr/include")
SYSTEM_LIBRARIES = Path(f"/usr/lib/{_machine_folder()}-linux-gnu")


def _root(nvcc: Path) -> Path:
    return nvcc.resolve().parent.parent


def _include_folders(nvcc: Path) -> list[Path]:
    """The folders in which Jittor searches this nvcc's headers."""
    root = _root(nvcc)
    folders = [root / "include", root / f"targets/{_machine_folder()}-linux/include"]
    return [*folders, Path("/usr/include")] if nvcc == Path("/usr/bin/nvcc") else folders


def _library_folders(nvcc: Path) -> list[Path]:
    root = _root(nvcc)
    machine = _machine_folder()
    return [
        root / "bin",
        root / "lib64",
        root / f"targets/{machine}-linux/lib",
        Path(f"/usr/lib/{machine}-linux-gnu"),
        Path("/usr/lib"),
    ]


def _libraries(nvcc: Path, path: str) -> list[CudaLibrary]:
    """The libraries named by WHEELS: of the toolkit, of the system, or of the first wheels."""
    root = _root(nvcc)
    places: list[tuple[list[Path], list[Path]]] = [
        (_include_folders(nvcc), [root / "lib64", root / f"targets/{_machine_folder()}-linux/lib"]),
        ([SYSTEM_INCLUDE], [SYSTEM_LIBRARIES]),
        *(([wheel / "include"], [wheel / "lib"]) for wheel in wheel_folders(path)),
    ]
    found = []
    for name in WHEELS:
        candidates = (find_library(name, *place) for place in places)
        library = next((candidate for candidate in candidates if candidate), None)
        if library:
            found.append(library)
    return found


@functools.cache
def _nvcc_version(nvcc: Path) -> Version | None:
    try:
        output = subprocess.run(
            [str(nvcc), "--version"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"release (\d+)\.(\d+)", output)
    return (int(found[1]), int(found[2])) if found else None


def _cudnn_version(nvcc: Path) -> Version | None:
    """cuDNN's version by its header; None without header and library where Jittor searches them."""
    if not any(any(folder.glob("libcudnn.so*")) for folder in _library_folders(nvcc)):
        return None
    folders = [*_include_folders(nvcc), Path("/usr/include")]
    return next(filter(None, (header_version("cudnn", folder) for folder in folders)), None)
