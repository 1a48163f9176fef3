"""The SPADE generator beside the reference, and its sizes."""

from __future__ import annotations

import numpy as np
import pytest

from models.networks.spade import SPADEGenerator
from options.run import SPADE_DEPTHS
from tests.models.conftest import Record
from tests.models.golden import Part, Vars, check_network, layout_of
from tests.models.inputs import CLASSES, layout, values
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
        halvings=SPADE_DEPTHS[options["halvings"]],
        size=tuple(options["size"]),
        latent_size=options["latent_size"] if options["vae"] else None,
        norm=options["norm"],
    )
    ids = layout_of(golden)

    def forward(network: SPADEGenerator, inputs: Vars) -> Vars:
        return {"image": network(ids, inputs.get("z"))}

    wanted = ["z"] if options["vae"] else []
    record(check_network(golden, generator, Part("spade"), forward, wanted))


@pytest.mark.parametrize("halvings", [4, 5, 6, 7])
@pytest.mark.parametrize("latent_size", [None, 16])
def test_every_depth_draws_the_size_of_its_layout(halvings: int, latent_size: int | None) -> None:
    size = (2 * 2**halvings, 3 * 2**halvings)
    generator = SPADEGenerator(
        layout_channels=CLASSES,
        channels=4,
        halvings=halvings,
        size=size,
        latent_size=latent_size,
    )
    image = generator(layout(2, *size), None if latent_size is None else values(2, latent_size))
    assert tuple(image.shape) == (2, 3, *size)
    if halvings == 4:  # the goldens run the published depths
        assert np.abs(image.numpy()).max() <= 1


@pytest.mark.parametrize("halvings", [3, 8])
def test_other_depths_are_refused(halvings: int) -> None:
    with pytest.raises(ValueError, match=f"4 to 7 halvings, got {halvings}"):
        SPADEGenerator(layout_channels=5, channels=4, halvings=halvings)
