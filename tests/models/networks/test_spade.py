"""SPADE generator against the reference, and its shapes."""

from __future__ import annotations

import numpy as np
import pytest

from models.networks.spade import SPADEGenerator
from options.generators import DEPTH_WORDS
from tests.models.conftest import Record
from tests.models.golden import Part, Vars, check_network, layout_of
from tests.models.inputs import CLASSES, layout, record_shapes, shape, values
from tests.reference.goldens import load


@pytest.mark.parametrize(
    "name",
    [
        "normal_layout",
        "normal_latent",
        "normal_layout_instance",
        "normal_latent_instance",
        "more_layout",
        "more_latent",
        "most_layout",
        "most_latent",
    ],
)
def test_as_published(name: str, record: Record) -> None:
    golden = load(f"spade_generator_{name}")
    options = golden.options
    generator = SPADEGenerator(
        layout_channels=options["condition_channels"],
        channels=options["channels"],
        num_downsamples=DEPTH_WORDS[options["num_downsamples"]],
        size=tuple(options["size"]),
        latent_size=options["latent_size"] if options["vae"] else None,
        norm=options["norm"],
    )
    ids = layout_of(golden)

    def forward(network: SPADEGenerator, inputs: Vars) -> Vars:
        return {"image": network(ids, inputs.get("z"))}

    wanted = ["z"] if options["vae"] else []
    record(check_network(golden, generator, Part("spade"), forward, wanted))


@pytest.mark.parametrize("num_downsamples", [4, 5, 6, 7])
@pytest.mark.parametrize("latent_size", [None, 16])
def test_every_depth_generates_the_size_of_its_layout(
    num_downsamples: int, latent_size: int | None
) -> None:
    size = (2 * 2**num_downsamples, 3 * 2**num_downsamples)
    generator = SPADEGenerator(
        layout_channels=CLASSES,
        channels=4,
        num_downsamples=num_downsamples,
        size=size,
        latent_size=latent_size,
    )
    image = generator(layout(2, *size), None if latent_size is None else values(2, latent_size))
    assert shape(image) == (2, 3, *size)
    if num_downsamples == 4:  # the goldens run the published depths
        assert np.abs(image.numpy()).max() <= 1


# Sides of the blocks as multiples of the coarsest side, for 4 to 7 downsamples.
SIDES = {
    4: (1, 1, 1, 2, 4, 8, 16),
    5: (1, 2, 2, 4, 8, 16, 32),
    6: (1, 2, 4, 8, 16, 32, 64),
    7: (1, 2, 4, 8, 16, 32, 64, 128),
}
WIDTHS = (16, 16, 16, 8, 4, 2, 1, 0.5)


@pytest.mark.parametrize("depth", SIDES)
def test_shapes(depth: int) -> None:
    generator = SPADEGenerator(layout_channels=CLASSES, channels=2, num_downsamples=depth)
    shapes = record_shapes(generator.blocks)
    size = (2**depth, 3 * 2**depth)
    assert shape(generator(layout(3, *size))) == (3, 3, *size)
    expected = zip(WIDTHS, SIDES[depth], strict=False)
    assert shapes == [(3, int(2 * width), side, 3 * side) for width, side in expected]
