"""Published weights are recognized in every form, and other files are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.networks.encoder import StyleEncoder
from models.networks.spade import SPADEGenerator
from options.errors import UserError
from tests.reference import torch_files
from tests.reference.goldens import FOLDER
from tests.weights.states import (
    assert_same,
    discriminator_state,
    encoder_state,
    one,
    published,
    spade_state,
)
from weights.recognize import read_parts, recognize
from weights.safetensors_file import write_tensors
from weights.state_dicts import MARKERS, VGG_PLACES, Arrays
from weights.torch_file import write_torch


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("torch_zip_float", np.float32),
        ("torch_zip_half", np.float16),
        ("torch_legacy_half", np.float16),
        ("torch_zip_bfloat16", np.float32),
    ],
)
def test_files_of_pytorch(name: str, dtype: Any) -> None:
    (part,) = read_parts(FOLDER / f"{name}.pth")
    assert part.family == "discriminator" and part.layout_channels == 2
    assert part.kept == {} and part.dropped == {}
    array = part.arrays["discriminators.0.middle.0.spectral_norm.u"]
    expected = torch_files.numbers("discriminator_0.model1.0.0.weight_u", (4,))
    if name == "torch_zip_bfloat16":  # it keeps 8 of the 24 bits of a number
        np.testing.assert_allclose(array, expected, rtol=2**-8)
        assert not (array.view(np.uint32) & 0xFFFF).any()
    else:
        np.testing.assert_array_equal(array, expected.astype(dtype))
    assert array.dtype == dtype


def test_unused_entries_are_named() -> None:
    state: dict[str, Any] = published("encoder", StyleEncoder(channels=1, latent_size=3))
    state["epoch"] = 7
    state["layer1.0.weight"] = state["layer1.0.weight_orig"]
    wrapped = {"state_dict": {f"module.{n}" if n != "epoch" else n: a for n, a in state.items()}}
    part = one(wrapped)
    assert part.family == "encoder" and part.network == "encoder"
    assert part.dropped["state_dict.epoch"] == "no tensor"
    assert part.dropped["layer1.0.weight"].startswith("follows from weight_orig")
    part = one(published("spade", SPADEGenerator(layout_channels=4, channels=1)))
    assert "head_0.norm_0.param_free_norm.num_batches_tracked" in part.kept


def test_vgg_of_torchvision() -> None:
    state = {f"features.{i}.weight": np.zeros(1) for i in VGG_PLACES["VGG-19"]}
    part = one(state | {"classifier.0.bias": np.zeros(2)})
    assert part.family == "vgg19"
    assert list(part.arrays) == [name for name in state if name < "features.3" or len(name) == 17]
    assert list(part.kept) == [
        *("features.30.weight", "features.32.weight", "features.34.weight"), "classifier.0.bias",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ([1, 2], "a list"),
        ({}, "an empty dict"),
        ({"a": 1}, "got no tensors"),
        ({"conv1.weight": np.zeros(3)}, r"got others, 1 tensors: conv1\.weight"),
        (
            {"fc_mu.weight": np.zeros(3), "fc_mu.alpha": np.zeros(3)},
            r"got 1 of 2 names that it does not have: fc_mu\.alpha",
        ),
    ],
)
def test_others_are_refused(content: Any, rule: str) -> None:
    with pytest.raises(UserError, match=rf"latest_net_G\.pth.*{rule}"):
        one(content)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "netG.", "_orig_mod.", "model.generator.", "module.module.", "a.b.c.d.", "G/1.x."],
)
def test_names_may_have_any_prefix(prefix: str, tmp_path: Path) -> None:
    state = encoder_state()
    named = {prefix + name: array for name, array in state.items()}
    expected = one(state)
    assert_same(one(named), expected)
    assert_same(one({"state_dict": named}), expected)
    write_torch(tmp_path / "a.pth", named)
    write_tensors(tmp_path / "b.pth", named, {})  # against its suffix
    for name in ("a.pth", "b.pth"):
        (part,) = read_parts(tmp_path / name)
        assert_same(part, expected)
        assert part.key == prefix.rstrip(".")


def test_the_generator_is_chosen_among_several_networks() -> None:
    generator, encoder = spade_state(), encoder_state()
    optimizer = {"state": {0: {"exp_avg": np.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}
    content = {
        "netG": generator,
        "netD": {f"module.{n}": a for n, a in discriminator_state().items()},
        "netE": encoder,
        "optG": optimizer,
        "epoch": 7,
    }
    part = one(content)  # it has no style vector, and so no use for the encoder
    assert_same(part, one(generator))
    assert part.key == "netG"
    assert part.dropped["optG"] == "an optimizer's state"
    assert part.dropped["epoch"] == "no tensor"
    assert part.dropped["netE"].startswith("style encoder of SPADE and TSIT, see --key")
    assert_same(one(content, key="netE"), one(encoder))
    assert one(content, key="netD").family == "discriminator"
    deeper = {"checkpoint": {"models": content}}
    assert_same(one(deeper, key="checkpoint.models.netE"), one(encoder))
    assert_same(one(deeper), one(generator))
    with pytest.raises(UserError, match=r"--key: expected netG \(SPADE generator\), netD.module"):
        one(content, key="netF")


def test_the_encoder_of_a_style_vector_comes_with_the_generator() -> None:
    vae = spade_state(size=(32, 32), latent_size=3)
    flat = {f"netG.{n}": a for n, a in vae.items()}
    flat |= {f"netE.{n}": a for n, a in encoder_state().items()}
    flat["criterion.weight"] = np.zeros(2, np.float32)
    generator, encoder = recognize(flat, Path("a.pth"))
    assert_same(generator, one(vae))
    assert_same(encoder, one(encoder_state()))
    assert generator.dropped == {"criterion.weight": "part of no network"}


@pytest.mark.parametrize("names", [("netG", "netG_ema"), ("netD1", "netD2")])
def test_several_candidates_are_named(names: tuple[str, str]) -> None:
    state = spade_state() if "netG" in names else discriminator_state()
    content = {name: state for name in names}
    with pytest.raises(UserError, match=rf"one network, got 2: {names[0]} \(.*{names[1]} \(") as e:
        one(content)
    assert "Name one with --key" in str(e.value)
    assert one(content, key=names[1]).key == names[1]


def test_flop_counters_are_dropped() -> None:
    state = encoder_state()
    counted: dict[str, Any] = dict(state)
    for name in ("total_ops", "layer1.total_ops", "layer1.0.total_params"):
        counted[name] = np.zeros(1)
    part = one({f"module.{name}": array for name, array in counted.items()})
    assert_same(part, one(state))
    assert part.dropped["module.layer1.total_ops"] == "a FLOP counter's"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    state = {name: array.astype(np.float64) for name, array in encoder_state().items()}
    state["layer2.0.weight_orig"][0, 0, 0] = bad
    state["fc_mu.bias"][1] = bad
    with pytest.raises(
        UserError,
        match=r"got 4 NaN or Inf in 2 tensors: layer2\.0\.weight_orig \(3\), fc_mu\.bias \(1\)",
    ):
        one({"netE": state})


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.bool_])
def test_quantized_weights_are_refused(dtype: Any) -> None:
    state: Arrays = encoder_state()
    state["layer2.0.weight_orig"] = state["layer2.0.weight_orig"].astype(dtype)
    kind = np.dtype(dtype).name
    with pytest.raises(UserError, match=rf"got {kind} in 1 tensors: layer2\.0\.weight_orig"):
        one(state)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["synthesis.b4.const"], "a StyleGAN"),
        (["model.model.1.model.0.weight"], "a pix2pix U-Net"),
        (["module.model.10.conv_block.1.weight"], "a pix2pixHD or CycleGAN generator"),
        (["layer1.0.conv1.weight", "fc.weight"], "a ResNet"),
        (["lin0.model.1.weight"], "LPIPS"),
        (
            ["head_0.conv_0.weight_orig", "up_9.conv_1.bias", "x.fc.bias"],
            r"The nearest is the (SPADE|TSIT) generator, which has 2 of them",
        ),
        ([f"n{index}.weight" for index in range(144)], r"n9\.weight and 134 more"),
    ],
)
def test_other_networks_are_named(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        one({name: np.zeros(2) for name in names})
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("title", [title for title in VGG_PLACES if title != "VGG-19"])
def test_another_vgg_is_named(title: str) -> None:
    state = {f"features.{i}.weight": np.zeros((1, 1, 1, 1)) for i in VGG_PLACES[title]}
    if "norm" in title:
        normed = {f"features.{i + 1}.running_mean": np.zeros(1) for i in VGG_PLACES[title]}
        normed |= {f"features.{i + 1}.weight": np.zeros(1) for i in VGG_PLACES[title]}
        state |= normed
    with pytest.raises(UserError, match=f"got {title}. Name another file"):
        one(state)


@pytest.mark.parametrize(
    "prefix", ["features.", "module.features.", "", "vgg.", "netV.vgg.features."]
)
def test_vgg_behind_any_prefix(prefix: str) -> None:
    places = VGG_PLACES["VGG-19"][:13]  # those that the perceptual loss reads
    state = {f"{prefix}{i}.weight": np.full((1, 1, 1, 1), i, np.float32) for i in places}
    part = one(state)
    assert list(part.arrays) == [f"features.{i}.weight" for i in places]
    assert all(array.item() == i for i, array in zip(places, part.arrays.values(), strict=True))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state": {0: {"step": 1}}, "param_groups": []}, "got an optimizer's state"),
        ({"a": {"b": {}}}, "got no tensors"),
        ("text", "expected tensors by name, got a str"),
        (np.zeros(3), "expected tensors by name, got a ndarray"),
    ],
)
def test_contents_without_a_network(content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        one(content)


@pytest.mark.parametrize("state", [spade_state, encoder_state, discriminator_state])
def test_missing_weights_are_named(state: Callable[[], Arrays]) -> None:
    whole = state()
    marker = next(name for name in MARKERS if name in whole)
    rest = {n: a for n, a in whole.items() if n.startswith(marker.partition(".")[0])}
    if marker == "discriminator_0.model0.0.weight":
        rest = {marker: np.zeros(2)}
    with pytest.raises(UserError, match=r"expected the .*, got one without \w+"):
        one(rest)
