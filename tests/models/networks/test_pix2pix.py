"""The U-Net of pix2pix beside the reference, its sizes and its noise."""

from __future__ import annotations

import numpy as np
import pytest

from models.networks.pix2pix import UNetGenerator
from tests.models.conftest import Record
from tests.models.golden import OwnPart, Vars, check_network, layout_of
from tests.models.inputs import CLASSES, layout, values
from tests.reference.goldens import load


@pytest.mark.parametrize("name", ["5_batch", "5_instance", "7_batch"])
def test_as_published(name: str, record: Record) -> None:
    golden = load(f"pix2pix_generator_{name}")
    options = golden.options
    generator = UNetGenerator(
        layout_channels=options["condition_channels"],
        channels=options["channels"],
        halvings=options["halvings"],
        norm=options["norm"],
    )
    ids = layout_of(golden)

    def forward(network: UNetGenerator, inputs: Vars) -> Vars:
        return {"image": network(ids, inputs.get("noise"))}

    record(check_network(golden, generator, OwnPart(), forward))


@pytest.mark.parametrize("halvings", [4, 6])
def test_any_sides_that_halve_evenly(halvings: int) -> None:
    size = (2**halvings, 3 * 2**halvings)
    generator = UNetGenerator(layout_channels=CLASSES, channels=2, halvings=halvings)
    noise = values(1, generator.noise_length(size))
    image = generator(layout(1, *size), noise)
    assert tuple(image.shape) == (1, 3, *size)
    assert np.isfinite(image.numpy()).all() and np.abs(image.numpy()).max() <= 1


def test_noise_decides_by_its_signs_alone_and_in_evaluation_too() -> None:
    generator = UNetGenerator(layout_channels=CLASSES, channels=4, halvings=4)
    generator.eval()
    condition, noise = layout(1, 32, 48), values(1, generator.noise_length((32, 48)))
    image = generator(condition, noise).numpy()
    np.testing.assert_array_equal(generator(condition, 3 * noise).numpy(), image)
    assert np.abs(generator(condition, -noise).numpy() - image).max() > 1e-3
    assert np.abs(generator(condition).numpy() - image).max() > 1e-3


def test_fewer_halvings_are_refused() -> None:
    with pytest.raises(ValueError, match="4 halvings or more, got 3"):
        UNetGenerator(layout_channels=5, channels=2, halvings=3)
