"""Generators of pix2pixHD against the reference, and their shapes."""

from __future__ import annotations

import pytest

from models.networks.pix2pixhd import (
    GlobalGenerator,
    LocalEnhancer,
    Pix2PixHDGenerator,
    ReflectedConv2d,
    ResidualBlock,
)
from tests.models.conftest import Record
from tests.models.golden import OwnPart, Vars, check_network, layout_of
from tests.models.inputs import CLASSES, layout, record_shapes, shape, values
from tests.reference.goldens import load


def test_global_generator_as_published(record: Record) -> None:
    golden = load("pix2pixhd_generator_global")
    options = golden.options
    generator = GlobalGenerator(
        options["condition_channels"], options["channels"], options["num_downsamples"], blocks=9
    )
    ids = layout_of(golden)

    def forward(network: GlobalGenerator, inputs: Vars) -> Vars:
        return {"image": network(ids.one_hot())}

    record(check_network(golden, generator, OwnPart(), forward))


@pytest.mark.parametrize("num_downsamples", [4, 5])
def test_as_published(num_downsamples: int, record: Record) -> None:
    golden = load(f"pix2pixhd_generator_{num_downsamples}")
    options = golden.options
    generator = Pix2PixHDGenerator(
        layout_channels=options["condition_channels"],
        channels=options["channels"],
        num_downsamples=options["num_downsamples"],
    )
    ids = layout_of(golden)

    def forward(network: Pix2PixHDGenerator, inputs: Vars) -> Vars:
        return {"image": network(ids)}

    part = OwnPart(unused=("global_generator.last.",))
    record(check_network(golden, generator, part, forward))


def test_shapes() -> None:
    x = values(3, 6, 7, 9)
    assert shape(ReflectedConv2d(6, 4, 7, bias=True)(x)) == (3, 4, 7, 9)
    assert shape(ResidualBlock(6)(x)) == (3, 6, 7, 9)
    planes, features = values(3, CLASSES, 24, 40), values(3, 4, 12, 20)
    assert shape(LocalEnhancer(CLASSES, 4, blocks=1)(planes, features)) == (3, 3, 24, 40)
    generator = GlobalGenerator(CLASSES, channels=2, num_downsamples=3, blocks=1)
    down, up = record_shapes(generator.down), record_shapes(generator.up)
    blocks = record_shapes(generator.blocks)
    assert shape(generator.features(planes)) == (3, 2, 24, 40)
    assert down == [(3, 4, 12, 20), (3, 8, 6, 10), (3, 16, 3, 5)] and blocks == down[-1:]
    assert up == [(3, 8, 6, 10), (3, 4, 12, 20), (3, 2, 24, 40)]
    assert shape(generator(planes)) == (3, 3, 24, 40)


def test_shapes_of_both_generators() -> None:
    generator = Pix2PixHDGenerator(
        layout_channels=CLASSES, channels=2, num_downsamples=4, blocks=1, enhancer_blocks=1
    )
    condition = layout(3, 48, 80)
    assert shape(generator(condition)) == shape(generator.run_full(condition)) == (3, 3, 48, 80)
    assert shape(generator.run_global(condition.downsample())) == (3, 3, 24, 40)


def test_more_downsamples_are_no_wider_than_published() -> None:
    generator = Pix2PixHDGenerator(
        layout_channels=CLASSES, channels=1, num_downsamples=6, blocks=1, enhancer_blocks=1
    )
    assert generator.global_generator.blocks[0].conv_0.conv.weight.shape[0] == 16
    assert shape(generator(layout(1, 128, 192))) == (1, 3, 128, 192)
