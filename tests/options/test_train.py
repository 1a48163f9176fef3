from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from options.errors import UserError
from options.fields import option_fields
from options.generators import GENERATORS, PUBLISHED_TASKS
from options.groups import (
    DataOptions,
    DiscriminatorOptions,
    GeneratorOptions,
    LossOptions,
    OptimizerOptions,
    TrainingOptions,
)
from options.rules import nearest_sizes
from options.test import TestOptions
from options.train import RUN_FIELDS, RUN_GROUPS, RunOptions


def with_value(name: str, value: Any) -> RunOptions:
    """Default options with one field changed."""
    group = RUN_FIELDS[name].group
    options = RunOptions()
    part = dataclasses.replace(getattr(options, group), **{name: value})
    return dataclasses.replace(options, **{group: part})


def sized(height: int, width: int, num_downsamples: int, generator: Any = "tsit") -> RunOptions:
    return RunOptions(
        data=DataOptions(height=height, width=width),
        generator=GeneratorOptions(generator=generator, num_downsamples=num_downsamples),
    )


def test_defaults_are_valid_and_published() -> None:
    options = RunOptions().validate()
    assert (options.generator.generator, options.generator.num_downsamples) == ("tsit", 7)
    assert (options.data.height, options.data.width, options.data.classes) == (384, 512, 29)
    assert (options.loss.lambda_vgg, options.loss.lambda_feature) == (20, 10)
    assert (options.optimizer.beta1, options.optimizer.beta2) == (0.0, 0.9)
    TestOptions().validate()


def test_names_are_unique_across_groups_and_every_field_has_help() -> None:
    fields = [option for cls in RUN_GROUPS.values() for option in option_fields(cls)]
    assert len({option.name for option in fields}) == len(fields)
    for option in [*fields, *option_fields(TestOptions)]:
        assert option.help and option.kind in (bool, int, float, str)
        # A negative name would make --no-no-flip.
        assert not option.name.startswith("no_")


def test_options_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunOptions().data.height = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("height", 0),
        ("height", 384.0),
        ("width", -128),
        ("classes", 0),
        ("classes", True),
        ("unknown_label", -1),
        ("unknown_label", 65536),
        ("bad_pair_limit", 1.01),
        ("load_scale", 0.9),
        ("workers", 0),
        ("flip", 1),
        ("flip", None),
        ("input_path", ""),
        ("generator", "gan"),
        ("channels", 0),
        ("latent_size", 0),
        ("start", "z"),
        ("fadain_alpha", -0.1),
        ("fadain_alpha", 1.5),
        ("norm", "layer"),
        ("discriminator_scales", 0),
        ("discriminator_layers", 1),
        ("discriminator_channels", 0),
        ("gan_loss", "ls"),
        ("lambda_gan", -1.0),
        ("lambda_feature", math.nan),
        ("lambda_vgg", math.inf),
        ("lambda_vgg", 10**400),
        ("vgg_distance", "l2"),
        ("vgg_weights", "  "),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("ema_decay", 1.0),
        ("seed", -1),
        ("seed", 2**32),
        ("device", "gpu"),
        ("log_every", 0),
        ("sample_every", 0),
        ("checkpoint_minutes", 0.0),
        ("results_path", ""),
    ],
)
def test_a_value_out_of_range_names_flag_value_and_fix(name: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        with_value(name, value).validate()
    line = str(caught.value)
    flag = f"--{name.replace('_', '-')}"
    assert line.startswith(f"{flag}: expected ") and ", got " in line and "\n" not in line
    assert f" (e.g. {flag} " in line or f". Write {flag} or " in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("unknown_label", 255),
        ("unknown_label", 0),
        ("bad_pair_limit", 0.0),
        ("bad_pair_limit", 1),
        ("fadain_alpha", 0.0),
        ("ema_decay", 0.0),
        ("ema_decay", 0.999999),
        ("lambda_gan", 0),
        ("seed", 2**32 - 1),
        ("classes", 182),
    ],
)
def test_edge_values_are_valid(name: str, value: Any) -> None:
    assert with_value(name, value).validate().get(name) == value


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
        RunOptions(training=TrainingOptions(device="cpu", precision="bfloat16")),
    ],
)
def test_an_option_without_effect_is_an_error(options: RunOptions) -> None:
    with pytest.raises(UserError, match=r"has no effect without --.*\. Remove it"):
        options.validate()


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


EVERYTHING = RunOptions(
    data=DataOptions(
        input_path="数据/a b",
        height=96,
        width=128,
        unknown_label=255,
        instances=True,
        load_scale=1.1,
    ),
    generator=GeneratorOptions(generator="spade", num_downsamples=5, vae=True),
    loss=LossOptions(gan_loss="least_squares", lambda_vgg=0.0),
    optimizer=OptimizerOptions(ema_decay=0.9999999, ttur=False),
    training=TrainingOptions(name="x", phase="II", seed=2**32 - 1, checkpoint_minutes=0.1),
)


@pytest.mark.parametrize("options", [RunOptions(), EVERYTHING])
def test_json_round_trip(options: RunOptions) -> None:
    text = options.to_json()
    assert RunOptions.from_json(text) == options
    assert RunOptions.from_dict(json.loads(text)) == options
    assert RunOptions.from_json(text).to_json() == text


def test_json_keeps_types() -> None:
    tree = RunOptions().to_dict()
    tree["loss"]["lambda_vgg"] = 20
    value = RunOptions.from_dict(tree).loss.lambda_vgg
    assert value == 20.0 and type(value) is float


def test_json_lists_every_error_at_once() -> None:
    tree = RunOptions().to_dict()
    tree["data"]["heigth"] = tree["data"].pop("height")
    tree["loss"]["gan_loss"] = "ls"
    tree["generator"]["channels"] = "64"
    tree["optimizer"]["ttur"] = 1
    del tree["training"]
    tree["extra"] = {}
    with pytest.raises(UserError) as caught:
        RunOptions.from_dict(tree, "options.json")
    line = str(caught.value)
    assert line.startswith("options.json: ")
    for fault in (
        "unknown data.heigth",
        "missing data.height",
        "loss.gan_loss is 'ls', not one of hinge",
        "generator.channels is '64', not an integer",
        "optimizer.ttur is 1, not true or false",
        "missing group training",
        "unknown group extra",
    ):
        assert fault in line


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{", "expected JSON"),
        ("", "expected JSON"),
        ("[]", "not an object"),
        ('{"data": 3}', "data is int, not an object"),
        ('{"data": {}, "data": {}}', "expected each name once, got data twice"),
    ],
)
def test_invalid_json(text: str, rule: str) -> None:
    with pytest.raises(UserError, match=rule) as caught:
        RunOptions.from_json(text, "somewhere.json")
    assert str(caught.value).startswith("somewhere.json: ")


def test_json_with_an_invalid_size() -> None:
    tree = RunOptions().to_dict()
    tree["data"]["height"] = 380
    with pytest.raises(UserError, match=r"^old\.json: --size: expected multiples of 128"):
        RunOptions.from_json(json.dumps(tree), "old.json")


def test_options_without_a_task_are_of_synthesis() -> None:
    tree = EVERYTHING.to_dict()
    assert tree["data"].pop("task") == "synthesis"
    assert RunOptions.from_dict(tree) == EVERYTHING
    del tree["data"]["flip"]
    with pytest.raises(UserError, match=r"this version and no other: missing data\.flip\."):
        RunOptions.from_dict(tree)


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
        ("classes", 12, "--classes 12 has no effect without --task synthesis. Remove it"),
        ("unknown_label", 255, "--unknown-label 255 has no effect without --task synthesis"),
        ("instances", True, "--instances has no effect without --task synthesis"),
        ("lambda_l1", 1.0, "--lambda-l1 1 has no effect without --task synthesis"),
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


def test_json_with_nan_is_an_error() -> None:
    text = RunOptions().to_json().replace('"lambda_vgg": 20.0', '"lambda_vgg": NaN')
    with pytest.raises(UserError, match=r"loss\.lambda_vgg is nan"):
        RunOptions.from_json(text)


def test_describe_is_aligned_and_shows_differences() -> None:
    lines = EVERYTHING.describe().splitlines()
    rows = [line for line in lines if line.startswith("  ")]
    assert len(rows) == len(RUN_FIELDS)
    assert [line for line in lines if not line.startswith("  ")] == list(RUN_GROUPS)
    column = rows[1].index("数据/a b")
    assert all(row[column - 1] == " " and row[column] != " " for row in rows)
    (height,) = (row for row in rows if row.split()[0] == "height")
    assert height.split() == ["height", "96", "(default", "384)"]
    # Rounded to 1 it would mean another training.
    assert "0.9999999" in EVERYTHING.describe()
    assert "(default" not in RunOptions().describe()
