from __future__ import annotations

import numpy as np
import pytest

from options.errors import UserError
from weights.finite import count_not_finite, require_finite


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_value_that_is_not_finite_counts(dtype: type) -> None:
    array = np.ones((3, 4), dtype)
    assert count_not_finite({"a": array}) == {}
    array[0] = [np.nan, np.inf, -np.inf, 1]
    assert count_not_finite({"a": array, "b": array[1:], "c": array[:, 1]}) == {"a": 3, "c": 1}


def test_values_beyond_float32_count() -> None:
    largest = float(np.finfo(np.float32).max)
    arrays = {"a": np.array([largest, -largest]), "b": np.array([2 * largest, -1e300])}
    assert count_not_finite(arrays) == {"b": 2}


def test_integers_and_empty_tensors_are_finite() -> None:
    arrays = {"a": np.array(2**60), "b": np.zeros((0, 3), np.float32), "c": np.array([True])}
    assert count_not_finite(arrays) == {}


def test_variables_of_jittor() -> None:
    import jittor as jt

    assert count_not_finite({"a": jt.array([1.0, float("nan")]), "b": jt.array([1, 2])}) == {"a": 1}


def test_ten_names_are_shown() -> None:
    arrays = {f"n{index}": np.array([np.nan, 1.0]) for index in range(144)}
    with pytest.raises(UserError) as error:
        require_finite(arrays, "a.pth")
    assert str(error.value).startswith(
        "a.pth: expected finite numbers, got 144 NaN or Inf in 144 tensors: n0 (1), n1 (1), "
    )
    assert "n9 (1) and 134 more. " in str(error.value)
    require_finite({"n": np.zeros(2)}, "a.pth")
