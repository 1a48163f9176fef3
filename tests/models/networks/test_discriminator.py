"""Multi-scale discriminator against the reference, with one batch of images and several."""

from __future__ import annotations

from itertools import chain
from typing import Any

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from models.networks.discriminator import MultiScaleDiscriminator, PatchDiscriminator
from tests.models.conftest import Record
from tests.models.golden import OwnPart, Part, Planes, Vars, check_network
from tests.models.inputs import CLASSES, Shape, layout, shape, values
from tests.reference.goldens import load

COLORS = 3


@pytest.mark.parametrize("name", ["published", "three_scales", "translation"])
def test_as_published(name: str, record: Record) -> None:
    golden = load(f"discriminator_{name}")
    options = golden.options
    discriminator = MultiScaleDiscriminator(
        layout_channels=options["in_channels"] - COLORS,
        channels=options["channels"],
        layers=options["layers"],
        scales=options["scales"],
        last_stride=2 if "stride_one_layer" in options else 1,
    )
    record(check_network(golden, discriminator, Part("discriminator"), _forward, ["x"]))


def _forward(network: MultiScaleDiscriminator, inputs: Vars) -> Vars:
    x = inputs["x"]
    planes = x.shape[1] - COLORS
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
def test_without_spectral_norm_as_published(name: str, record: Record) -> None:
    golden = load(name)
    options = golden.options
    discriminator = MultiScaleDiscriminator(
        layout_channels=options["in_channels"] - COLORS,
        channels=options["channels"],
        scales=options.get("scales", 1),
        spectral=False,
        norm=options.get("norm"),
        padding=options.get("padding", 2),
    )
    record(check_network(golden, discriminator, OwnPart(), _forward, ["x"]))


# Scale 0: sides 37 and 53. Padding 2: s // 2 + 1 at stride 2, s + 1 at stride 1.
PADDED_BY_2: list[Shape] = [(4, 19, 27), (8, 10, 14), (16, 6, 8), (32, 7, 9), (1, 8, 10)]
# Scale 1: sides 19 and 27.
AT_SCALE_1: list[Shape] = [(4, 10, 14), (8, 6, 8), (16, 4, 5), (32, 5, 6), (1, 6, 7)]
# Padding 1: s // 2 at stride 2, s - 1 at stride 1.
PADDED_BY_1: list[Shape] = [(4, 18, 26), (8, 9, 13), (16, 4, 6), (32, 3, 5), (1, 2, 4)]
# `last_stride` 2, three layers.
STRIDE_2: list[Shape] = [(4, 19, 27), (8, 10, 14), (16, 6, 8), (1, 7, 9)]


def test_shapes() -> None:
    content, images = layout(3, 37, 53), [values(3, 3, 37, 53, seed=seed) for seed in (0, 1)]
    discriminator = MultiScaleDiscriminator(layout_channels=CLASSES, channels=4)
    expected = [[(3, *size) for size in scale] for scale in (PADDED_BY_2, AT_SCALE_1)]
    for scales in discriminator(content, *images):
        assert [[shape(feature) for feature in features] for features in scales] == expected


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ({"layers": 4, "norm": "batch", "padding": 1, "spectral": False}, PADDED_BY_1),
        ({"layers": 3, "last_stride": 2}, STRIDE_2),
    ],
)
def test_shapes_of_images_alone(variant: dict[str, Any], expected: list[Shape]) -> None:
    (features,) = PatchDiscriminator(0, 4, **variant)(None, [values(3, 3, 37, 53)])
    assert [shape(feature) for feature in features] == [(3, *size) for size in expected]


def test_a_score_of_pix2pix_covers_70_x_70_pixels() -> None:
    discriminator = MultiScaleDiscriminator(
        layout_channels=CLASSES, channels=2, scales=1, spectral=False, padding=1
    )
    # With instance norm every pixel would affect every score.
    discriminator.discriminators[0].norms = nn.ModuleList([nn.Identity() for _ in range(3)])
    image = values(1, 3, 256, 256)
    ((features,),) = discriminator(layout(1, 256, 256), image)
    assert shape(features[-1]) == (1, 1, 30, 30)
    reach = jt.grad(features[-1][0, 0, 15, 15], image).numpy()[0].any(axis=0)
    rows, columns = np.nonzero(reach)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (70, 70)


def test_images_together_have_the_features_of_each_alone() -> None:
    discriminator = MultiScaleDiscriminator(layout_channels=CLASSES, channels=4)
    condition = layout(2, 64, 96)
    images = [values(2, 3, 64, 96, seed=seed) for seed in range(2)]
    discriminator.eval()
    together = discriminator(condition, *images)
    alone = [discriminator(condition, image)[0] for image in images]
    assert len(together) == 2
    for a, b in zip(together, alone, strict=True):
        assert [len(features) for features in a] == [5, 5]
        for ours, theirs in zip(chain(*a), chain(*b), strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)


def test_images_together_run_one_power_iteration() -> None:
    discriminator = MultiScaleDiscriminator(layout_channels=CLASSES, channels=4)
    norm = discriminator.discriminators[0].middle[0].spectral_norm
    before, images = norm.u.numpy().copy(), [values(2, 3, 64, 96, seed=seed) for seed in range(2)]
    condition = layout(2, 64, 96)
    discriminator(condition, *images)
    together = norm.u.numpy().copy()
    norm.u.update(jt.array(before))
    discriminator(condition, images[0])
    np.testing.assert_allclose(norm.u.numpy(), together, atol=1e-6)
    assert np.abs(together - before).max() > 1e-3
