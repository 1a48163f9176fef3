"""Runs a program with an imitated GPU, to test the CUDA backend without a GPU.

    python -m tools.dev.imitate_gpu python -m tools.doctor --gpu
    python -m tools.dev.imitate_gpu --gib 4 python train.py --data DIR --device cuda ...

The program sees a GPU of compute capability 9.0: the driver answers, the set-up chooses its CUDA 13
backend, and Jittor generates its CUDA kernels. g++ compiles these kernels as loops over their
threads. Products and convolutions of cuBLAS and cuDNN are plain loops too (tools/dev/imitated_gpu).
This shows that the CUDA code computes correct numbers. It does not test nvcc, NVIDIA's libraries,
parallel threads or speed. The requirements are those of the CUDA 13 build (docs/gpu.md). The
generated files are in Jittor's cache folder.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from options.errors import UserError
from runtime.cuda import CudaBackend, Driver, Unavailable, choose_cuda, find_toolkits
from runtime.machine import jittor_home, own_folder
from runtime.program import ToolParser, exit_codes
from runtime.settings import environment_of_user

SOURCES = Path(__file__).with_name("imitated_gpu")
MAX_GPUS = 16  # as in imitated_gpu/device.c


@exit_codes(stopped="stopped")
def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code of the program; 2 for a user error."""
    parser = ToolParser("tools.dev.imitate_gpu", __doc__)
    parser.add_argument("--gpus", type=int, default=1, help=f"number of GPUs, 1 to {MAX_GPUS} (1)")
    parser.add_argument(
        "--gib", type=float, default=16.0, help="memory per process and GPU, in GiB (16)"
    )
    parser.add_argument(
        "--without-products",
        action="store_true",
        help="products and convolutions return zeros at once, to count memory",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the program and its arguments")
    arguments = parser.parse_args(argv)
    if not arguments.command:
        parser.error("expected a program, got none (e.g. python -m tools.doctor --gpu)")
    if not 1 <= arguments.gpus <= MAX_GPUS or arguments.gib <= 0:
        parser.error(
            f"--gpus, --gib: expected 1 to {MAX_GPUS} GPUs and more than 0 GiB, got "
            f"{arguments.gpus} and {arguments.gib:g}"
        )
    before, _ = environment_of_user()
    home = jittor_home(before)
    backend = backend_without_driver(before, home)
    environment = before | imitation(backend, own_folder(home), arguments.gib)
    environment["IMITATED_GPU_COUNT"] = str(arguments.gpus)
    if arguments.without_products:
        environment["IMITATED_GPU_WITHOUT_PRODUCTS"] = "1"
    return subprocess.run(arguments.command, env=environment).returncode


def backend_without_driver(environ: Mapping[str, str], home: Path) -> CudaBackend:
    """The backend that the set-up would choose with a driver for every toolkit found."""
    toolkits = find_toolkits(environ, home)
    newest = max((toolkit.version for toolkit in toolkits), default=(0,))
    answer = choose_cuda(toolkits, Driver(newest, ("no device",)))
    if isinstance(answer, Unavailable):
        raise UserError(f"{answer.reason}. {answer.fix}")
    return answer


def imitation(backend: CudaBackend, own: Path, gib: float) -> dict[str, str]:
    """The environment variables of a program that sees an imitated GPU."""
    if backend.home is None:
        raise UserError(
            f"nvcc_path: expected the nvcc of CUDA 13, got {backend.toolkit.nvcc}. Set nvcc_path: "
            "only CUDA 13 can be imitated"
        )
    # Jittor caches compiled files by the compiler's path, so each version has a separate folder
    content = b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.is_file())
    digest = hashlib.sha256(content).hexdigest()[:8]
    folder = own / f"imitated-{digest}"
    if not folder.is_dir():
        own.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=own))
        try:
            _write_toolkit(new, backend.toolkit.nvcc.resolve())
            compile_stub_library(new, backend)
            os.replace(new, folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return {
        "nvcc_path": str(folder / "bin/nvcc"),
        "LD_PRELOAD": str(folder / "gpu.so"),
        "IMITATED_GPU_COMPUTES": "1",
        "IMITATED_GPU_GIB": str(gib),
    }


def _write_toolkit(folder: Path, nvcc: Path) -> None:
    (folder / "bin").mkdir()
    script = folder / "bin/nvcc"
    command = shlex.join([sys.executable, str(SOURCES / "nvcc.py"), str(nvcc)])
    script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    script.chmod(0o755)
    for name in ("include", "lib64", "targets"):
        if (nvcc.parents[1] / name).is_dir():
            (folder / name).symlink_to(nvcc.parents[1] / name)


def compile_stub_library(folder: Path, backend: CudaBackend) -> Path:
    """Compile the stub library that replaces the driver, cuBLAS, cuDNN and cuRAND."""
    headers = backend.toolkit.nvcc.resolve().parents[1] / "include"
    target = folder / "gpu.so"
    new = target.with_name(f".new-{os.getpid()}-{target.name}")
    sources = [str(SOURCES / name) for name in ("device.c", "libraries.c")]
    command = ["gcc", "-w", "-O3", "-march=native", "-shared", "-fPIC", f"-I{headers}"]
    # sums in any order, as on a GPU
    command += ["-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math"]
    command += [*sources, "-o", str(new), "-ldl", "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"gcc cannot compile the imitated GPU: {done.stderr.strip()[:300]}")
    os.replace(new, target)
    return target


if __name__ == "__main__":
    sys.exit(main())
