"""Fixtures of the tests of models."""

from __future__ import annotations

from collections.abc import Callable

import jittor as jt
import pytest

from models.kernels.packed import use_onednn
from runtime.start import start_jittor

backend = start_jittor("cpu")
if backend.onednn is not None:
    use_onednn(str(backend.onednn.folder))

Record = Callable[[dict[str, float]], None]


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts with the same random state."""
    jt.set_global_seed(0)


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Stores measured differences with the result of the test, for --junitxml."""

    def keep(worst: dict[str, float]) -> None:
        request.node.user_properties.extend(worst.items())

    return keep
