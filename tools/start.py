"""Jittor, made ready and imported: the one place where an entry point does it."""

from __future__ import annotations

import os
import signal
from typing import Literal

from tools.set_up import Route, prepare


def start_jittor(device: Literal["auto", "cpu", "cuda"]) -> Route:
    """Make `import jittor` work, import it, and choose the device.

    Raises UserError where something that Jittor needs is missing.
    """
    route = prepare(device)
    import jittor as jt

    jt.flags.use_cuda = int(route.device == "cuda")
    # Jittor ends the process at once at Ctrl-C, and when any child is killed; Python's ways leave
    # room to tidy up, and to say what happened.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return route


def rank_in_job() -> tuple[int, int]:
    """This process's rank and their count under mpirun, known before Jittor is imported."""
    environ = os.environ
    return int(environ.get("OMPI_COMM_WORLD_RANK", 0)), int(environ.get("OMPI_COMM_WORLD_SIZE", 1))
