"""Mixed precision: convolutions and matrix products in 16 bits, everything else in float32.

    with autocast("bfloat16"):
        losses = method.generator_losses(content, image)

Micikevicius et al. 2018, "Mixed Precision Training": operands and results of a product have 16
bits, its sums and the weights 32. Norms, statistics, losses and the power iteration of spectral
norm are float32. Gradients pass through the same casts, so `jt.grad` needs no context.

On a GPU the operands are 16-bit variables. On the CPU, whose convolutions support only float32,
they are float32 variables rounded to the same numbers: no faster, but the same arithmetic for
tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import jittor as jt

from models.kernels import fused

Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]

_current: Precision = "float32"


@contextmanager
def autocast(precision: Precision) -> Iterator[None]:
    """Sets the precision of convolutions and matrix products inside a `with` block."""
    global _current
    before, _current = _current, precision
    try:
        yield
    finally:
        _current = before


def to_compute_dtype(x: jt.Var) -> jt.Var:
    """Casts a float32 operand to the current precision."""
    return x if _current == "float32" else _round(x, _current)


def to_float32(y: jt.Var) -> jt.Var:
    """Casts a product back to float32, rounded to the current precision."""
    if _current == "float32":
        return y
    return _round(y, _current) if fused.available() else y.float32()


def _round(x: jt.Var, precision: Precision) -> jt.Var:
    if precision == "bfloat16" and fused.available():
        # Jittor's own cast truncates on the CPU, but rounds on a GPU.
        return fused.RoundToBfloat16()(x)
    short = x.bfloat16() if precision == "bfloat16" else x.float16()
    return short.float32() if fused.available() else short
