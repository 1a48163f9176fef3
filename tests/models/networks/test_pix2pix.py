"""U-Net of pix2pix against the reference, its shapes and its noise."""

from __future__ import annotations

import numpy as np
import pytest

from models.networks.pix2pix import UNetGenerator
from tests.models.conftest import Record
from tests.models.golden import OwnPart, Vars, check_network, layout_of
from tests.models.inputs import CLASSES, layout, record_shapes, shape, values
from tests.reference.goldens import load


@pytest.mark.parametrize("name", ["5_batch", "5_instance", "7_batch"])
def test_as_published(name: str, record: Record) -> None:
    golden = load(f"pix2pix_generator_{name}")
    options = golden.options
    generator = UNetGenerator(
        layout_channels=options["condition_channels"],
        channels=options["channels"],
        num_downsamples=options["num_downsamples"],
        norm=options["norm"],
    )
    ids = layout_of(golden)

    def forward(network: UNetGenerator, inputs: Vars) -> Vars:
        return {"image": network(ids, inputs.get("noise"))}

    record(check_network(golden, generator, OwnPart(), forward))


@pytest.mark.parametrize("num_downsamples", [4, 6])
def test_any_multiple_of_the_factor_is_a_size(num_downsamples: int) -> None:
    size = (2**num_downsamples, 3 * 2**num_downsamples)
    generator = UNetGenerator(layout_channels=CLASSES, channels=2, num_downsamples=num_downsamples)
    noise = values(1, generator.noise_length(size))
    image = generator(layout(1, *size), noise)
    assert shape(image) == (1, 3, *size)
    assert np.isfinite(image.numpy()).all() and np.abs(image.numpy()).max() <= 1


def test_shapes() -> None:
    generator = UNetGenerator(layout_channels=CLASSES, channels=2, num_downsamples=4)
    down, up = record_shapes(generator.down), record_shapes(generator.up)
    length = generator.noise_length((48, 80))
    assert length == 8 * 6 * 10 + 4 * 12 * 20 + 2 * 24 * 40
    assert shape(generator(layout(3, 48, 80), values(3, length))) == (3, 3, 48, 80)
    assert down == [(3, 2, 24, 40), (3, 4, 12, 20), (3, 8, 6, 10), (3, 16, 3, 5)]
    assert up == [(3, 8, 6, 10), (3, 4, 12, 20), (3, 2, 24, 40), (3, 3, 48, 80)]


def test_only_the_signs_of_noise_matter_in_evaluation_too() -> None:
    generator = UNetGenerator(layout_channels=CLASSES, channels=4, num_downsamples=4)
    generator.eval()
    condition, noise = layout(1, 32, 48), values(1, generator.noise_length((32, 48)))
    image = generator(condition, noise).numpy()
    np.testing.assert_array_equal(generator(condition, 3 * noise).numpy(), image)
    assert np.abs(generator(condition, -noise).numpy() - image).max() > 1e-3
    assert np.abs(generator(condition).numpy() - image).max() > 1e-3
