"""Floats that NumPy lacks, decoded to float32, which holds each of their values exactly."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

ByteOrder: TypeAlias = Literal["<", ">"]


def _table(exponent_bits: int, bias: int, *, infinite: bool, zero_nan: bool = False) -> np.ndarray:
    """Return the 256 values of an 8-bit float of sign, exponent and mantissa.

    infinite: the last exponent means Inf and NaN, as in IEEE 754; otherwise only its last mantissa
    means NaN. zero_nan: minus zero is the only NaN.
    """
    mantissa_bits = 7 - exponent_bits
    codes = np.arange(256)
    exponent = codes >> mantissa_bits & (1 << exponent_bits) - 1
    mantissa = codes & (1 << mantissa_bits) - 1
    fraction = mantissa / (1 << mantissa_bits)
    normal = (1 + fraction) * 2.0 ** (exponent - bias)
    values = np.where(exponent == 0, fraction * 2.0 ** (1 - bias), normal)
    last = exponent == (1 << exponent_bits) - 1
    if zero_nan:
        values[0x80] = np.nan
    elif infinite:
        values[last] = np.where(mantissa[last] == 0, np.inf, np.nan)
    else:
        values[last & (mantissa == (1 << mantissa_bits) - 1)] = np.nan
    return np.where(codes & 0x80, -values, values).astype(np.float32)


# Micikevicius et al. 2022, "FP8 Formats for Deep Learning"; FNUZ is the form of AMD's MI300.
FLOAT8 = {
    "F8_E4M3": _table(4, 7, infinite=False),
    "F8_E5M2": _table(5, 15, infinite=True),
    "F8_E4M3FNUZ": _table(4, 8, infinite=False, zero_nan=True),
    "F8_E5M2FNUZ": _table(5, 16, infinite=False, zero_nan=True),
}
BFLOAT16 = "BF16"


def item_size(kind: str) -> int:
    """Return the bytes per number of a kind of this module."""
    return 2 if kind == BFLOAT16 else 1


def read_short_floats(content: np.ndarray, kind: str, byte_order: ByteOrder = "<") -> np.ndarray:
    """Return flat float32 numbers from the bytes (uint8) of a kind of this module."""
    if kind == BFLOAT16:
        # The upper half of a float32.
        bits = content.view(np.dtype("u2").newbyteorder(byte_order)).astype(np.uint32) << 16
        return bits.view(np.float32)
    return FLOAT8[kind][content]
