"""Short floats are those that the authors of the formats list, and those of NumPy's float16."""

from __future__ import annotations

import numpy as np
import pytest

from weights.short_floats import FLOAT8, read_short_floats

CODES = np.arange(256, dtype=np.uint8)


def test_e5m2_is_the_upper_half_of_float16() -> None:
    expected = (CODES.astype(np.uint16) << 8).view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(read_short_floats(CODES, "F8_E5M2"), expected)


@pytest.mark.parametrize(
    ("kind", "largest", "normal", "subnormal", "nans"),
    [
        ("F8_E4M3", 448.0, 2.0**-6, 2.0**-9, [0x7F, 0xFF]),
        ("F8_E4M3FNUZ", 240.0, 2.0**-7, 2.0**-10, [0x80]),
        ("F8_E5M2FNUZ", 57344.0, 2.0**-15, 2.0**-17, [0x80]),
    ],
)
def test_the_ends_of_each_kind(
    kind: str, largest: float, normal: float, subnormal: float, nans: list[int]
) -> None:
    values = FLOAT8[kind]
    assert np.flatnonzero(np.isnan(values)).tolist() == nans
    finite = values[np.isfinite(values)]
    assert finite.max() == largest and finite.min() == -largest
    assert finite[finite > 0].min() == subnormal
    assert normal in values and not np.isinf(values).any()
    assert (np.diff(values[:0x7F]) > 0).all()  # codes count upwards
    np.testing.assert_array_equal(values[0x81:0xFF], -values[0x01:0x7F])


def test_bfloat16_in_both_orders() -> None:
    expected = np.array([1.0, -2.5, 0.0, np.inf, 3.0e38], np.float32)
    bits = (expected.view(np.uint32) >> 16).astype(np.uint16)
    found = read_short_floats(bits.view(np.uint8), "BF16")
    np.testing.assert_array_equal(found[:4], expected[:4])
    assert found[4] == pytest.approx(3.0e38, rel=2**-7)
    np.testing.assert_array_equal(
        read_short_floats(bits.byteswap().view(np.uint8), "BF16", ">"), found
    )
