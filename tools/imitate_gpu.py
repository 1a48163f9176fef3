"""Runs a program with an imitated GPU, so that the CUDA route can be tried where there is none.

    python -m tools.imitate_gpu python -m tools.doctor --gpu
    python -m tools.imitate_gpu --gib 4 python train.py --data DIR --device cuda ...

To the program it is a card of compute capability 9.0: the driver answers, the set-up takes its
CUDA 13 route, Jittor generates its CUDA kernels. But g++ compiles these, as loops over their
threads, and cuBLAS's and cuDNN's products and convolutions are plain loops (tools/imitated_gpu).
What is shown so: that the code for CUDA computes the right numbers. What is not: what nvcc,
NVIDIA's libraries and threads that run at once make of it, and any time. It needs what the build
for CUDA 13 needs, see docs/gpu.md; the files that it makes lie beside Jittor's cache.
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
from tools import set_up
from tools.arguments import ToolParser, exit_codes
from tools.cuda import CudaRoute, Driver, Refusal, choose_cuda, find_toolkits

SOURCES = Path(__file__).with_name("imitated_gpu")
MOST_GPUS = 16  # as in imitated_gpu/device.c


@exit_codes(stopped="stopped")
def main(argv: Sequence[str] | None = None) -> int:
    """That program's exit code; 2 for what the user must mend."""
    parser = ToolParser("imitate_gpu", __doc__)
    parser.add_argument("--gpus", type=int, default=1, help=f"how many there are, to {MOST_GPUS}")
    parser.add_argument("--gib", type=float, default=16.0, help="memory of a process on a card")
    parser.add_argument(
        "--without-products",
        action="store_true",
        help="products and convolutions give zeros at once: to see how much memory is taken",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the program and its arguments")
    arguments = parser.parse_args(argv)
    if not arguments.command:
        parser.error("name the program to run, such as: python -m tools.doctor --gpu")
    if not 1 <= arguments.gpus <= MOST_GPUS or arguments.gib <= 0:
        parser.error(
            f"--gpus must be 1 to {MOST_GPUS} and --gib more than 0: "
            f"{arguments.gpus} and {arguments.gib:g}"
        )
    before, _ = set_up.environment_of_user()
    home = set_up.jittor_home(before)
    route = route_without_driver(before, home)
    environment = before | imitation(route, set_up.own_folder(home), arguments.gib)
    environment["IMITATED_GPU_COUNT"] = str(arguments.gpus)
    if arguments.without_products:
        environment["IMITATED_GPU_WITHOUT_PRODUCTS"] = "1"
    return subprocess.run(arguments.command, env=environment).returncode


def route_without_driver(environ: Mapping[str, str], home: Path) -> CudaRoute:
    """The route that the set-up would take here with a driver that knows every toolkit found."""
    toolkits = find_toolkits(environ, home)
    newest = max((toolkit.version for toolkit in toolkits), default=(0,))
    answer = choose_cuda(toolkits, Driver(newest, ("no device",)))
    if isinstance(answer, Refusal):
        raise UserError(f"{answer.reason}; {answer.mend}")
    return answer


def imitation(route: CudaRoute, own: Path, gib: float) -> dict[str, str]:
    """The environment variables of a program that shall find an imitated GPU."""
    if route.home is None:
        raise UserError(
            f"a GPU is imitated for CUDA 13 alone, and the set-up would take {route.toolkit.nvcc}; "
            "point nvcc_path to that of CUDA 13"
        )
    # Jittor keeps what it has compiled by the compiler's name: another imitation, another name
    content = b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.is_file())
    digest = hashlib.sha256(content).hexdigest()[:8]
    folder = own / f"imitated-{digest}"
    if not folder.is_dir():
        own.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=own))
        try:
            _write_toolkit(new, route.toolkit.nvcc.resolve())
            compile_stand_in(new, route)
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


def compile_stand_in(folder: Path, route: CudaRoute) -> Path:
    """The shared object that stands in for a GPU and its libraries."""
    headers = route.toolkit.nvcc.resolve().parents[1] / "include"
    target = folder / "gpu.so"
    new = target.with_name(f".new-{os.getpid()}-{target.name}")
    sources = [str(SOURCES / name) for name in ("device.c", "libraries.c")]
    command = ["gcc", "-w", "-O3", "-march=native", "-shared", "-fPIC", f"-I{headers}"]
    # sums in any order, as on a GPU
    command += ["-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math"]
    command += [*sources, "-o", str(new), "-ldl", "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"the stand-in for a GPU does not compile: {done.stderr.strip()[:300]}")
    os.replace(new, target)
    return target


if __name__ == "__main__":
    sys.exit(main())
