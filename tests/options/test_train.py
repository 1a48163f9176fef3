from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from options.errors import UserError
from options.fields import option_fields
from options.groups import (
    DataOptions,
    GeneratorOptions,
    LossOptions,
    OptimizerOptions,
    TrainingOptions,
)
from options.test import TestOptions
from options.train import RUN_FIELDS, RUN_GROUPS, RunOptions
from tests.options.builders import with_value


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


def test_json_with_nan_is_an_error() -> None:
    text = RunOptions().to_json().replace('"lambda_vgg": 20.0', '"lambda_vgg": NaN')
    with pytest.raises(UserError, match=r"loss\.lambda_vgg is nan"):
        RunOptions.from_json(text)


def test_describe_is_aligned_and_shows_differences() -> None:
    lines = EVERYTHING.describe().splitlines()
    rows = [line for line in lines if line.startswith("  ")]
    shown = [group for group in RUN_GROUPS if group != "segmenter"]  # of another task
    assert len(rows) == sum(option.group in shown for option in RUN_FIELDS.values())
    assert [line for line in lines if not line.startswith("  ")] == shown
    column = rows[1].index("数据/a b")
    assert all(row[column - 1] == " " and row[column] != " " for row in rows)
    (height,) = (row for row in rows if row.split()[0] == "height")
    assert height.split() == ["height", "96", "(default", "384)"]
    # Rounded to 1 it would mean another training.
    assert "0.9999999" in EVERYTHING.describe()
    assert "(default" not in RunOptions().describe()
