"""Search for numbers that are not finite, in every file that is read and before every save.

require_finite(arrays, path)            # UserError: file, tensors, how many
count_not_finite(trainer.variables())   # {"network.generator.last.bias": 3}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from options.errors import UserError, list_names
from weights.safetensors_file import Tensor

LARGEST = float(np.finfo(np.float32).max)  # networks compute in float32


def count_not_finite(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the number of NaN, Inf and values beyond float32 per tensor that has any.

    One tensor at a time is in memory. Integers are always finite.
    """
    counts: dict[str, int] = {}
    for name, tensor in tensors.items():
        if not str(tensor.dtype).startswith("float"):
            continue
        array = tensor if isinstance(tensor, np.ndarray) else tensor.numpy()
        # Two passes without a copy; a NaN is the result of both.
        if array.size and not (array.min() >= -LARGEST and array.max() <= LARGEST):
            counts[name] = int(np.count_nonzero(~(np.abs(array) <= LARGEST)))
    return counts


def describe_not_finite(counts: Mapping[str, int]) -> str:
    """Return the result of `count_not_finite` as a part of a sentence."""
    names = list_names(f"{name} ({count})" for name, count in counts.items())
    return f"{sum(counts.values())} NaN or Inf in {len(counts)} tensors: {names}"


def require_finite(arrays: Mapping[str, np.ndarray], source: str | Path) -> None:
    """Raise UserError if an array holds NaN, Inf or values beyond float32."""
    counts = count_not_finite(arrays)
    if counts:
        raise UserError(
            f"{source}: expected finite numbers, got {describe_not_finite(counts)}. "
            "The training diverged: take an earlier file"
        )
