"""VGG-19 features and the perceptual loss against the reference."""

from __future__ import annotations

from typing import get_args

import jittor as jt
import pytest

from models.losses import VggDistance, perceptual_loss
from models.networks.vgg import VGG19
from tests.models.conftest import Record
from tests.models.golden import Part, check, fetch, gradients, inputs_of
from tests.models.inputs import shape, values
from tests.reference.goldens import load

MAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


@pytest.fixture(scope="module")
def vgg() -> VGG19:
    return VGG19()


def test_as_published(vgg: VGG19, record: Record) -> None:
    golden = load("vgg19")
    Part("vgg19").load(vgg, golden.section("state"))
    inputs = inputs_of(golden)
    image = inputs["image"]
    with jt.no_grad():
        target = vgg(inputs["target"])
    maps = vgg(image)
    results = {f"out/{name}": value for name, value in zip(MAPS, maps, strict=True)}
    for distance in get_args(VggDistance):
        loss = perceptual_loss(maps, target, distance)
        results[f"out/{distance}"] = loss
        results |= gradients(loss, {f"in.image.{distance}": image})
    record(check(golden, fetch(results)))


def test_shapes(vgg: VGG19) -> None:
    maps = vgg(values(3, 3, 37, 53))
    assert [shape(feature) for feature in maps] == [
        (3, 64, 37, 53),
        (3, 128, 18, 26),
        (3, 256, 9, 13),
        (3, 512, 4, 6),
        (3, 512, 2, 3),
    ]


def test_its_weights_are_constants(vgg: VGG19) -> None:
    vgg.eval()
    vgg.train()
    assert len(vgg.parameters()) == 26
    assert all(parameter.is_stop_grad() for parameter in vgg.parameters())
