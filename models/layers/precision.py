"""Convolutions and matrix products in 16 bits; everything around them stays float32.

    with computing_in("bfloat16"):
        losses = method.generator_losses(layout, image)

Micikevicius et al. 2018, "Mixed Precision Training": operands and results of a product have 16
bits, its sums and the weights 32. Norms, statistics, losses and the power iteration of spectral
norm are float32. Gradients pass through the same roundings, so nothing needs to be said when they
are taken.

On a GPU the operands are 16-bit variables. On the CPU, whose convolutions know float32 alone, they
are float32 variables rounded to the same numbers: no faster, but the same arithmetic, for tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import jittor as jt

from models.layers import kernels

Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]

_present: Precision = "float32"


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Make convolutions and products in that precision, for the length of a `with` block."""
    global _present
    before, _present = _present, precision
    try:
        yield
    finally:
        _present = before


def lower(x: jt.Var) -> jt.Var:
    """An operand, float32, as the products of the present precision take it."""
    return x if _present == "float32" else _round(x, _present)


def restore(y: jt.Var) -> jt.Var:
    """What a product of the present precision has given, as float32."""
    if _present == "float32":
        return y
    return _round(y, _present) if kernels.serve() else y.float32()


def _round(x: jt.Var, precision: Precision) -> jt.Var:
    if precision == "bfloat16" and kernels.serve():
        # Jittor's own cast cuts the last bits off on the CPU, where a GPU rounds
        return kernels.RoundToBfloat16()(x)
    short = x.bfloat16() if precision == "bfloat16" else x.float16()
    return short.float32() if kernels.serve() else short
