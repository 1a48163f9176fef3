"""Prepares this process for `import jittor`: chooses the device and compiles Jittor's core.

    from runtime.set_up import prepare
    backend = prepare("auto")
    import jittor as jt
    jt.flags.use_cuda = int(backend.device == "cuda")

    python -m runtime.set_up [--device auto|cpu|cuda]      the same, and prints the result

Standard library only. runtime/set_up.sh creates the environment that this runs in.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from options.errors import UserError
from runtime.checks import check_python_side
from runtime.core import compile_core
from runtime.cuda import (
    CudaBackend,
    Unavailable,
    ask_driver,
    choose_cuda,
    find_toolkits,
    gpu_of_rank,
)
from runtime.cuda_home import write_home
from runtime.machine import jittor_home, locked, own_folder, write_atomically
from runtime.onednn import OneDNN, place_onednn
from runtime.program import ToolParser, exit_codes
from runtime.settings import (
    OPERATOR_HEADER,
    apply_settings,
    environment_of_user,
    operator_header,
    python_config,
    settings_for,
)

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Backend:
    """How Jittor runs in this process.

    Attributes:
        line: one line for the user.
        environment: the variables that were set in os.environ.
        mpi: whether Jittor has its MPI operators.
        unavailable: why CUDA is not used; None if it is, or if the CPU was requested.
        cache: the folder of Jittor's compiled operators.
    """

    device: Literal["cpu", "cuda"]
    line: str
    environment: Mapping[str, str]
    onednn: OneDNN | None
    mpi: bool
    cuda: CudaBackend | None
    unavailable: Unavailable | None
    cache: Path


_prepared: Backend | None = None


def prepared() -> Backend | None:
    """How Jittor runs in this process; None before `prepare`."""
    return _prepared


def prepare(device: Device = "auto", *, quiet: bool = False) -> Backend:
    """Makes `import jittor` work and be quick; every entry point calls it before that import.

    Chooses CPU or CUDA, sets Jittor's environment variables (those of the user are kept), places
    oneDNN for Jittor, and compiles Jittor's core unless that is done. With 'auto' it prints the
    choice on stderr. In a child process 'auto' is the parent's device.

    Raises:
        UserError: a compiler, headers or package is missing, the home folder cannot be written, or
            'cuda' was requested and is unavailable.
    """
    global _prepared
    if _prepared is not None:
        if device not in ("auto", _prepared.device):
            raise UserError(
                f"--device: expected {_prepared.device}, which this process runs on, got {device}. "
                "Start another process"
            )
        return _prepared
    if "jittor" in sys.modules:
        raise RuntimeError("runtime.set_up.prepare() must be called before `import jittor`")
    environ, inherited = environment_of_user()
    if device == "auto" and inherited:
        device, quiet = inherited, True
    check_python_side(environ)
    quiet = quiet or environ.get("OMPI_COMM_WORLD_RANK", "0") != "0"

    cuda: CudaBackend | None = None
    unavailable: Unavailable | None = None
    if device != "cpu":
        gpu = gpu_of_rank(environ)
        if gpu is not None:
            # before this process queries the driver
            environ["CUDA_VISIBLE_DEVICES"] = os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        answer = find_cuda(environ)
        if isinstance(answer, CudaBackend):
            cuda = answer
        else:
            unavailable = answer
        if unavailable and device == "cuda":
            raise UserError(f"--device cuda: {unavailable.reason}. {unavailable.fix}")
    try:
        backend = _build(environ, cuda, unavailable, quiet)
    except UserError as error:
        if not cuda or device == "cuda":
            raise
        unavailable = Unavailable(
            f"Jittor could not be built with {cuda.line}: {error}", "Read that log"
        )
        backend = _build(environ, None, unavailable, quiet)
    if device == "auto" and not quiet:
        print(backend.line, file=sys.stderr, flush=True)
    _prepared = backend
    return backend


def find_cuda(environ: Mapping[str, str]) -> CudaBackend | Unavailable:
    """How this machine builds Jittor with CUDA, or why it cannot."""
    if environ.get("nvcc_path") == "":
        return Unavailable("nvcc_path is empty in the environment", "Unset nvcc_path")
    return choose_cuda(find_toolkits(environ, jittor_home(environ)), ask_driver())


def _build(
    environ: Mapping[str, str],
    cuda: CudaBackend | None,
    unavailable: Unavailable | None,
    quiet: bool,
) -> Backend:
    """Applies the settings for CUDA or the CPU and compiles Jittor's core with them."""
    home = jittor_home(environ)
    own = own_folder(home)
    with locked(own):
        onednn = place_onednn(home, quiet=quiet) if environ.get("use_mkl", "1") == "1" else None
        settings = settings_for(environ, cuda, onednn, own)
        if cuda and cuda.home:
            write_home(cuda.home)
        config = python_config(environ, own)
        if config and not config[0].is_file():
            write_atomically(*config, mode=0o755)
        if "kernel_flags" in settings:
            header = operator_header(environ, own)
            header.parent.mkdir(exist_ok=True)
            if not header.is_file():
                write_atomically(header, OPERATOR_HEADER)
        apply_settings(environ, settings, "cuda" if cuda else "cpu")
        cache = compile_core(environ, settings, onednn, own, quiet)
    on_cpu = f"CPU: {unavailable.reason}" if unavailable else "CPU, as requested"
    return Backend(
        device="cuda" if cuda else "cpu",
        line=cuda.line if cuda else on_cpu,
        environment=settings,
        onednn=onednn,
        mpi=settings["use_mpi"] == "1",
        cuda=cuda,
        unavailable=unavailable,
        cache=cache,
    )


@exit_codes(stopped="stopped; the same command resumes and keeps what is compiled")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 for a user error, 130 or 143 for a signal."""
    parser = ToolParser("runtime.set_up", "Prepares Jittor and prints how it runs.")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute"
    )
    backend = prepare(parser.parse_args(argv).device, quiet=False)
    onednn = f"oneDNN {backend.onednn.version}" if backend.onednn else "no oneDNN"
    mpi = "with MPI" if backend.mpi else "without MPI"
    print(f"Jittor on {backend.device}, {onednn}, {mpi}, cache {backend.cache}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
