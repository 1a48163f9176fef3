"""Sizes, depths, styles, tasks and names: rules between options."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from options.command_line import parse_train
from options.errors import UserError
from options.generators import GENERATORS, PUBLISHED_TASKS
from options.groups import (
    DataOptions,
    DiscriminatorOptions,
    GeneratorOptions,
    LossOptions,
    TrainingOptions,
)
from options.rules import nearest_sizes
from options.test import TestOptions
from options.train import RUN_FIELDS, RunOptions
from tests.options.builders import sized, with_value


@pytest.mark.parametrize(
    ("height", "width", "num_downsamples", "generator"),
    [
        (384, 512, 7, "tsit"),
        (192, 256, 6, "tsit"),
        (96, 128, 5, "tsit"),
        (64, 64, 4, "tsit"),
        (512, 256, 8, "tsit"),
        (96, 128, 5, "spade"),
        (384, 512, 6, "spade"),
        (384, 512, 7, "spade"),
        (256, 256, 8, "pix2pix"),
        (96, 128, 5, "pix2pix"),
        (384, 512, 5, "pix2pixhd"),
    ],
)
def test_sizes_that_downsample_evenly(
    height: int, width: int, num_downsamples: int, generator: str
) -> None:
    sized(height, width, num_downsamples, generator).validate()


def test_an_uneven_size_names_the_nearest_valid_ones() -> None:
    with pytest.raises(UserError) as caught:
        sized(380, 500, 7).validate()
    line = str(caught.value)
    assert "expected multiples of 128" in line and "got 380 x 500" in line
    assert "256 x 384 and 384 x 512" in line
    assert line.endswith("write --size 384 512")


def test_an_uneven_size_names_a_valid_depth() -> None:
    with pytest.raises(UserError, match=r"--size 128 256, or --num-downsamples 6$"):
        sized(192, 256, 7).validate()


def test_a_size_below_one_step_names_only_the_size_above() -> None:
    assert nearest_sizes(96, 300, 128) == [(128, 384)]
    assert nearest_sizes(256, 300, 128) == [(256, 256), (256, 384)]
    with pytest.raises(UserError, match="Nearest valid: 128 x 384; write --size 128 384"):
        sized(96, 300, 7).validate()


@pytest.mark.parametrize("step", [16, 32, 64, 128, 256])
def test_the_nearest_sizes_are_valid(step: int) -> None:
    for height, width in ((step + 1, 3 * step - 1), (5 * step, 5 * step + 3), (17, step)):
        for h, w in nearest_sizes(height, width, step):
            assert h % step == w % step == 0
            assert abs(h - height) < step and abs(w - width) < step


@pytest.mark.parametrize(
    ("generator", "num_downsamples"),
    [("spade", 8), ("spade", 3), ("tsit", 9), ("pix2pix", 3), ("pix2pixhd", 7)],
)
def test_a_depth_outside_the_range_of_the_generator(generator: str, num_downsamples: int) -> None:
    with pytest.raises(UserError, match=f"--num-downsamples: expected .*, got {num_downsamples}"):
        sized(512, 512, num_downsamples, generator).validate()


def test_a_smallest_map_of_one_pixel_is_an_error() -> None:
    with pytest.raises(UserError, match=r"with 1 x 1\. Write --num-downsamples 6"):
        sized(128, 128, 7).validate()
    with pytest.raises(UserError, match=r"with 1 x 1\. Write --size 16 32"):
        sized(16, 16, 4).validate()
    sized(128, 256, 7).validate()


def test_the_smallest_map_of_pix2pixhd_is_padded_by_reflection() -> None:
    with pytest.raises(UserError, match=r"got 32 x 64 with 1\. Write --size 64 128"):
        sized(32, 64, 5, "pix2pixhd").validate()


@pytest.mark.parametrize(
    ("generator", "least"), [("spade", 16), ("pix2pix", 48), ("pix2pixhd", 32)]
)
def test_the_discriminators_of_each_generator_need_a_minimum_size(
    generator: str, least: int
) -> None:
    discriminators = DiscriminatorOptions(discriminator_layers=4, discriminator_scales=2)
    dataclasses.replace(sized(least, 128, 4, generator), discriminator=discriminators).validate()
    more = dataclasses.replace(discriminators, discriminator_scales=3)
    with pytest.raises(UserError, match=f"expected .* pixels per side .*{least} x 128 with"):
        dataclasses.replace(sized(least, 128, 4, generator), discriminator=more).validate()


def test_published_values_name_fields_and_are_valid() -> None:
    for generator, spec in GENERATORS.items():
        options = with_value("generator", generator)
        for name, value in spec.published.items():
            assert value != options.get(name)
            group = RUN_FIELDS[name].group
            part = dataclasses.replace(getattr(options, group), **{name: value})
            options = dataclasses.replace(options, **{group: part})
        options.validate()


def test_a_discriminator_deeper_than_the_image() -> None:
    options = dataclasses.replace(
        sized(64, 64, 4), discriminator=DiscriminatorOptions(discriminator_scales=5)
    )
    with pytest.raises(UserError, match=r"--discriminator-scales 5\)\. Lower"):
        options.validate()


def test_style_has_one_source() -> None:
    with pytest.raises(UserError, match="Add --no-style-stream, or remove --vae"):
        RunOptions(generator=GeneratorOptions(vae=True)).validate()
    RunOptions(generator=GeneratorOptions(vae=True, style_stream=False)).validate()


@pytest.mark.parametrize(
    "options",
    [
        RunOptions(generator=GeneratorOptions(generator="spade", fadain_alpha=0.5)),
        RunOptions(generator=GeneratorOptions(generator="spade", start="noise")),
        RunOptions(generator=GeneratorOptions(generator="spade", style_stream=False)),
        RunOptions(generator=GeneratorOptions(generator="spade", latent_size=64)),
        RunOptions(generator=GeneratorOptions(style_stream=False, fadain_alpha=0.5)),
        RunOptions(generator=GeneratorOptions(vae=True, style_stream=False, start="noise")),
        RunOptions(loss=LossOptions(lambda_kl=0.1)),
        RunOptions(loss=LossOptions(lambda_vgg=0, vgg_distance="cosine")),
        RunOptions(loss=LossOptions(lambda_vgg=0, vgg_weights="vgg.pth")),
        RunOptions(loss=LossOptions(segmenter="s.safetensors")),
        RunOptions(loss=LossOptions(second_segmenter="s.safetensors")),
        RunOptions(
            discriminator=DiscriminatorOptions(segmenter_discriminator=True),
            loss=LossOptions(segmenter="s.safetensors", segmentation_loss="mask_probability"),
        ),
        RunOptions(training=TrainingOptions(device="cpu", precision="bfloat16")),
    ],
)
def test_an_option_without_effect_is_an_error(options: RunOptions) -> None:
    with pytest.raises(UserError, match=r"has no effect without --.*\. Remove it"):
        options.validate()


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        (RunOptions(loss=LossOptions(lambda_segmentation=0.5)), "--lambda-segmentation 0.5"),
        (
            RunOptions(discriminator=DiscriminatorOptions(segmenter_discriminator=True)),
            "--segmenter-discriminator",
        ),
    ],
)
def test_losses_of_a_segmenter_need_one(options: RunOptions, flag: str) -> None:
    with pytest.raises(UserError, match=f"^{flag}: expected --segmenter FILE, got none"):
        options.validate()
    loss = dataclasses.replace(options.loss, segmenter="s.safetensors", second_segmenter="t")
    dataclasses.replace(options, loss=loss).validate()


def test_options_of_the_encoder_are_valid_with_it() -> None:
    generator = GeneratorOptions(generator="spade", vae=True, latent_size=64)
    RunOptions(generator=generator, loss=LossOptions(lambda_kl=0.1)).validate()


@pytest.mark.parametrize("name", ["a/b", "..", ".x", "-x", "a\\b", "a:b", " a", "a\n", "a" * 201])
def test_an_invalid_name(name: str) -> None:
    with pytest.raises(UserError, match="--name: expected a plain file name"):
        with_value("name", name).validate()
    with pytest.raises(UserError, match="--name: expected a plain file name"):
        TestOptions(name=name).validate()


@pytest.mark.parametrize("name", ["night-1", "风景", "a b.c_d"])
def test_a_valid_name(name: str) -> None:
    assert with_value("name", name).validate().training.name == name


TRANSLATION = RunOptions(
    data=DataOptions(task="translation"),
    generator=GeneratorOptions(start="noise"),
    discriminator=DiscriminatorOptions(discriminator_layers=3),
    loss=LossOptions(lambda_vgg=1.0, lambda_feature=1.0),
)


def test_the_published_values_of_a_task() -> None:
    for name, value in PUBLISHED_TASKS["translation"].items():
        assert TRANSLATION.get(name) == value != RunOptions().get(name)
    assert RunOptions.from_json(TRANSLATION.validate().to_json()) == TRANSLATION


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("generator", "spade", "--task translation: expected --generator tsit, got spade. "),
        ("start", "layout", "--task translation: expected --start noise, got --start layout"),
        (
            "vae",
            True,
            "--vae has no effect without --generator tsit or spade, and --task synthesis",
        ),
        (
            "style_stream",
            False,
            "--no-style-stream has no effect without --generator tsit and --task synthesis",
        ),
        ("classes", 12, "--classes 12 has no effect without --task synthesis or segmentation"),
        ("unknown_label", 255, "--unknown-label 255 has no effect without --task synthesis"),
        ("instances", True, "--instances has no effect without --task synthesis"),
        ("lambda_l1", 1.0, "--lambda-l1 1 has no effect without --task synthesis"),
        ("lambda_segmentation", 1.0, "--lambda-segmentation 1 has no effect without --task syn"),
        (
            "segmenter_discriminator",
            True,
            "--segmenter-discriminator has no effect without --task synthesis",
        ),
        (
            "content_channels",
            8,
            "--content-channels 8 has no effect without --generator tsit and --task synthesis",
        ),
    ],
)
def test_translation_rejects_options_of_layouts(name: str, value: Any, rule: str) -> None:
    group = RUN_FIELDS[name].group
    part = dataclasses.replace(getattr(TRANSLATION, group), **{name: value})
    with pytest.raises(UserError) as caught:
        dataclasses.replace(TRANSLATION, **{group: part}).validate()
    assert str(caught.value).startswith(rule) and "\n" not in str(caught.value)


def test_segmentation_rejects_options_of_gans_and_gans_those_of_segmenters() -> None:
    expected = "--generator spade has no effect without --task synthesis or translation. Remove it"
    assert _error_of(["--task", "segmentation", "--generator", "spade"]) == expected
    for flags in (["--lambda-gan", "2"], ["--channels", "8"], ["--no-ttur"], ["--instances"]):
        assert "has no effect without --task synthesis" in _error_of(
            ["--task", "segmentation", *flags]
        )
    for flags in (["--encoder", "mit_b0"], ["--held-out", "0.2"], ["--warmup-steps", "3"]):
        assert _error_of(flags).endswith("without --task segmentation. Remove it")
    weights = ["--encoder-weights", "mit_b0.pth"]
    assert "--encoder mit_b0, mit_b1 or mit_b2" in _error_of(["--task", "segmentation", *weights])


def test_the_range_of_random_scales_is_not_empty() -> None:
    flags = ["--task", "segmentation", "--min-scale", "1.5", "--max-scale", "1.2"]
    assert _error_of(flags) == (
        "--max-scale: expected 1.5 (--min-scale) or more, got 1.2. Raise it, or lower --min-scale"
    )


def test_segmentation_has_its_own_quick_schedule_and_published_values() -> None:
    options = parse_train(["--task", "segmentation"])
    assert options.training.name == "demo-quick_segmenter-efficientnet_lite0"
    assert (options.optimizer.beta1, options.optimizer.beta2) == (0.9, 0.999)
    assert options.optimizer.ema_decay == 0
    assert "generator" not in options.describe() and "encoder" in options.describe()
    assert "encoder" not in parse_train([]).describe()
    published = parse_train(["--schedule", "segmenter", "--task", "segmentation"])
    assert published.segmenter.encoder == "mit_b2" and published.segmenter.warmup_steps == 1500


def _error_of(argv: list[str]) -> str:
    with pytest.raises(UserError) as caught:
        parse_train(argv)
    return str(caught.value)
