"""Run options that differ from the defaults in a field or in a size."""

from __future__ import annotations

import dataclasses
from typing import Any

from options.groups import (
    DataOptions,
    GeneratorOptions,
)
from options.train import RUN_FIELDS, RunOptions


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
