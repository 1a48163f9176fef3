"""Every name of every network has a published name, and the way back is exact."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from jittor import nn

from models.networks.discriminator import MultiScaleDiscriminator
from models.networks.encoder import StyleEncoder
from models.networks.spade import SPADEGenerator
from models.networks.tsit import TSITGenerator
from models.networks.vgg import CONVOLUTIONS
from tests.reference.goldens import load
from weights.published_names import (
    BATCH_COUNT,
    Family,
    from_published,
    project_names,
    published_names,
    to_published,
)

Make = Callable[[], nn.Module]


def _spade(num_downsamples: int) -> Make:
    return lambda: SPADEGenerator(layout_channels=2, channels=2, num_downsamples=num_downsamples)


def _tsit(num_downsamples: int) -> Make:
    return lambda: TSITGenerator(layout_channels=2, channels=2, num_downsamples=num_downsamples)


def _discriminator(layers: int, scales: int) -> Make:
    return lambda: MultiScaleDiscriminator(
        layout_channels=2, channels=2, layers=layers, scales=scales
    )


NETWORKS: dict[str, tuple[Family, Make]] = {
    **{
        f"spade_{num_downsamples}": ("spade", _spade(num_downsamples))
        for num_downsamples in (4, 5, 6, 7)
    },
    **{
        f"tsit_{num_downsamples}": ("tsit", _tsit(num_downsamples))
        for num_downsamples in (4, 5, 6, 7, 8)
    },
    "discriminator_4_2": ("discriminator", _discriminator(4, 2)),
    "discriminator_2_1": ("discriminator", _discriminator(2, 1)),
    "discriminator_8_5": ("discriminator", _discriminator(8, 5)),
    "encoder": ("encoder", lambda: StyleEncoder(channels=2, latent_size=2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_there_and_back(name: str) -> None:
    family, make = NETWORKS[name]
    arrays = {key: np.full((1,), i) for i, key in enumerate(make().state_dict())}
    published = to_published(family, arrays)
    own = [key for key in published if not key.endswith(BATCH_COUNT)]
    assert len(own) == len(arrays)
    assert [published[key] for key in own] == list(arrays.values())
    back = from_published(family, published)
    assert list(back.items()) == list(arrays.items())


@pytest.mark.parametrize(
    ("golden", "family", "prefix"),
    [
        ("spade_generator_normal_layout", "spade", ""),
        ("spade_generator_most_latent", "spade", ""),
        ("tsit_generator_5_style", "tsit", ""),
        ("tsit_generator_8_layout", "tsit", ""),
        ("discriminator_published", "discriminator", ""),
        ("encoder", "encoder", ""),
        ("vgg19", "vgg19", ""),
        ("steps_tsit", "tsit", "generator."),
    ],
)
def test_published_names_come_back(golden: str, family: Family, prefix: str) -> None:
    keys = [
        key.removeprefix(prefix) for key in load(golden).keys("state") if key.startswith(prefix)
    ]
    arrays = {key: np.zeros((), np.int64) for key in keys}
    assert set(to_published(family, from_published(family, arrays))) == set(keys)


def test_names_of_published_files() -> None:
    names = list(_tsit(7)().state_dict())
    table = published_names("tsit", names)
    assert table["blocks.0.conv_0.weight"] == "head_0.conv_0.weight_orig"
    assert table["blocks.1.norm_0.gamma.bias"] == "G_middle_0.norm_0.mlp_gamma.bias"
    assert table["blocks.3.conv_s.spectral_norm.u"] == "up_0.conv_s.weight_u"
    assert table["style_stream.blocks.7.conv_1.weight"] == "style_stream.res_7.conv_1.weight_orig"
    table = published_names("spade", _spade(7)().state_dict())
    assert table["blocks.7.norm_s.norm.running_variance"] == (
        "up_4.norm_s.param_free_norm.running_var"
    )
    assert table["blocks.3.norm_1.shared.weight"] == "up_0.norm_1.mlp_shared.0.weight"
    table = published_names("discriminator", _discriminator(4, 2)().state_dict())
    assert table["discriminators.1.middle.0.weight"] == "discriminator_1.model1.0.0.weight_orig"
    assert table["discriminators.0.last.bias"] == "discriminator_0.model4.0.bias"
    vgg = [f"features.{index}.weight" for index in CONVOLUTIONS]
    assert published_names("vgg19", vgg) == {name: name for name in vgg}


def test_batch_norms_get_a_count() -> None:
    published = to_published("spade", {"blocks.0.norm_0.norm.running_variance": np.ones(2)})
    count = published[f"head_0.norm_0.param_free_norm.{BATCH_COUNT}"]
    assert count.shape == () and count.dtype == np.int64


@pytest.mark.parametrize(
    ("convert", "known"), [(published_names, "first.weight"), (project_names, "fc.weight")]
)
def test_every_unknown_name_is_named(
    convert: Callable[[Family, list[str]], object], known: str
) -> None:
    with pytest.raises(
        ValueError, match=r"2 names are not of a spade network.*: fourth, fc\.alpha"
    ):
        convert("spade", ["fourth", known, "fc.alpha"])


def test_a_count_without_its_batch_norm_is_unknown() -> None:
    with pytest.raises(ValueError, match="1 names are not"):
        project_names("tsit", ["style_stream.res_0.norm_layer_in." + BATCH_COUNT])


def test_a_middle_block_of_another_depth_is_unknown() -> None:
    # With 6 downsamples there is one middle block, and it is the first.
    names = list(project_names("tsit", _published_tsit(6)))
    broken = [name.replace("G_middle_0", "G_middle_1") for name in names]
    with pytest.raises(ValueError, match="G_middle_1"):
        project_names("tsit", broken)


def _published_tsit(num_downsamples: int) -> list[str]:
    return list(published_names("tsit", _tsit(num_downsamples)().state_dict()).values())
