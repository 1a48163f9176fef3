"""Products of 16 bits on the CPU: rounded operands, float32 sums, rounded results."""

from __future__ import annotations

from collections.abc import Callable

import jittor as jt
import numpy as np
import pytest

from models.layers.convolution import DoublingConv2d, SpectralNorm, convolve
from models.layers.layout_feature import LayoutFeature
from models.layers.precision import Precision, computing_in, lower
from models.layout import Layout

Rounding = Callable[[np.ndarray], np.ndarray]


def to_bfloat16(array: np.ndarray) -> np.ndarray:
    """The nearest number of 8 bits, by division: independent of any bit pattern."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.round(mantissa * 256) / 256, exponent).astype(np.float32)


def to_float16(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(np.float32)


SHORT: list[tuple[Precision, Rounding, float]] = [
    ("bfloat16", to_bfloat16, 2**-7),
    ("float16", to_float16, 2**-10),
]


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("precision", "rounding", "unit"), SHORT)
def test_numbers_go_to_the_nearest(precision: Precision, rounding: Rounding, unit: float) -> None:
    ties = np.float32([1 + unit / 2, 1 + 3 * unit / 2, -1 - unit / 2, 1 + unit / 2 * 1.01])
    numbers = np.concatenate([draw(0, 500) * 10 ** draw(1, 500), ties])
    with computing_in(precision):
        rounded = lower(jt.array(numbers)).numpy()
    np.testing.assert_array_equal(rounded, rounding(numbers))
    np.testing.assert_array_equal(rounded[-4:], [1, 1 + 2 * unit, -1, 1 + unit])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_what_is_not_finite_stays_so(precision: Precision) -> None:
    with computing_in(precision):
        inf, minus, nan = lower(jt.array(np.float32([np.inf, -np.inf, np.nan]))).numpy()
        large = lower(jt.array(np.float32([1e5]))).item()
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
    x, w = draw(0, 2, inside, *size), draw(1, 4, inside, kernel, kernel)
    above = draw(2, 2, 4, *size)

    def run(x: np.ndarray, w: np.ndarray, above: np.ndarray) -> list[np.ndarray]:
        inputs = [jt.array(x), jt.array(w)]
        y = convolve(*inputs, padding=padding)
        return jt.fetch_sync([y, *jt.grad((y * jt.array(above)).sum(), inputs)])

    expected = run(rounding(x), rounding(w), rounding(above))
    with computing_in(precision):
        found = run(x, w, above)
    exact = run(x, w, above)
    for got, wanted, full in zip(found, expected, exact, strict=True):
        # sums in another order may round to a neighbour
        np.testing.assert_allclose(got, rounding(wanted), rtol=2 * unit, atol=1e-6)
        assert (got == rounding(got)).all()
        assert (got != full).mean() > 0.5


def test_every_way_of_a_product_is_rounded() -> None:
    ids = np.random.default_rng(0).integers(0, 4, (1, 4, 6)).astype(np.int32)
    layout = Layout(jt.array(ids), 4).feature(by_picture=False)
    feature = LayoutFeature(jt.array(draw(0, 1, 5, 1, layout.partition.groups)), layout.partition)
    doubling = DoublingConv2d(8, 4, 3)
    # 1024 x 1024 weights on few pixels take the way over columns
    small, weight = jt.array(draw(1, 1, 1024, 3, 4)), jt.array(draw(2, 512, 1024, 1, 1))
    columns, wide = jt.array(draw(3, 1, 64, 3, 4)), jt.array(draw(4, 512, 64, 3, 3))
    over_table = jt.array(draw(5, 3, 5, 3, 3))
    products = {
        "function of the layout": lambda: feature.convolve(over_table, 1, 1).table,
        "transposed": lambda: doubling(jt.array(draw(6, 1, 8, 4, 4))),
        "pointwise": lambda: convolve(small, weight),
        "columns": lambda: convolve(columns, wide, padding=1),
    }
    for name, product in products.items():
        with computing_in("bfloat16"):
            result = product().numpy()
        np.testing.assert_array_equal(result, to_bfloat16(result), err_msg=name)
        assert (result != product().numpy()).any(), name


def test_spectral_norm_stays_float32() -> None:
    weight = jt.array(draw(0, 8, 4, 3, 3))
    norm = SpectralNorm(8, 36)
    norm.eval()
    expected = norm(weight).item()
    with computing_in("bfloat16"):
        assert norm(weight).item() == expected


def test_an_error_ends_it_too() -> None:
    x = jt.array(np.float32([1 / 3]))
    with pytest.raises(ZeroDivisionError), computing_in("float16"):
        raise ZeroDivisionError
    assert lower(x) is x
