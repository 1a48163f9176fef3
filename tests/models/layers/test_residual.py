"""The residual blocks beside the reference, with and without a learned shortcut."""

from __future__ import annotations

import pytest

from models.layers.residual import FADEResidualBlock, SPADEResidualBlock, StreamResidualBlock
from tests.models.conftest import Record
from tests.models.golden import Part, check_network, layout_of
from tests.reference.goldens import load

BLOCK = Part("spade", "blocks.0.", "head_0.")
STREAM_BLOCK = Part("tsit", "content_stream.blocks.0.", "content_stream.res_0.")


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("shortcut", ["identity", "learned", "widening"])
def test_spade_block_as_published(shortcut: str, norm: str, record: Record) -> None:
    golden = load(f"spade_block_{shortcut}_{norm}")
    options = golden.options
    block = SPADEResidualBlock(
        options["in_channels"], options["out_channels"], options["condition_channels"], norm
    )
    layout = layout_of(golden)
    record(check_network(golden, block, BLOCK, lambda net, v: {"y": net(v["x"], layout)}, ["x"]))


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("shortcut", ["identity", "learned"])
def test_fade_block_as_published(shortcut: str, norm: str, record: Record) -> None:
    golden = load(f"fade_block_{shortcut}_{norm}")
    block = FADEResidualBlock(golden.options["in_channels"], golden.options["out_channels"], norm)
    worst = check_network(
        golden,
        block,
        BLOCK,
        lambda net, v: {"y": net(v["x"], v["feature"])},
        ["x", "feature"],
    )
    record(worst)


@pytest.mark.parametrize("shortcut", ["identity", "learned"])
def test_stream_block_as_published(shortcut: str, record: Record) -> None:
    golden = load(f"stream_block_{shortcut}_instance")
    block = StreamResidualBlock(golden.options["in_channels"], golden.options["out_channels"])
    record(check_network(golden, block, STREAM_BLOCK, lambda net, v: {"y": net(v["x"])}, ["x"]))
