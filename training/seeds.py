"""Seeds that follow from the run's seed and from what they are for, never from what went before.

So a run that is resumed draws the numbers that it would have drawn without the stop.
"""

from __future__ import annotations

import hashlib

# Jittor's seeds are 32-bit with a sign, and jt.set_global_seed adds 2591 for each rank.
LIMIT = 2**31 - 2**24


def derive_seed(seed: int, purpose: str, number: int = 0) -> int:
    """A seed for jt.set_global_seed, for example of step 1200: derive_seed(0, "step", 1200)."""
    return derive_key(seed, f"{purpose} {number}") % LIMIT


def derive_key(seed: int, purpose: str) -> int:
    """A number of 128 bits, the key of a Philox generator."""
    # A layout's name may hold bytes that are no UTF-8.
    text = f"{seed}\n{purpose}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(text).digest()[:16], "little")
