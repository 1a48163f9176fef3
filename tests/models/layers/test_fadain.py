"""FAdaIN against the reference, its shapes and limits."""

from __future__ import annotations

import numpy as np
import pytest

from models.layers.fadain import fadain, statistics
from tests.models.conftest import Record
from tests.models.golden import check, fetch, gradients, inputs_of
from tests.models.inputs import full, shape, values
from tests.reference.goldens import load


def test_as_published(record: Record) -> None:
    golden = load("fadain")
    inputs = inputs_of(golden)
    of = {name: inputs[name] for name in ("x", "style")}
    results = {}
    for alpha in ("1", "0.6"):
        y = fadain(inputs["x"], inputs["style"], float(alpha))
        results[f"out/alpha_{alpha}"] = y
        loss = (y * inputs["cotangent"]).sum()
        results |= gradients(loss, {f"in.{name}.alpha_{alpha}": x for name, x in of.items()})
    record(check(golden, fetch(results)))


def test_alpha_0_keeps_the_content() -> None:
    content = values(2, 6, 8, 12)
    mixed = fadain(content, values(2, 6, 5, 4), 0.0)
    np.testing.assert_array_equal(mixed.numpy(), content.numpy())


def test_shapes() -> None:
    content, style = values(3, 6, 5, 7), values(3, 6, 3, 9)
    assert [shape(value) for value in statistics(style)] == [(3, 6, 1, 1)] * 2
    for given in (style, statistics(style)):
        assert shape(fadain(content, given, 0.5)) == (3, 6, 5, 7)


@pytest.mark.parametrize("name", ["content", "style"])
def test_a_feature_of_one_pixel_raises(name: str) -> None:
    features = {"content": full(0, 2, 6, 8, 12), "style": full(0, 2, 6, 5, 4)}
    features[name] = full(0, 2, 6, 1, 1)
    with pytest.raises(ValueError, match=f"{name} feature of at least 2 pixels"):
        fadain(features["content"], features["style"])
