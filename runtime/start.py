"""Prepares and imports Jittor, in one place for all entry points."""

from __future__ import annotations

import os
import signal
from typing import Any, Literal

from options.errors import UserError
from options.groups import Precision
from runtime.compilers import take_turns
from runtime.set_up import Backend, prepare

# Ampere, compute capability 8.0, introduced bfloat16
BFLOAT16_CAPABILITY = 80
NOTEBOOK = "JPY_PARENT_PID"
JITTOR_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD)


def start_jittor(device: Literal["auto", "cpu", "cuda"]) -> Backend:
    """Prepares and imports Jittor and chooses the device.

    Raises:
        UserError: a requirement of Jittor is missing.
    """
    backend = prepare(device)
    jt = import_jittor()
    jt.flags.use_cuda = int(backend.device == "cuda")
    # runtime.settings asks for one thread; several need the lock.
    if jt.flags.use_parallel_op_compiler > 1 and not take_turns():
        jt.flags.use_parallel_op_compiler = 1
    return backend


def import_jittor() -> Any:
    """Imports the prepared Jittor and restores the signal handlers that it replaces.

    Jittor's handlers end the process at once at Ctrl-C (except in a notebook, which it recognizes
    by a variable), at SIGQUIT, and when any child is killed. Python's handlers allow an orderly
    exit with a message, and ignored signals stay ignored.
    """
    before = {number: signal.getsignal(number) for number in JITTOR_SIGNALS}
    notebook = os.environ.setdefault(NOTEBOOK, "0")
    try:
        import jittor as jt
    finally:
        if notebook == "0":
            del os.environ[NOTEBOOK]
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    return jt


def check_precision(precision: Precision, backend: Backend, capability: int) -> None:
    """Checks that this backend computes convolutions in that precision.

    Args:
        capability: the least compute capability of the GPUs in use, 80 for 8.0.

    Raises:
        UserError: it does not.
    """
    if precision == "float32":
        return
    flag, fix = f"--precision {precision}", "Remove it, or see docs/gpu.md"
    if backend.cuda is None or backend.device == "cpu":
        raise UserError(f"{flag}: expected a GPU, got the CPU. {fix}")
    if backend.cuda.home is None:
        raise UserError(
            f"{flag}: expected CUDA 13 with cuDNN 9, got {backend.cuda.line}, with which Jittor "
            f"accumulates 16-bit convolutions in 16 bits. {fix}"
        )
    if precision == "bfloat16" and capability < BFLOAT16_CAPABILITY:
        raise UserError(
            f"{flag}: expected compute capability 8.0, got a GPU with {capability / 10:.1f}. Write "
            "--precision float16, or remove it"
        )


def least_capability() -> int:
    """The least compute capability of the GPUs in use, 80 for 8.0; 0 without a GPU.

    Jittor must be imported.
    """
    import jittor as jt

    return min(jt.flags.cuda_archs, default=0) if jt.has_cuda else 0


def rank_in_job() -> tuple[int, int]:
    """This process's rank and the number of processes under mpirun, before Jittor is imported."""
    environ = os.environ
    return int(environ.get("OMPI_COMM_WORLD_RANK", 0)), int(environ.get("OMPI_COMM_WORLD_SIZE", 1))
