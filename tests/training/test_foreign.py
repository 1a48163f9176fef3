"""Published weights: what is read off names and shapes, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest

from models.networks.discriminator import MultiScaleDiscriminator
from models.networks.encoder import StyleEncoder
from models.networks.spade import SPADEGenerator
from models.networks.tsit import TSITGenerator
from models.published import Family, to_published
from options.errors import UserError
from options.run import DataOptions, GeneratorOptions, RunOptions
from tests.reference import torch_files
from tests.reference.goldens import FOLDER
from training.foreign import (
    Hints,
    Part,
    describe,
    keep_channels,
    read_hints,
    read_parts,
    recognise,
)
from training.state_dicts import MARKERS, VGG_PLACES, Arrays
from training.tensor_file import write_tensors
from training.torch_file import write_torch

HERE = Path("latest_net_G.pth")
LONE = Hints()


def one(content: Any, path: Path = HERE, key: str | None = None) -> Part:
    """The only network of a file."""
    (part,) = recognise(content, path, key)
    return part


def published(family: Family, network: jt.nn.Module) -> Arrays:
    """The state of a network under its published names; zeros, as only shapes are asked."""
    shapes = {name: tuple(var.shape) for name, var in network.state_dict().items()}
    return to_published(family, {name: np.zeros(s, np.float32) for name, s in shapes.items()})


def spade(channels: int, **options: Any) -> RunOptions:
    network = SPADEGenerator(layout_channels=channels, channels=2, **options)
    return describe([one(published("spade", network), HERE)], LONE, LONE)[0]


def tsit(channels: int, **options: Any) -> RunOptions:
    network = TSITGenerator(layout_channels=channels, channels=1, **options)
    return describe([one(published("tsit", network), HERE)], LONE, LONE)[0]


@pytest.mark.parametrize(
    ("planes", "classes", "unknown", "instances", "size", "halvings"),
    [
        (184, 182, 255, True, (256, 256), 5),
        (182, 182, None, False, (256, 256), 5),
        (151, 150, 255, False, (256, 256), 5),
        (36, 35, None, True, (256, 512), 6),
        (35, 35, None, False, (256, 512), 6),
        (29, 29, None, False, (384, 512), 5),
        (12, 12, None, False, (256, 256), 5),
    ],
)
def test_published_class_counts(
    planes: int,
    classes: int,
    unknown: int | None,
    instances: bool,
    size: tuple[int, int],
    halvings: int,
) -> None:
    data = spade(planes).data
    assert (data.classes, data.unknown_label, data.instances) == (classes, unknown, instances)
    assert (data.height, data.width) == size
    assert spade(planes).generator == GeneratorOptions(
        generator="spade", channels=2, halvings=halvings
    )


@pytest.mark.parametrize(
    ("halvings", "planes", "size"),
    [(5, 151, (256, 256)), (6, 151, (256, 256)), (7, 151, (256, 256)), (6, 36, (256, 512))],
)
def test_a_style_vector_tells_spades_depth(
    halvings: int, planes: int, size: tuple[int, int]
) -> None:
    options = spade(planes, halvings=halvings, size=size, latent_size=9)
    assert options.generator.halvings == halvings
    assert options.generator.vae and options.generator.latent_size == 9
    assert (options.data.height, options.data.width) == size


def test_another_size_of_a_style_vector() -> None:
    network = SPADEGenerator(layout_channels=7, channels=1, size=(96, 160), latent_size=4)
    part = one(published("spade", network), HERE)
    options, remarks = describe([part], LONE, LONE)
    assert (options.data.height, options.data.width) == (96, 160)
    assert any("see --size" in remark for remark in remarks)
    with pytest.raises(UserError, match=r"--size must be the one .* of 15 pixels after 5 halvings"):
        describe([part], Hints(size=(128, 128)), LONE)


def test_spades_more_and_its_norm() -> None:
    part = one(published("spade", SPADEGenerator(layout_channels=9, channels=1)), HERE)
    options, remarks = describe([part], Hints(halvings=6), LONE)
    assert options.generator.halvings == 6
    assert not any("--halvings" in remark for remark in remarks)
    assert "--halvings" in " ".join(describe([part], LONE, LONE)[1])
    assert spade(9, norm="instance").generator.norm == "instance"


@pytest.mark.parametrize("halvings", [4, 5, 6, 7, 8])
def test_tsits_depth_is_told_by_its_blocks(halvings: int) -> None:
    generator = tsit(12, halvings=halvings, style_stream=False).generator
    assert generator == GeneratorOptions(channels=1, halvings=halvings, style_stream=False)


def test_tsits_starts() -> None:
    assert tsit(12, start="noise").generator == GeneratorOptions(channels=1, start="noise")
    generator = tsit(12, style_stream=False, size=(256, 256), latent_size=8).generator
    assert generator.vae and not generator.style_stream and generator.latent_size == 8


def test_a_tsit_of_photographs_translates() -> None:
    options = tsit(3, start="noise")
    assert options.data == DataOptions(task="translation", height=256, width=256)
    assert options.generator == GeneratorOptions(channels=1, start="noise")
    for variant, what in (
        ({"style_stream": False, "start": "noise"}, "none"),
        ({"style_stream": False, "size": (256, 256), "latent_size": 8}, "a style vector"),
    ):
        with pytest.raises(UserError, match=f"its style stream: this one has {what}"):
            tsit(3, **variant)


@pytest.mark.parametrize(
    ("text", "hints", "task"),
    [
        (None, LONE, "translation"),
        (None, Hints(classes=3), "synthesis"),
        ("AST", LONE, "translation"),
        ("SIS", LONE, "synthesis"),
    ],
)
def test_three_planes_are_colours_or_classes(
    text: str | None, hints: Hints, task: str, tmp_path: Path
) -> None:
    if text is not None:
        lines = "crop_size: 256\naspect_ratio: 1.0\nlabel_nc: 3\nno_instance: True\n"
        (tmp_path / "opt.txt").write_text(f"{lines}task: {text} \t[default: SIS]\n")
    network = TSITGenerator(layout_channels=3, channels=1)
    part = one(published("tsit", network), HERE)
    options, remarks = describe([part], hints, read_hints(tmp_path))
    assert options.data.task == task
    assert options.data.classes == (29 if task == "translation" else 3)
    said = any("taken as photographs" in remark for remark in remarks)
    assert said is (text is None and hints is LONE)


def test_channels_of_most_are_those_before_the_last_halving() -> None:
    network = SPADEGenerator(layout_channels=4, channels=6, halvings=7)
    part = one(published("spade", network), HERE)
    assert describe([part], LONE, LONE)[0].generator.channels == 6


def test_planes_must_add_up() -> None:
    part = one(published("spade", SPADEGenerator(layout_channels=9, channels=1)), HERE)
    options, _ = describe([part], Hints(classes=7, unknown_label=99, instances=True), LONE)
    assert (options.data.classes, options.data.unknown_label) == (7, 99)
    for hints in (Hints(classes=10), Hints(classes=7, instances=True), Hints(classes=0)):
        with pytest.raises(UserError, match="the layout has 9 planes"):
            describe([part], hints, LONE)


OPT = """----------------- Options ---------------
             aspect_ratio: 2.0                           \t[default: 1.0]
   contain_dontcare_label: False
                crop_size: 512                           \t[default: 256]
                 label_nc: 8                             \t[default: 182]
              no_instance: False
    num_upsampling_layers: more                          \t[default: normal]
----------------- End -------------------
"""


def test_an_opt_txt_is_read(tmp_path: Path) -> None:
    assert read_hints(tmp_path) == Hints()
    (tmp_path / "opt.txt").write_text(OPT)
    found = read_hints(tmp_path)
    assert found == Hints(size=(256, 512), halvings=6, classes=8, instances=True)
    part = one(published("spade", SPADEGenerator(layout_channels=9, channels=1)), HERE)
    options, remarks = describe([part], LONE, found)
    assert (options.data.height, options.data.width, options.data.classes) == (256, 512, 8)
    assert options.data.instances and options.generator.halvings == 6 and remarks == []
    (tmp_path / "opt.txt").write_text(OPT.replace("512", "wide"))
    with pytest.raises(UserError, match=r"opt\.txt: crop_size"):
        read_hints(tmp_path)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("torch_zip_float", np.float32),
        ("torch_zip_half", np.float16),
        ("torch_legacy_half", np.float16),
        ("torch_zip_bfloat16", np.float32),
    ],
)
def test_pytorchs_own_files(name: str, dtype: Any) -> None:
    (part,) = read_parts(FOLDER / f"{name}.pth")
    assert part.family == "discriminator" and part.layout_channels == 2
    assert part.kept == {} and part.dropped == {}
    array = part.arrays["discriminators.0.middle.0.spectral_norm.u"]
    expected = torch_files.numbers("discriminator_0.model1.0.0.weight_u", (4,))
    if name == "torch_zip_bfloat16":  # 8 bits of a number's 24 are left
        np.testing.assert_allclose(array, expected, rtol=2**-8)
        assert not (array.view(np.uint32) & 0xFFFF).any()
    else:
        np.testing.assert_array_equal(array, expected.astype(dtype))
    assert array.dtype == dtype


def test_what_is_not_used_is_told() -> None:
    state: dict[str, Any] = published("encoder", StyleEncoder(channels=1, latent_size=3))
    state["epoch"] = 7
    state["layer1.0.weight"] = state["layer1.0.weight_orig"]
    wrapped = {"state_dict": {f"module.{n}" if n != "epoch" else n: a for n, a in state.items()}}
    part = one(wrapped, HERE)
    assert part.family == "encoder" and part.network == "encoder"
    assert part.dropped["state_dict.epoch"] == "no tensor"
    assert part.dropped["layer1.0.weight"].startswith("follows from weight_orig")
    part = one(published("spade", SPADEGenerator(layout_channels=4, channels=1)), HERE)
    assert "head_0.norm_0.param_free_norm.num_batches_tracked" in part.kept


def test_vgg_of_torchvision() -> None:
    state = {f"features.{i}.weight": np.zeros(1) for i in VGG_PLACES["VGG-19"]}
    part = one(state | {"classifier.0.bias": np.zeros(2)}, HERE)
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
            r"1 of 2 names are not of it: fc_mu\.alpha",
        ),
    ],
)
def test_others_are_refused(content: Any, rule: str) -> None:
    with pytest.raises(UserError, match=rf"latest_net_G\.pth.*{rule}"):
        one(content, HERE)


def random_state(family: Family, make: Callable[[], jt.nn.Module]) -> Arrays:
    random = np.random.RandomState(0)
    return {
        name: random.uniform(-1, 1, array.shape).astype(np.float32)
        for name, array in published(family, make()).items()
    }


def sigma(part: Any, layer: str) -> float:
    weight = part.arrays[f"{layer}.weight"].astype(np.float64)
    u, v = (part.arrays[f"{layer}.spectral_norm.{x}"].astype(np.float64) for x in "uv")
    return float(u @ weight.reshape(len(weight), -1) @ v)


def test_unused_planes_go_and_sigma_stays() -> None:
    def make() -> TSITGenerator:
        return TSITGenerator(layout_channels=12, channels=1, halvings=4, style_stream=False)

    whole = one(random_state("tsit", make), HERE)
    part = keep_channels(whole, 5)
    changed = {n for n, a in whole.arrays.items() if not np.array_equal(a, part.arrays[n])}
    block = "content_stream.blocks.0"
    assert changed == {
        "first.weight",
        *(f"{block}.{conv}.{leaf}" for conv in ("conv_0", "conv_s")
          for leaf in ("weight", "spectral_norm.v")),
    }  # fmt: skip
    for conv in ("conv_0", "conv_s"):
        weight = part.arrays[f"{block}.{conv}.weight"]
        np.testing.assert_array_equal(weight, whole.arrays[f"{block}.{conv}.weight"][:, :5])
        before = sigma(whole, f"{block}.{conv}")
        assert sigma(part, f"{block}.{conv}") == pytest.approx(before, rel=1e-6)
    assert part.layout_channels == 5 and len(part.arrays[f"{block}.conv_0.weight"]) == 12
    assert part.dropped["first.weight[:, 5:12]"] == "read by ids from 5 on alone"


def test_a_sigma_that_cannot_be_kept() -> None:
    def make() -> TSITGenerator:
        return TSITGenerator(layout_channels=12, channels=1, halvings=4, style_stream=False)

    whole = one(random_state("tsit", make), HERE)
    name = "content_stream.blocks.0.conv_0.weight"
    arrays = whole.arrays | {name: np.array(whole.arrays[name])}
    arrays[name][:, :5] = 0
    with pytest.raises(UserError, match=r"nothing changes: sigma of .*conv_0 would be"):
        keep_channels(replace(whole, arrays=arrays), 5)


def test_unused_planes_of_spade_and_of_a_discriminator() -> None:
    part = one(random_state("spade", lambda: SPADEGenerator(layout_channels=8, channels=1)), HERE)
    kept = keep_channels(part, 3)
    assert kept.layout_channels == 3 and kept.arrays["first.weight"].shape[1] == 3
    assert len(kept.dropped) == 1 + sum(n.endswith(".shared.weight") for n in part.arrays)

    def make() -> MultiScaleDiscriminator:
        return MultiScaleDiscriminator(layout_channels=8, channels=2, layers=2, scales=2)

    part = one(random_state("discriminator", make), HERE)
    weight = keep_channels(part, 3).arrays["discriminators.1.first.weight"]
    whole = part.arrays["discriminators.1.first.weight"]
    np.testing.assert_array_equal(weight, whole[:, [0, 1, 2, 8, 9, 10]])


def test_vectors_that_a_port_never_kept() -> None:
    state = random_state("encoder", lambda: StyleEncoder(channels=2, latent_size=3))
    exact = one(state, HERE)
    np.testing.assert_array_equal(
        exact.arrays["layers.1.spectral_norm.u"], state["layer2.0.weight_u"]
    )
    state |= {n.removesuffix("_orig"): a for n, a in state.items() if n.endswith("weight_orig")}
    part = one(state, HERE)
    for index in range(6):
        # One step from the vectors of the file, as its training took.
        matrix = state[f"layer{index + 1}.0.weight_orig"].astype(np.float64)
        matrix = matrix.reshape(len(matrix), -1)
        v = matrix.T @ state[f"layer{index + 1}.0.weight_u"]
        expected = np.linalg.norm(matrix @ (v / np.linalg.norm(v)))
        assert sigma(part, f"layers.{index}") == pytest.approx(expected, rel=1e-5)
    assert sum("one iteration taken" in reason for reason in part.dropped.values()) == 6
    again = one(state | to_published("encoder", part.arrays), HERE)
    assert not any("iteration" in reason for reason in again.dropped.values())


def encoder_state() -> Arrays:
    return random_state("encoder", lambda: StyleEncoder(channels=2, latent_size=3))


def spade_state(**options: Any) -> Arrays:
    return random_state("spade", lambda: SPADEGenerator(layout_channels=4, channels=1, **options))


def discriminator_state() -> Arrays:
    def make() -> MultiScaleDiscriminator:
        return MultiScaleDiscriminator(layout_channels=4, channels=2, layers=3, scales=2)

    return random_state("discriminator", make)


def assert_same(part: Part, expected: Part) -> None:
    assert list(part.arrays) == list(expected.arrays)
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(part.arrays[name], array, err_msg=name)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "netG.", "_orig_mod.", "model.generator.", "module.module.", "a.b.c.d.", "G/1.x."],
)
def test_any_prefix_goes(prefix: str, tmp_path: Path) -> None:
    state = encoder_state()
    named = {prefix + name: array for name, array in state.items()}
    expected = one(state)
    assert_same(one(named), expected)
    assert_same(one({"state_dict": named}), expected)
    write_torch(tmp_path / "a.pth", named)
    write_tensors(tmp_path / "b.pth", named, {})  # of another kind than its suffix
    for name in ("a.pth", "b.pth"):
        (part,) = read_parts(tmp_path / name)
        assert_same(part, expected)
        assert part.key == prefix.rstrip(".")


def test_the_generator_is_taken_of_several_networks() -> None:
    generator, encoder = spade_state(), encoder_state()
    optimizer = {"state": {0: {"exp_avg": np.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}
    content = {
        "netG": generator,
        "netD": {f"module.{n}": a for n, a in discriminator_state().items()},
        "netE": encoder,
        "optG": optimizer,
        "epoch": 7,
    }
    part = one(content)  # its style vector is none: it has no use for the encoder
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


def test_a_style_vectors_encoder_comes_with_the_generator() -> None:
    vae = spade_state(size=(32, 32), latent_size=3)
    flat = {f"netG.{n}": a for n, a in vae.items()}
    flat |= {f"netE.{n}": a for n, a in encoder_state().items()}
    flat["criterion.weight"] = np.zeros(2, np.float32)
    generator, encoder = recognise(flat, HERE)
    assert_same(generator, one(vae))
    assert_same(encoder, one(encoder_state()))
    assert generator.dropped == {"criterion.weight": "of none of the networks"}


@pytest.mark.parametrize("names", [("netG", "netG_ema"), ("netD1", "netD2")])
def test_several_that_would_do_are_named(names: tuple[str, str]) -> None:
    state = spade_state() if "netG" in names else discriminator_state()
    content = {name: state for name in names}
    with pytest.raises(UserError, match=rf"one network, got 2: {names[0]} \(.*{names[1]} \(") as e:
        one(content)
    assert "Say which with --key" in str(e.value)
    assert one(content, key=names[1]).key == names[1]


def test_flop_counters_go() -> None:
    state = encoder_state()
    counted: dict[str, Any] = dict(state)
    for name in ("total_ops", "layer1.total_ops", "layer1.0.total_params"):
        counted[name] = np.zeros(1)
    part = one({f"module.{name}": array for name, array in counted.items()})
    assert_same(part, one(state))
    assert part.dropped["module.layer1.total_ops"] == "a FLOP counter's"


def effective(part: Part, layer: str) -> np.ndarray:
    """The weight that the network computes with, as its spectral norm divides it."""
    from models.layers.convolution import SpectralNorm

    weight = jt.array(part.arrays[f"{layer}.weight"].astype(np.float32))
    rows, columns = weight.shape[0], int(np.prod(weight.shape[1:]))
    norm = SpectralNorm(rows, columns)
    norm.eval()
    norm.u, norm.v = (jt.array(part.arrays[f"{layer}.spectral_norm.{x}"]) for x in "uv")
    return (weight / norm(weight)).numpy()


SPECTRAL_LAYERS = [f"layers.{index}" for index in range(6)]


def settled_state() -> Arrays:
    """Vectors that are those of the weights, as training has them."""
    state = encoder_state()
    for name in [n for n in state if n.endswith("weight_orig")]:
        layer = name.removesuffix("_orig")
        matrix = state[name].reshape(len(state[name]), -1).astype(np.float64)
        u, _, v = np.linalg.svd(matrix, full_matrices=False)
        state[f"{layer}_u"] = u[:, 0].astype(np.float32)
        state[f"{layer}_v"] = v[0].astype(np.float32)
    return state


def without(state: Arrays, *endings: str) -> Arrays:
    return {name: array for name, array in state.items() if not name.endswith(endings)}


def test_spectral_norm_in_parametrizations() -> None:
    state = encoder_state()
    forms = {
        "weight_orig": "parametrizations.weight.original",
        "weight_u": "parametrizations.weight.0._u",
        "weight_v": "parametrizations.weight.0._v",
    }
    renamed: Arrays = {}
    for name, array in state.items():
        layer, _, leaf = name.rpartition(".")
        renamed[f"{layer}.{forms.get(leaf, leaf)}"] = array
    assert len(set(renamed) - set(state)) == 18
    assert_same(one(renamed), one(state))


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (("weight_v",), "one follows from the other"),
        (("weight_u",), "one follows from the other"),
        (("weight_u", "weight_v"), "the largest singular value"),
    ],
)
def test_spectral_norm_without_its_vectors(gone: tuple[str, ...], said: str) -> None:
    state = settled_state()
    part, expected = one(without(state, *gone)), one(state)
    assert any(said in note for note in part.notes)
    for layer in SPECTRAL_LAYERS:
        np.testing.assert_allclose(effective(part, layer), effective(expected, layer), rtol=1e-5)


def test_pytorchs_first_spectral_norm_kept_the_quotient() -> None:
    state = settled_state()
    for name in [n for n in state if n.endswith("weight_orig")]:
        state[name.removesuffix("_orig")] = state[name] / np.float32(2.5)
    part = one(without(state, "weight_v"))
    for index, layer in enumerate(SPECTRAL_LAYERS):
        expected = state[f"layer{index + 1}.0.weight"]
        np.testing.assert_allclose(effective(part, layer), expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_a_folded_weight_stays_what_it_is(dtype: Any) -> None:
    state = {name: array.astype(dtype) for name, array in encoder_state().items()}
    for name in [n for n in state if n.endswith("weight_orig")]:
        state[name.removesuffix("_orig")] = state.pop(name)
    part = one(without(state, "weight_u", "weight_v"))
    assert any("6 weights have no weight_orig" in note for note in part.notes)
    for index, layer in enumerate(SPECTRAL_LAYERS):
        expected = state[f"layer{index + 1}.0.weight"].astype(np.float32)
        matrix = part.arrays[f"{layer}.weight"].astype(np.float32).reshape(len(expected), -1)
        u, v = (part.arrays[f"{layer}.spectral_norm.{x}"] for x in "uv")
        assert u @ (matrix @ v) == np.float32(1)
        # Jittor compiles a division as a product with the inverse: one in the last bit.
        np.testing.assert_allclose(effective(part, layer), expected, rtol=1.2e-7)


def test_a_folded_weight_of_zeros_is_refused() -> None:
    state = without(encoder_state(), "weight_u", "weight_v")
    state["layer2.0.weight"] = 0 * state.pop("layer2.0.weight_orig")
    with pytest.raises(UserError, match=r"layer2\.0\.weight: expected a normalized weight"):
        one(state)


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
    ("names", "said"),
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
def test_what_is_of_none_is_named(names: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
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
    places = VGG_PLACES["VGG-19"][:13]  # up to what is read
    state = {f"{prefix}{i}.weight": np.full((1, 1, 1, 1), i, np.float32) for i in places}
    part = one(state)
    assert list(part.arrays) == [f"features.{i}.weight" for i in places]
    assert all(array.item() == i for i, array in zip(places, part.arrays.values(), strict=True))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state": {0: {"step": 1}}, "param_groups": []}, "got an optimizer's state"),
        ({"a": {"b": {}}}, "got no tensors"),
        ("text", "expected tensors by name, got a str"),
        (np.zeros(3), "expected tensors by name, got a ndarray"),
    ],
)
def test_what_holds_no_network(content: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        one(content)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("layer2.0.weight_u", np.zeros(3)),
        ("layer2.0.weight_v", np.zeros((2, 2))),
        ("layer2.0.weight_orig", np.zeros(())),
        ("layer2.0.weight_orig", np.zeros((0, 2, 3, 3))),
        ("layer2.0.weight", np.zeros((1, 1))),
    ],
)
def test_a_spectral_norm_that_does_not_fit(name: str, array: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"layer2\.0: expected a weight and vectors of its rows"):
        one(encoder_state() | {name: array})


@pytest.mark.parametrize("state", [spade_state, encoder_state, discriminator_state])
def test_a_part_of_a_network_says_what_it_lacks(state: Callable[[], Arrays]) -> None:
    whole = state()
    marker = next(name for name in MARKERS if name in whole)
    rest = {n: a for n, a in whole.items() if n.startswith(marker.partition(".")[0])}
    if marker == "discriminator_0.model0.0.weight":
        rest = {marker: np.zeros(2)}
    with pytest.raises(UserError, match=r"looks like the .*, but lacks \w+"):
        one(rest)
