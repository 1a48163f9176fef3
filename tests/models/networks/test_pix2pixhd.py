"""The generators of pix2pixHD beside the reference."""

from __future__ import annotations

import pytest

from models.networks.pix2pixhd import GlobalGenerator, Pix2PixHDGenerator
from tests.models.conftest import Record
from tests.models.golden import OwnPart, Vars, check_network, layout_of
from tests.models.inputs import CLASSES, layout
from tests.reference.goldens import load


def test_global_generator_as_published(record: Record) -> None:
    golden = load("pix2pixhd_generator_global")
    options = golden.options
    generator = GlobalGenerator(
        options["condition_channels"], options["channels"], options["halvings"], blocks=9
    )
    ids = layout_of(golden)

    def forward(network: GlobalGenerator, inputs: Vars) -> Vars:
        return {"image": network(ids.one_hot())}

    record(check_network(golden, generator, OwnPart(), forward))


@pytest.mark.parametrize("halvings", [4, 5])
def test_as_published(halvings: int, record: Record) -> None:
    golden = load(f"pix2pixhd_generator_{halvings}")
    options = golden.options
    generator = Pix2PixHDGenerator(
        layout_channels=options["condition_channels"],
        channels=options["channels"],
        halvings=options["halvings"],
    )
    ids = layout_of(golden)

    def forward(network: Pix2PixHDGenerator, inputs: Vars) -> Vars:
        return {"image": network(ids)}

    part = OwnPart(unused=("global_generator.last.",))
    record(check_network(golden, generator, part, forward))


def test_an_odd_width_and_more_halvings() -> None:
    generator = Pix2PixHDGenerator(
        layout_channels=CLASSES, channels=1, halvings=6, blocks=1, enhancer_blocks=1
    )
    assert generator.global_generator.blocks[0].conv_0.conv.weight.shape[0] == 16
    assert tuple(generator(layout(1, 128, 192)).shape) == (1, 3, 128, 192)


def test_one_halving_is_refused() -> None:
    with pytest.raises(ValueError, match="twice or more, got 1"):
        Pix2PixHDGenerator(layout_channels=5, channels=2, halvings=1)
