"""16-bit products on the CPU: rounded operands, float32 sums, rounded results."""

from __future__ import annotations

from collections.abc import Callable

import jittor as jt
import numpy as np
import pytest

from models.kernels.precision import Precision, autocast, to_compute_dtype
from models.layers.convolution import SpectralNorm, TransposedConv2d, convolve
from models.layouts.layout import Layout
from models.layouts.tabulated_feature import TabulatedFeature

Rounding = Callable[[np.ndarray], np.ndarray]


def to_bfloat16(array: np.ndarray) -> np.ndarray:
    """The nearest number with 8 bits, by division: independent of the bit patterns."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.round(mantissa * 256) / 256, exponent).astype(np.float32)


def to_float16(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(np.float32)


SHORT: list[tuple[Precision, Rounding, float]] = [
    ("bfloat16", to_bfloat16, 2**-7),
    ("float16", to_float16, 2**-10),
]


def sample(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("precision", "rounding", "unit"), SHORT)
def test_numbers_are_rounded_to_the_nearest(
    precision: Precision, rounding: Rounding, unit: float
) -> None:
    ties = np.float32([1 + unit / 2, 1 + 3 * unit / 2, -1 - unit / 2, 1 + unit / 2 * 1.01])
    numbers = np.concatenate([sample(0, 500) * 10 ** sample(1, 500), ties])
    with autocast(precision):
        rounded = to_compute_dtype(jt.array(numbers)).numpy()
    np.testing.assert_array_equal(rounded, rounding(numbers))
    np.testing.assert_array_equal(rounded[-4:], [1, 1 + 2 * unit, -1, 1 + unit])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_infinity_and_nan_are_kept(precision: Precision) -> None:
    with autocast(precision):
        inf, minus, nan = to_compute_dtype(jt.array(np.float32([np.inf, -np.inf, np.nan]))).numpy()
        large = to_compute_dtype(jt.array(np.float32([1e5]))).item()
    assert inf == np.inf and minus == -np.inf and np.isnan(nan)
    assert (large == np.inf) == (precision == "float16")


@pytest.mark.parametrize(("precision", "rounding", "unit"), SHORT)
@pytest.mark.parametrize(
    ("inside", "kernel", "padding", "size"), [(8, 3, 1, (12, 16)), (8, 1, 0, (12, 16))]
)
def test_a_convolution_rounds_operands_result_and_gradients(
    precision: Precision,
    rounding: Rounding,
    unit: float,
    inside: int,
    kernel: int,
    padding: int,
    size: tuple[int, int],
) -> None:
    x, w = sample(0, 2, inside, *size), sample(1, 4, inside, kernel, kernel)
    above = sample(2, 2, 4, *size)

    def run(x: np.ndarray, w: np.ndarray, above: np.ndarray) -> list[np.ndarray]:
        inputs = [jt.array(x), jt.array(w)]
        y = convolve(*inputs, padding=padding)
        return jt.fetch_sync([y, *jt.grad((y * jt.array(above)).sum(), inputs)])

    expected = run(rounding(x), rounding(w), rounding(above))
    with autocast(precision):
        found = run(x, w, above)
    exact = run(x, w, above)
    for got, wanted, full in zip(found, expected, exact, strict=True):
        # Sums in another order may round to the next number.
        np.testing.assert_allclose(got, rounding(wanted), rtol=2 * unit, atol=1e-6)
        assert (got == rounding(got)).all()
        assert (got != full).mean() > 0.5


def test_every_algorithm_of_a_product_is_rounded() -> None:
    ids = np.random.default_rng(0).integers(0, 4, (1, 4, 6)).astype(np.int32)
    layout = Layout(jt.array(ids), 4).feature(by_image=False)
    feature = TabulatedFeature(
        jt.array(sample(0, 1, 5, 1, layout.partition.groups)), layout.partition
    )
    transposed = TransposedConv2d(8, 4, 3)
    # 512 x 64 x 3 x 3 weights on few pixels use the product over columns.
    small, weight = jt.array(sample(1, 1, 1024, 3, 4)), jt.array(sample(2, 512, 1024, 1, 1))
    columns, wide = jt.array(sample(3, 1, 64, 3, 4)), jt.array(sample(4, 512, 64, 3, 3))
    over_table = jt.array(sample(5, 3, 5, 3, 3))
    products = {
        "tabulated": lambda: feature.convolve(over_table, 1, 1).table,
        "transposed": lambda: transposed(jt.array(sample(6, 1, 8, 4, 4))),
        "pointwise": lambda: convolve(small, weight),
        "columns": lambda: convolve(columns, wide, padding=1),
    }
    for name, product in products.items():
        with autocast("bfloat16"):
            result = product().numpy()
        np.testing.assert_array_equal(result, to_bfloat16(result), err_msg=name)
        assert (result != product().numpy()).any(), name


def test_spectral_norm_stays_float32() -> None:
    weight = jt.array(sample(0, 8, 4, 3, 3))
    norm = SpectralNorm(8, 36)
    norm.eval()
    expected = norm(weight).item()
    with autocast("bfloat16"):
        assert norm(weight).item() == expected


def test_an_error_ends_autocast() -> None:
    x = jt.array(np.float32([1 / 3]))
    with pytest.raises(ZeroDivisionError), autocast("float16"):
        raise ZeroDivisionError
    assert to_compute_dtype(x) is x
