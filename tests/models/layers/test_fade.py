"""FADE against the reference, and its shape."""

from __future__ import annotations

import pytest

from models.layers.fade import FADE
from tests.models.conftest import Record
from tests.models.golden import Part, check_network
from tests.models.inputs import shape, values
from tests.reference.goldens import load


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_as_published(norm: str, record: Record) -> None:
    golden = load(f"fade_layer_{norm}")
    layer = FADE(golden.options["channels"], norm)
    part = Part("spade", "blocks.0.norm_0.", "head_0.norm_0.")
    worst = check_network(
        golden,
        layer,
        part,
        lambda net, v: {"y": net(v["x"], v["feature"])},
        ["x", "feature"],
    )
    record(worst)


def test_shape() -> None:
    assert shape(FADE(6)(values(3, 6, 5, 7), values(3, 6, 5, 7, seed=1))) == (3, 6, 5, 7)
