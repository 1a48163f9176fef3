"""SPADE against the reference, and its shape."""

from __future__ import annotations

import pytest

from models.layers.spade import SPADE
from tests.models.conftest import Record
from tests.models.golden import Part, check_network, layout_of
from tests.models.inputs import CLASSES, layout, shape, values
from tests.reference.goldens import load


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_as_published(norm: str, record: Record) -> None:
    golden = load(f"spade_layer_{norm}")
    options = golden.options
    layer = SPADE(options["channels"], options["condition_channels"], norm)
    ids = layout_of(golden)
    part = Part("spade", "blocks.0.norm_0.", "head_0.norm_0.")
    record(check_network(golden, layer, part, lambda net, v: {"y": net(v["x"], ids)}, ["x"]))


def test_shape() -> None:
    assert shape(SPADE(6, CLASSES)(values(3, 6, 5, 7), layout(3, 11, 13))) == (3, 6, 5, 7)
