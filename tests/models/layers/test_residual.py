"""Residual blocks against the reference, with and without a learned shortcut."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest

from models.layers.residual import (
    FADEResidualBlock,
    SPADEResidualBlock,
    StreamResidualBlock,
    tanh,
)
from tests.models.conftest import Record
from tests.models.golden import Part, check_network, layout_of
from tests.models.inputs import CLASSES, layout, shape, values
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
    ids = layout_of(golden)
    record(check_network(golden, block, BLOCK, lambda net, v: {"y": net(v["x"], ids)}, ["x"]))


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


@pytest.mark.parametrize("out_channels", [6, 4, 9])
def test_shapes(out_channels: int) -> None:
    x, condition = values(3, 6, 5, 7), layout(3, 11, 13)
    expected = (3, out_channels, 5, 7)
    assert shape(SPADEResidualBlock(6, out_channels, CLASSES, "batch")(x, condition)) == expected
    assert shape(FADEResidualBlock(6, out_channels, "instance")(x, values(3, 6, 5, 7))) == expected
    assert shape(StreamResidualBlock(6, out_channels)(x)) == expected
    tabulated = layout(3, 5, 7).feature(by_image=True)
    assert shape(StreamResidualBlock(CLASSES, out_channels, 3)(tabulated)) == expected


def test_a_saturated_color_has_a_finite_gradient() -> None:
    colors = np.array([-1000.0, -50.0, -3.0, 0.0, 0.5, 19.0, 50.0, 1000.0], np.float32)
    x = jt.array(colors)
    y = tanh(x)
    np.testing.assert_allclose(y.numpy(), np.tanh(colors), atol=1e-6)
    slope = 1 - np.tanh(colors.astype(np.float64)) ** 2
    np.testing.assert_allclose(jt.grad(y.sum(), x).numpy(), slope, atol=1e-6)


def test_nan_stays_nan() -> None:
    """Otherwise a diverged generator would generate white images."""
    colors = np.array([np.nan, 0.5, -np.nan], np.float32)
    np.testing.assert_allclose(tanh(jt.array(colors)).numpy(), np.tanh(colors), atol=1e-6)
