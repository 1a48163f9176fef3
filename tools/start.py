"""Jittor, made ready and imported: the one place where an entry point does it."""

from __future__ import annotations

import os
import signal
from typing import Any, Literal

from options.errors import UserError
from options.run import Precision
from tools.compilers import take_turns
from tools.set_up import Route, prepare

# bfloat16 came with Ampere, compute capability 8.0
BFLOAT16_CAPABILITY = 80
NOTEBOOK = "JPY_PARENT_PID"
JITTORS_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD)


def start_jittor(device: Literal["auto", "cpu", "cuda"]) -> Route:
    """Make `import jittor` work, import it, and choose the device.

    Raises UserError where something that Jittor needs is missing.
    """
    route = prepare(device)
    jt = import_jittor()
    jt.flags.use_cuda = int(route.device == "cuda")
    if route.onednn is not None:
        from models.layers.packed import use_onednn

        use_onednn(str(route.onednn.folder))
    # One is what tools.set_up asks for; who asks for several gets them with the lock, or one.
    if jt.flags.use_parallel_op_compiler > 1 and not take_turns():
        jt.flags.use_parallel_op_compiler = 1
    return route


def import_jittor() -> Any:
    """Import Jittor, which is made ready; what signals did before they do after.

    It ends the process at once at Ctrl-C (but in a notebook, which it knows by a variable), at
    SIGQUIT, and when any child is killed. Python's ways leave room to tidy up, and to say what
    happened; and what was ignored at the start stays ignored.
    """
    before = {number: signal.getsignal(number) for number in JITTORS_SIGNALS}
    notebook = os.environ.setdefault(NOTEBOOK, "0")
    try:
        import jittor as jt
    finally:
        if notebook == "0":
            del os.environ[NOTEBOOK]
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    return jt


def check_precision(precision: Precision, route: Route, capability: int) -> None:
    """Raise UserError where this route's convolutions cannot be made in that precision.

    `capability` is the least compute capability of the cards in use, 80 for 8.0.
    """
    if precision == "float32":
        return
    said, mend = f"--precision {precision} needs", "leave it out, or see docs/gpu.md"
    if route.cuda is None or route.device == "cpu":
        raise UserError(f"{said} a GPU: this run is on the CPU; {mend}")
    if route.cuda.home is None:
        raise UserError(
            f"{said} CUDA 13 with cuDNN 9: with {route.cuda.line} Jittor adds up 16-bit "
            f"convolutions in 16 bits; {mend}"
        )
    if precision == "bfloat16" and capability < BFLOAT16_CAPABILITY:
        raise UserError(
            f"{said} compute capability 8.0: this card has {capability / 10:.1f}; "
            "write --precision float16 or leave it out"
        )


def least_capability() -> int:
    """Of the cards in use, 80 for 8.0; 0 without one. Jittor is imported."""
    import jittor as jt

    return min(jt.flags.cuda_archs, default=0) if jt.has_cuda else 0


def rank_in_job() -> tuple[int, int]:
    """This process's rank and their count under mpirun, known before Jittor is imported."""
    environ = os.environ
    return int(environ.get("OMPI_COMM_WORLD_RANK", 0)), int(environ.get("OMPI_COMM_WORLD_SIZE", 1))
