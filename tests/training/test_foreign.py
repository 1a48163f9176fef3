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
    Arrays,
    Hints,
    describe,
    keep_channels,
    read_hints,
    read_part,
    recognise,
)

HERE = Path("latest_net_G.pth")
LONE = Hints()


def published(family: Family, network: jt.nn.Module) -> Arrays:
    """The state of a network under its published names; zeros, as only shapes are asked."""
    shapes = {name: tuple(var.shape) for name, var in network.state_dict().items()}
    return to_published(family, {name: np.zeros(s, np.float32) for name, s in shapes.items()})


def spade(channels: int, **options: Any) -> RunOptions:
    network = SPADEGenerator(layout_channels=channels, channels=2, **options)
    return describe([recognise(published("spade", network), HERE)], LONE, LONE)[0]


def tsit(channels: int, **options: Any) -> RunOptions:
    network = TSITGenerator(layout_channels=channels, channels=1, **options)
    return describe([recognise(published("tsit", network), HERE)], LONE, LONE)[0]


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
    part = recognise(published("spade", network), HERE)
    options, remarks = describe([part], LONE, LONE)
    assert (options.data.height, options.data.width) == (96, 160)
    assert any("see --size" in remark for remark in remarks)
    with pytest.raises(UserError, match=r"--size must be the one .* of 15 pixels after 5 halvings"):
        describe([part], Hints(size=(128, 128)), LONE)


def test_spades_more_and_its_norm() -> None:
    part = recognise(published("spade", SPADEGenerator(layout_channels=9, channels=1)), HERE)
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
    part = recognise(published("tsit", network), HERE)
    options, remarks = describe([part], hints, read_hints(tmp_path))
    assert options.data.task == task
    assert options.data.classes == (29 if task == "translation" else 3)
    said = any("taken as photographs" in remark for remark in remarks)
    assert said is (text is None and hints is LONE)


def test_channels_of_most_are_those_before_the_last_halving() -> None:
    network = SPADEGenerator(layout_channels=4, channels=6, halvings=7)
    part = recognise(published("spade", network), HERE)
    assert describe([part], LONE, LONE)[0].generator.channels == 6


def test_planes_must_add_up() -> None:
    part = recognise(published("spade", SPADEGenerator(layout_channels=9, channels=1)), HERE)
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
    part = recognise(published("spade", SPADEGenerator(layout_channels=9, channels=1)), HERE)
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
    part = read_part(FOLDER / f"{name}.pth")
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
    part = recognise(wrapped, HERE)
    assert part.family == "encoder" and part.network == "encoder"
    assert part.dropped["epoch"] == "no tensor"
    assert part.dropped["layer1.0.weight"].startswith("follows from weight_orig")
    part = recognise(published("spade", SPADEGenerator(layout_channels=4, channels=1)), HERE)
    assert "head_0.norm_0.param_free_norm.num_batches_tracked" in part.kept


def test_vgg_of_torchvision() -> None:
    state = {f"features.{i}.weight": np.zeros(1) for i in (0, 28, 30, 34)}
    part = recognise(state | {"classifier.0.bias": np.zeros(2)}, HERE)
    assert part.family == "vgg19"
    assert list(part.arrays) == ["features.0.weight", "features.28.weight"]
    assert list(part.kept) == ["features.30.weight", "features.34.weight", "classifier.0.bias"]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ([1, 2], "a list"),
        ({}, "an empty dict"),
        ({"a": 1}, "0 tensors"),
        ({"conv1.weight": np.zeros(3)}, r"1 tensors of names such as conv1\.weight"),
        ({"fc_mu.weight": np.zeros(3), "fc_mu.alpha": np.zeros(3)}, r"1 names .*: fc_mu\.alpha"),
    ],
)
def test_others_are_refused(content: Any, rule: str) -> None:
    with pytest.raises(UserError, match=rf"latest_net_G\.pth.*{rule}"):
        recognise(content, HERE)


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

    whole = recognise(random_state("tsit", make), HERE)
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

    whole = recognise(random_state("tsit", make), HERE)
    name = "content_stream.blocks.0.conv_0.weight"
    arrays = whole.arrays | {name: np.array(whole.arrays[name])}
    arrays[name][:, :5] = 0
    with pytest.raises(UserError, match=r"nothing changes: sigma of .*conv_0 would be"):
        keep_channels(replace(whole, arrays=arrays), 5)


def test_unused_planes_of_spade_and_of_a_discriminator() -> None:
    part = recognise(
        random_state("spade", lambda: SPADEGenerator(layout_channels=8, channels=1)), HERE
    )
    kept = keep_channels(part, 3)
    assert kept.layout_channels == 3 and kept.arrays["first.weight"].shape[1] == 3
    assert len(kept.dropped) == 1 + sum(n.endswith(".shared.weight") for n in part.arrays)

    def make() -> MultiScaleDiscriminator:
        return MultiScaleDiscriminator(layout_channels=8, channels=2, layers=2, scales=2)

    part = recognise(random_state("discriminator", make), HERE)
    weight = keep_channels(part, 3).arrays["discriminators.1.first.weight"]
    whole = part.arrays["discriminators.1.first.weight"]
    np.testing.assert_array_equal(weight, whole[:, [0, 1, 2, 8, 9, 10]])


def test_vectors_that_a_port_never_kept() -> None:
    state = random_state("encoder", lambda: StyleEncoder(channels=2, latent_size=3))
    exact = recognise(state, HERE)
    np.testing.assert_array_equal(
        exact.arrays["layers.1.spectral_norm.u"], state["layer2.0.weight_u"]
    )
    state |= {n.removesuffix("_orig"): a for n, a in state.items() if n.endswith("weight_orig")}
    part = recognise(state, HERE)
    for index in range(6):
        # One step from the vectors of the file, as its training took.
        matrix = state[f"layer{index + 1}.0.weight_orig"].astype(np.float64)
        matrix = matrix.reshape(len(matrix), -1)
        v = matrix.T @ state[f"layer{index + 1}.0.weight_u"]
        expected = np.linalg.norm(matrix @ (v / np.linalg.norm(v)))
        assert sigma(part, f"layers.{index}") == pytest.approx(expected, rel=1e-5)
    assert sum("one iteration taken" in reason for reason in part.dropped.values()) == 6
    again = recognise(state | to_published("encoder", part.arrays), HERE)
    assert not any("iteration" in reason for reason in again.dropped.values())
