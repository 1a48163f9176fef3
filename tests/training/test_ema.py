from __future__ import annotations

import jittor as jt
import numpy as np

from training.ema import Average


def test_average_follows_its_formula() -> None:
    variable = jt.array([[1.0, 2.0]])
    average = Average({"a": variable}, decay=0.5)
    expected = np.array([[1.0, 2.0]])
    for n in range(12):
        variable.update(jt.array([[float(n), -float(n)]]))
        average.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * np.array([[n, -n]])
    np.testing.assert_allclose(average.values["a"].numpy(), expected, rtol=1e-6)
    assert average.n_update == 12


def test_applied_puts_the_average_in_and_the_parameter_back() -> None:
    variable = jt.array([1.0])
    average = Average({"a": variable}, decay=0.9)
    variable.update(jt.array([5.0]))
    with average.applied():
        assert variable.numpy().tolist() == [1.0]
    assert variable.numpy().tolist() == [5.0]
    assert average.values["a"].numpy().tolist() == [1.0]
    assert not variable.is_stop_grad()


def test_decay_zero_keeps_nothing() -> None:
    variable = jt.array([1.0])
    average = Average({"a": variable}, decay=0.0)
    average.update()
    with average.applied():
        assert variable.numpy().tolist() == [1.0]
    assert average.state() == {}
