"""A tiny run on a small dataset, with a method that compiles quickly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from options.schedule import Schedule
from options.train import RunOptions
from runtime.start import start_jittor
from tests.runs import SCHEDULE, make_options

# Before any other import of Jittor, whose own signal handlers would end the test process when a
# test kills a child.
start_jittor("cpu")


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    return make_options(tmp_path)


@pytest.fixture
def schedule() -> Schedule:
    return SCHEDULE


@pytest.fixture
def create() -> Callable[..., Any]:
    """The factory of the fake method; imports Jittor."""
    from tests.training.fakes import create_fake_method

    return create_fake_method
