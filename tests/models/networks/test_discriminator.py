"""The multi-scale discriminator beside the reference, with one picture and with several."""

from __future__ import annotations

from itertools import chain

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from models.networks.discriminator import MultiScaleDiscriminator
from tests.models.conftest import Record
from tests.models.golden import OwnPart, Part, Planes, Vars, check_network
from tests.models.inputs import CLASSES, layout, values
from tests.reference.goldens import load

COLOURS = 3


@pytest.mark.parametrize("name", ["published", "three_scales", "translation"])
def test_as_published(name: str, record: Record) -> None:
    golden = load(f"discriminator_{name}")
    options = golden.options
    discriminator = MultiScaleDiscriminator(
        layout_channels=options["in_channels"] - COLOURS,
        channels=options["channels"],
        layers=options["layers"],
        scales=options["scales"],
        last_stride=2 if "stride_one_layer" in options else 1,
    )
    record(check_network(golden, discriminator, Part("discriminator"), _forward, ["x"]))


def _forward(network: MultiScaleDiscriminator, inputs: Vars) -> Vars:
    x = inputs["x"]
    planes = x.shape[1] - COLOURS
    (scales,) = network(Planes(x[:, :planes]), x[:, planes:])
    return {
        f"scale{scale}.layer{layer}": feature
        for scale, features in enumerate(scales)
        for layer, feature in enumerate(features)
    }


@pytest.mark.parametrize(
    "name",
    ["pix2pix_discriminator_batch", "pix2pix_discriminator_instance", "pix2pixhd_discriminator"],
)
def test_those_without_spectral_norm_as_published(name: str, record: Record) -> None:
    golden = load(name)
    options = golden.options
    discriminator = MultiScaleDiscriminator(
        layout_channels=options["in_channels"] - COLOURS,
        channels=options["channels"],
        scales=options.get("scales", 1),
        spectral=False,
        norm=options.get("norm"),
        padding=options.get("padding", 2),
    )
    record(check_network(golden, discriminator, OwnPart(), _forward, ["x"]))


def test_a_score_of_pix2pix_sees_70_x_70_pixels() -> None:
    judge = MultiScaleDiscriminator(
        layout_channels=CLASSES, channels=2, scales=1, spectral=False, padding=1
    )
    # Instance norm would let every pixel reach every score.
    judge.discriminators[0].norms = nn.ModuleList([nn.Identity() for _ in range(3)])
    picture = values(1, 3, 256, 256)
    ((features,),) = judge(layout(1, 256, 256), picture)
    assert tuple(features[-1].shape) == (1, 1, 30, 30)
    reach = jt.grad(features[-1][0, 0, 15, 15], picture).numpy()[0].any(axis=0)
    rows, columns = np.nonzero(reach)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (70, 70)


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
