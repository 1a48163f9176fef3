"""The options of published generators, from names, shapes and hints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.networks.spade import SPADEGenerator
from models.networks.tsit import TSITGenerator
from options.errors import UserError
from options.groups import DataOptions, GeneratorOptions
from options.train import RunOptions
from tests.weights.states import one, published
from weights.infer_options import Hints, infer_options, read_hints

LONE = Hints()


def spade(channels: int, **options: Any) -> RunOptions:
    network = SPADEGenerator(layout_channels=channels, channels=2, **options)
    return infer_options([one(published("spade", network))], LONE, LONE).options


def tsit(channels: int, **options: Any) -> RunOptions:
    network = TSITGenerator(layout_channels=channels, channels=1, **options)
    return infer_options([one(published("tsit", network))], LONE, LONE).options


@pytest.mark.parametrize(
    ("planes", "classes", "unknown", "instances", "size", "num_downsamples"),
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
    num_downsamples: int,
) -> None:
    data = spade(planes).data
    assert (data.classes, data.unknown_label, data.instances) == (classes, unknown, instances)
    assert (data.height, data.width) == size
    assert spade(planes).generator == GeneratorOptions(
        generator="spade", channels=2, num_downsamples=num_downsamples
    )


@pytest.mark.parametrize(
    ("num_downsamples", "planes", "size"),
    [(5, 151, (256, 256)), (6, 151, (256, 256)), (7, 151, (256, 256)), (6, 36, (256, 512))],
)
def test_a_style_vector_tells_the_depth_of_spade(
    num_downsamples: int, planes: int, size: tuple[int, int]
) -> None:
    options = spade(planes, num_downsamples=num_downsamples, size=size, latent_size=9)
    assert options.generator.num_downsamples == num_downsamples
    assert options.generator.vae and options.generator.latent_size == 9
    assert (options.data.height, options.data.width) == size


def test_another_size_of_a_style_vector() -> None:
    network = SPADEGenerator(layout_channels=7, channels=1, size=(96, 160), latent_size=4)
    part = one(published("spade", network))
    found = infer_options([part], LONE, LONE)
    assert (found.options.data.height, found.options.data.width) == (96, 160)
    assert any("see --size" in remark for remark in found.remarks)
    with pytest.raises(
        UserError, match=r"--size: expected the size .* of 15 pixels after 5 downsamples, got 128"
    ):
        infer_options([part], Hints(size=(128, 128)), LONE)


def test_depth_and_norm_of_spade() -> None:
    part = one(published("spade", SPADEGenerator(layout_channels=9, channels=1)))
    found = infer_options([part], Hints(num_downsamples=6), LONE)
    assert found.options.generator.num_downsamples == 6
    assert not any("--num-downsamples" in remark for remark in found.remarks)
    remarks = infer_options([part], LONE, LONE).remarks
    assert any("5 downsamples (normal)" in r and "--num-downsamples" in r for r in remarks)
    assert spade(9, norm="instance").generator.norm == "instance"


@pytest.mark.parametrize("num_downsamples", [4, 5, 6, 7, 8])
def test_the_blocks_tell_the_depth_of_tsit(num_downsamples: int) -> None:
    generator = tsit(12, num_downsamples=num_downsamples, style_stream=False).generator
    assert generator == GeneratorOptions(
        channels=1, num_downsamples=num_downsamples, style_stream=False
    )


def test_starts_of_tsit() -> None:
    assert tsit(12, start="noise").generator == GeneratorOptions(channels=1, start="noise")
    generator = tsit(12, style_stream=False, size=(256, 256), latent_size=8).generator
    assert generator.vae and not generator.style_stream and generator.latent_size == 8


def test_a_tsit_of_photos_translates() -> None:
    options = tsit(3, start="noise")
    assert options.data == DataOptions(task="translation", height=256, width=256)
    assert options.generator == GeneratorOptions(channels=1, start="noise")
    for variant, style in (
        ({"style_stream": False, "start": "noise"}, "no style"),
        ({"style_stream": False, "size": (256, 256), "latent_size": 8}, "a style vector"),
    ):
        with pytest.raises(UserError, match=f"expected a style stream, .* got {style}"):
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
def test_three_planes_are_colors_or_classes(
    text: str | None, hints: Hints, task: str, tmp_path: Path
) -> None:
    if text is not None:
        lines = "crop_size: 256\naspect_ratio: 1.0\nlabel_nc: 3\nno_instance: True\n"
        (tmp_path / "opt.txt").write_text(f"{lines}task: {text} \t[default: SIS]\n")
    network = TSITGenerator(layout_channels=3, channels=1)
    part = one(published("tsit", network))
    found = infer_options([part], hints, read_hints(tmp_path))
    assert found.options.data.task == task
    assert (found.layout is None) == (task == "translation")
    assert found.channels == 3
    assert found.options.data.classes == (29 if task == "translation" else 3)
    remarked = any("taken as photos" in remark for remark in found.remarks)
    assert remarked is (text is None and hints is LONE)


def test_channels_of_the_deepest_spade_are_those_before_its_last_block() -> None:
    network = SPADEGenerator(layout_channels=4, channels=6, num_downsamples=7)
    part = one(published("spade", network))
    assert infer_options([part], LONE, LONE).options.generator.channels == 6


def test_planes_must_add_up() -> None:
    part = one(published("spade", SPADEGenerator(layout_channels=9, channels=1)))
    found = infer_options([part], Hints(classes=7, unknown_label=99, instances=True), LONE)
    assert (found.options.data.classes, found.options.data.unknown_label) == (7, 99)
    assert found.channels == 9
    for hints in (Hints(classes=10), Hints(classes=7, instances=True), Hints(classes=0)):
        with pytest.raises(UserError, match=r"expected \d+ layout planes \(.* classes.*got 9\."):
            infer_options([part], hints, LONE)


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
    hints = read_hints(tmp_path)
    assert hints == Hints(size=(256, 512), num_downsamples=6, classes=8, instances=True)
    part = one(published("spade", SPADEGenerator(layout_channels=9, channels=1)))
    found = infer_options([part], LONE, hints)
    data, generator = found.options.data, found.options.generator
    assert (data.height, data.width, data.classes) == (256, 512, 8)
    assert data.instances and generator.num_downsamples == 6 and found.remarks == ()


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("512", "wide", "invalid literal"),
        ("crop_size", "cropsize", "got no 'crop_size'"),
        ("aspect_ratio: 2.0", "aspect_ratio: 0.0", "division by zero"),
        ("aspect_ratio: 2.0", "aspect_ratio: 1e-307", "infinity"),
    ],
)
def test_a_damaged_opt_txt(tmp_path: Path, old: str, new: str, fault: str) -> None:
    (tmp_path / "opt.txt").write_text(OPT.replace(old, new))
    with pytest.raises(UserError, match=r"opt\.txt: expected numbers as crop_size.*" + fault):
        read_hints(tmp_path)
