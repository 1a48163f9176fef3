"""Generator EMA against its formula."""

from __future__ import annotations

import jittor as jt
import numpy as np

from training.ema import EMA


def test_ema_follows_its_formula() -> None:
    variable = jt.array([[1.0, 2.0]])
    ema = EMA({"a": variable}, decay=0.5)
    expected = np.array([[1.0, 2.0]])
    for n in range(12):
        variable.update(jt.array([[float(n), -float(n)]]))
        ema.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * np.array([[n, -n]])
    np.testing.assert_allclose(ema.values["a"].numpy(), expected, rtol=1e-6)
    assert ema.n_update == 12


def test_swapped_in_exchanges_values_and_restores_them() -> None:
    variable = jt.array([1.0])
    ema = EMA({"a": variable}, decay=0.9)
    variable.update(jt.array([5.0]))
    with ema.swapped_in():
        assert variable.numpy().tolist() == [1.0]
    assert variable.numpy().tolist() == [5.0]
    assert ema.values["a"].numpy().tolist() == [1.0]
    assert not variable.is_stop_grad()


def test_with_decay_zero_no_value_is_stored() -> None:
    variable = jt.array([1.0])
    ema = EMA({"a": variable}, decay=0.0)
    ema.update()
    with ema.swapped_in():
        assert variable.numpy().tolist() == [1.0]
    assert ema.state() == {}
