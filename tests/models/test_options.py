"""Words and ranges that options and models both name are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import pytest
from jittor import nn

from models.gans import METHODS
from models.gans.base import SEGMENTATION_LOSSES
from models.gans.pix2pixhd import STAGES
from models.gans.tsit import DISCRIMINATORS
from models.kernels.precision import Precision
from models.layers.normalization import NormName
from models.losses import GanLoss, VggDistance
from models.networks.pix2pix import UNetGenerator
from models.networks.pix2pixhd import Pix2PixHDGenerator
from models.networks.spade import SPADEGenerator
from models.networks.tsit import TSITGenerator
from options.generators import CONTENT_KINDS, GENERATORS, ContentKind, Task
from options.groups import GeneratorOptions, LossOptions, TrainingOptions
from tests.models.inputs import CLASSES

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "pix2pix": UNetGenerator,
    "pix2pixhd": Pix2PixHDGenerator,
    "spade": SPADEGenerator,
    "tsit": TSITGenerator,
}


def test_every_generator_has_a_method() -> None:
    assert set(METHODS) == set(GENERATORS) == set(NETWORKS)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_network_has_the_depths_of_its_spec(name: str) -> None:
    least, most = GENERATORS[name].min_downsamples, GENERATORS[name].max_downsamples
    for depth in range(least, most + 1):
        NETWORKS[name](layout_channels=CLASSES, channels=2, num_downsamples=depth)
    for depth in (least - 1, most + 1):
        expected = f"expected {least} to {most} downsamples, got {depth}"
        with pytest.raises(ValueError, match=expected):
            NETWORKS[name](layout_channels=CLASSES, channels=2, num_downsamples=depth)


@pytest.mark.parametrize(
    ("group", "field", "word"),
    [
        (TrainingOptions, "precision", Precision),
        (LossOptions, "gan_loss", GanLoss),
        (LossOptions, "vgg_distance", VggDistance),
        (GeneratorOptions, "norm", NormName),
    ],
)
def test_an_option_has_the_choices_of_the_models(group: type, field: str, word: Any) -> None:
    assert get_args(get_type_hints(group)[field]) == get_args(word)


def test_every_segmentation_loss_has_a_function() -> None:
    choices = get_args(get_type_hints(LossOptions)["segmentation_loss"])
    assert set(SEGMENTATION_LOSSES) == set(choices)


def test_stages_are_those_of_the_specs() -> None:
    assert {"all", *GENERATORS["pix2pixhd"].stages} == set(STAGES)
    assert [name for name, spec in GENERATORS.items() if spec.stages] == ["pix2pixhd"]


def test_every_task_has_a_kind_of_content() -> None:
    assert set(CONTENT_KINDS) == set(get_args(Task))
    assert set(CONTENT_KINDS.values()) == set(DISCRIMINATORS) == set(get_args(ContentKind))
