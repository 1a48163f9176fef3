"""Several of Jittor's compilers at a time, without the crash that comes of it.

The threads with which Jittor 1.3.11 compiles new operators change its graph without a lock, and
now and then corrupt the heap: tools/compile_in_turn.cc says how. That file puts the lock there,
through the hook that Jittor has for other ways to compile. Jittor itself is not changed.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

SOURCE = Path(__file__).with_name("compile_in_turn.cc")
LIBRARY = "landscape_compile_in_turn.so"


def take_turns() -> bool:
    """Have Jittor's compile threads take turns at its graph; False where that cannot be compiled.

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
