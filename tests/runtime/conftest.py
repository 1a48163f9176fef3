from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.stub import Stub


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    return Stub(tmp_path)
