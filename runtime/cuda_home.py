"""Builds a CUDA home for Jittor 1.3.11 from CUDA 13 and cuDNN 9.

The home holds links to the files of the toolkit and the libraries, a wrapper for nvcc, and four
headers that restore what Jittor uses and CUDA 13 has dropped (runtime/cuda_shims). Toolkit, wheels
and Jittor stay unchanged. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from options.errors import UserError

Version = tuple[int, ...]

SHIMS = Path(__file__).with_name("cuda_shims")
# Library that Jittor links against -> its wheel.
WHEELS = {
    "cublas": "nvidia-cublas",
    "cudnn": "nvidia-cudnn-cu13",
    "curand": "nvidia-curand",
    "cufft": "nvidia-cufft",
    "cusparse": "nvidia-cusparse",
}
# What those load and include themselves, from the same folders.
COMPANIONS = ("nvJitLink", "nvrtc")
COMPANION_HEADERS = ("cudalibxt.h",)
# Library of cuDNN 8 that Jittor opens -> the one of cuDNN 9 with its content.
CUDNN_8_NAMES = {
    "cudnn_ops_infer": "cudnn_ops",
    "cudnn_ops_train": "cudnn_ops",
    "cudnn_cnn_infer": "cudnn_cnn",
    "cudnn_cnn_train": "cudnn_cnn",
}
# cudaDeviceProp has lost two fields; Jittor never calls its functions that read them.
COMPILER_FLAGS = "-DcomputeMode=integrated -DclockRate=multiProcessorCount"


@dataclass(frozen=True)
class CudaLibrary:
    """A CUDA library: its version, and the folders of its header and its shared object."""

    name: str
    version: Version
    include: Path
    folder: Path


@dataclass(frozen=True)
class CudaHome:
    """A planned folder: name -> target of its links, and name -> text of its files."""

    folder: Path
    links: Mapping[str, Path]
    files: Mapping[str, str]

    @property
    def nvcc(self) -> Path:
        """The compiler that Jittor uses."""
        return self.folder / "bin/nvcc"


def environment_folder() -> Path:
    """The virtual environment, or Jittor's cache outside of one."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.prefix)
    return Path.home() / ".cache/jittor/landscape"


def wheel_folders(path: str) -> list[Path]:
    """The folders of NVIDIA's wheels, in this environment or that of a Python on the PATH."""
    prefixes = [Path(sys.prefix), Path(sys.base_prefix)]
    prefixes += [Path(entry).parent for entry in path.split(os.pathsep) if entry]
    patterns = ("lib/python3*/site-packages/nvidia", "lib/python3*/dist-packages/nvidia")
    found = [
        folder
        for prefix in prefixes
        for pattern in patterns
        for nvidia in sorted(prefix.glob(pattern))
        for folder in (nvidia / "cu13", nvidia / "cudnn")
        if folder.is_dir()
    ]
    return list(dict.fromkeys(found))


def find_library(
    name: str, includes: Iterable[Path], folders: Iterable[Path]
) -> CudaLibrary | None:
    """The library in one place; None without its header or its shared object."""
    folder = next((f for f in folders if any(f.glob(f"lib{name}.so*"))), None)
    for include in includes:
        version = header_version(name, include) if (include / f"{name}.h").is_file() else None
        if folder and version:
            return CudaLibrary(name, version, include, folder)
    return None


def header_version(name: str, include: Path) -> Version | None:
    """A library's version by its headers in that folder, None if they do not state it."""
    # CUDNN_MAJOR, CUBLAS_VER_MAJOR, CURAND_VER_MAJOR ...
    for header in (f"{name}_version.h", f"{name}_api.h", f"{name}.h"):
        try:
            text = (include / header).read_text(errors="replace")
        except OSError:
            continue
        found = [
            re.search(rf"#define\s+{name.upper()}_(?:VER_)?{part}\s+(\d+)", text)
            for part in ("MAJOR", "MINOR", "PATCH(?:LEVEL)?")
        ]
        if all(found):
            return tuple(int(number[1]) for number in found if number)
    return None


def plan_home(
    nvcc: Path, include: Path, folder: Path, libraries: Sequence[CudaLibrary]
) -> CudaHome:
    """Plans the home of this toolkit and these libraries; its name is a hash of its content.

    Args:
        nvcc: the toolkit's compiler.
        include: the toolkit's folder of headers.
        folder: the toolkit's folder of libraries.
        libraries: one for each name of WHEELS.
    """
    files = {
        "bin/nvcc": (SHIMS / "nvcc.sh").read_text().replace("NVCC", shlex.quote(str(nvcc))),
        "include/cudnn.h": (SHIMS / "cudnn.h").read_text(),
        "include/cub/cub.cuh": (SHIMS / "cub.cuh").read_text(),
    }
    if not (include / "npp.h").is_file():
        files["include/npp.h"] = (SHIMS / "npp.h").read_text()
    links: dict[str, Path] = {}

    def link(name: str, target: Path) -> None:
        # a folder that holds one of our files cannot be a link
        ours = any(file == name or file.startswith(f"{name}/") for file in files)
        if not ours:
            links.setdefault(name, target)

    for library in libraries:
        if library.name == "cudnn":
            link("real/cudnn.h", library.include / "cudnn.h")
        for pattern in (f"{library.name}*.h", *COMPANION_HEADERS):
            for header in sorted(library.include.glob(pattern)):
                link(f"include/{header.name}", header)
        for name in (library.name, *COMPANIONS):
            _link_objects(link, library.folder, f"lib{name}*.so*")
    for entry in sorted(include.iterdir()):
        link(f"include/{entry.name}", entry)
    # libcu++'s headers for the host compiler; nvcc finds them by itself
    if (include / "cccl/nv").is_dir():
        link("include/nv", include / "cccl/nv")
    _link_objects(link, folder, "lib*.so*")
    for old, new in CUDNN_8_NAMES.items():
        target = links.get(f"lib64/lib{new}.so")
        if target:
            link(f"lib64/lib{old}.so", target)
    content = json.dumps([files, sorted((name, str(to)) for name, to in links.items())])
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    return CudaHome(environment_folder() / f"cuda13-{digest}", links, files)


def _link_objects(link: Callable[[str, Path], None], folder: Path, pattern: str) -> None:
    """Links shared objects by their names, and without the version, as the linker expects."""
    for path in sorted(folder.glob(pattern)):
        link(f"lib64/{path.name}", path)
        link(f"lib64/{path.name.partition('.so')[0]}.so", path)


def write_home(home: CudaHome) -> None:
    """Writes the folder atomically; an existing one has the same content, by its name.

    Raises:
        UserError: the environment's folder cannot be written.
    """
    if home.nvcc.is_file():
        return
    try:
        home.folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=home.folder.parent))
        try:
            for name, text in home.files.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_text(text)
            (new / "bin/nvcc").chmod(0o755)
            for name, target in home.links.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).symlink_to(target)
            new.chmod(0o755)
            os.replace(new, home.folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{home.folder}: expected a writable folder, got {error}. Change its permissions or "
            "free some space"
        ) from None
