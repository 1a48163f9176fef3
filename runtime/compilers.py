"""Makes Jittor's parallel compilation safe.

Jittor 1.3.11 compiles new operators on several threads, which change its graph without a lock and
occasionally corrupt the heap; runtime/compile_in_turn.cc explains how and adds the lock, through
Jittor's hook for other compilers. Jittor itself stays unchanged.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

SOURCE = Path(__file__).with_name("compile_in_turn.cc")
LIBRARY = "landscape_compile_in_turn.so"


def take_turns() -> bool:
    """Serializes Jittor's compile threads at its graph; returns False if the lock fails to compile.

    Call it after `import jittor` and before the first operator. The library is compiled once, in
    seconds, and again when Jittor, its flags or the source change.
    """
    from jittor import compiler
    from jittor_utils import lock

    flags = compiler.cc_flags + compiler.opt_flags
    try:
        with lock.lock_scope():
            compiler.compile(compiler.cc_path, flags, [str(SOURCE)], LIBRARY)
        ctypes.CDLL(os.path.join(compiler.cache_path, LIBRARY))
    except (OSError, RuntimeError):
        return False
    return True
