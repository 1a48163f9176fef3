"""Fixtures of the tests of models."""

from __future__ import annotations

from collections.abc import Callable

import jittor as jt
import pytest

from tools.start import start_jittor

start_jittor("cpu")

Record = Callable[[dict[str, float]], None]


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test begins at the same random numbers."""
    jt.set_global_seed(0)


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Keeps measured differences with the test's result, where --junitxml writes them."""

    def keep(worst: dict[str, float]) -> None:
        request.node.user_properties.extend(worst.items())

    return keep
