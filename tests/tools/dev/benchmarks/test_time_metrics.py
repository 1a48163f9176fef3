"""Passes of tiny images, and the files that the counterpart in PyTorch reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tools.dev.benchmarks import time_metrics
from tools.dev.benchmarks.metrics import Case


@pytest.mark.parametrize(
    ("case", "result"),
    [
        (Case("segformer-b0", "forward", 64, 64, 1), "classes"),
        (Case("lite0", "step", 64, 64, 1), "losses"),
        (Case("features", "forward", 64, 64, 1), "pooled"),
    ],
)
def test_a_tiny_pass(
    case: Case, result: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--network", case.network, "--pass", case.kind, "--batch", str(case.batch)]
    flags += ["--size", str(case.height), str(case.width)]
    assert time_metrics.main([*flags, "--rounds", "2", "--folder", str(tmp_path)]) == 0
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(measured["seconds"]) == 2 and min(measured["seconds"]) > 0
    with np.load(tmp_path / time_metrics.OURS) as ours:
        found = ours[result]
    assert np.isfinite(found).all()
    with np.load(tmp_path / time_metrics.WEIGHTS) as arrays:
        weights = set(arrays.files)
    if case.kind == "step":
        trained = (tmp_path / time_metrics.TRAINED).read_text().splitlines()
        assert "decode_head.linear_pred.weight" in trained and set(trained) <= weights
        assert found[2] < found[1] < found[0]  # both updates lower the loss
    elif case.network == "features":
        assert found.shape == (1, 1280) and "_conv_stem.weight" in weights
    else:
        assert found.shape == (1, 64, 64) and "backbone.patch_embed1.proj.weight" in weights
        assert (tmp_path / time_metrics.SEGMENTER_FILE).is_file()
