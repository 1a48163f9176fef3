"""Seeds derived from the run's seed and a purpose, never from earlier random numbers.

A resumed run therefore samples the same numbers as a run without the stop.
"""

from __future__ import annotations

import hashlib

# Jittor's seeds are signed 32-bit numbers, and jt.set_global_seed adds 2591 per rank.
LIMIT = 2**31 - 2**24


def derive_seed(seed: int, purpose: str, number: int = 0) -> int:
    """Return a seed for jt.set_global_seed, e.g. of step 1200: derive_seed(0, "step", 1200)."""
    return derive_key(seed, f"{purpose} {number}") % LIMIT


def derive_key(seed: int, purpose: str) -> int:
    """Return a 128-bit number, the key of a Philox generator."""
    # The name of a layout may hold bytes that are not UTF-8.
    text = f"{seed}\n{purpose}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(text).digest()[:16], "little")
