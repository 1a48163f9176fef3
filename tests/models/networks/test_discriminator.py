"""The multi-scale discriminator beside the reference, with one picture and with several."""

from __future__ import annotations

from itertools import chain

import jittor as jt
import numpy as np
import pytest

from models.networks.discriminator import MultiScaleDiscriminator
from tests.models.conftest import Record
from tests.models.golden import Part, Planes, Vars, check_network
from tests.models.inputs import CLASSES, layout, values
from tests.reference.goldens import load

COLOURS = 3


@pytest.mark.parametrize("name", ["published", "three_scales"])
def test_as_published(name: str, record: Record) -> None:
    golden = load(f"discriminator_{name}")
    options = golden.options
    planes = options["in_channels"] - COLOURS
    discriminator = MultiScaleDiscriminator(
        layout_channels=planes,
        channels=options["channels"],
        layers=options["layers"],
        scales=options["scales"],
    )

    def forward(network: MultiScaleDiscriminator, inputs: Vars) -> Vars:
        x = inputs["x"]
        (scales,) = network(Planes(x[:, :planes]), x[:, planes:])
        return {
            f"scale{scale}.layer{layer}": feature
            for scale, features in enumerate(scales)
            for layer, feature in enumerate(features)
        }

    record(check_network(golden, discriminator, Part("discriminator"), forward, ["x"]))


def test_pictures_together_are_judged_as_each_alone() -> None:
    discriminator = MultiScaleDiscriminator(layout_channels=CLASSES, channels=4)
    condition = layout(2, 64, 96)
    pictures = [values(2, 3, 64, 96, seed=seed) for seed in range(2)]
    discriminator.eval()
    together = discriminator(condition, *pictures)
    alone = [discriminator(condition, picture)[0] for picture in pictures]
    assert len(together) == 2
    for a, b in zip(together, alone, strict=True):
        assert [len(features) for features in a] == [5, 5]
        for ours, theirs in zip(chain(*a), chain(*b), strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)


def test_pictures_together_take_one_power_iteration() -> None:
    discriminator = MultiScaleDiscriminator(layout_channels=CLASSES, channels=4)
    norm = discriminator.discriminators[0].middle[0].spectral_norm
    before, pictures = norm.u.numpy().copy(), [values(2, 3, 64, 96, seed=seed) for seed in range(2)]
    condition = layout(2, 64, 96)
    discriminator(condition, *pictures)
    together = norm.u.numpy().copy()
    norm.u.update(jt.array(before))
    discriminator(condition, pictures[0])
    np.testing.assert_allclose(norm.u.numpy(), together, atol=1e-6)
    assert np.abs(together - before).max() > 1e-3
