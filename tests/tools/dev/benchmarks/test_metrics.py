"""The rows of python -m tools.dev.benchmark metrics, without PyTorch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tools.dev import benchmark
from tools.dev.benchmarks import metrics, time_metrics
from tools.dev.benchmarks.metrics import Case

SECONDS = [0.5, 0.25, 2.0]


def test_flags() -> None:
    arguments = benchmark.parse_arguments(["metrics"])
    assert (arguments.images, arguments.rounds, arguments.repeats) == (1000, 3, 5)
    assert arguments.passes == ["forward", "step", "evaluate"] and arguments.torch_python is None
    arguments = benchmark.parse_arguments(["metrics", "--passes", "step", "--images", "20"])
    assert (arguments.passes, arguments.images) == (["step"], 20)


@pytest.mark.parametrize(
    "flags", [["--images", "1"], ["--rounds", "0"], ["--repeats", "0"], ["--passes", "backward"]]
)
def test_bad_flags(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["metrics", *flags]) == 2
    assert flags[0] in capsys.readouterr().err


def test_the_faster_order_of_pytorch_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = []

    def run(command: list[str]) -> dict[str, Any]:
        commands.append(command)
        folder = Path(command[command.index("--folder") + 1])
        ours = command[0] == sys.executable
        classes = np.array([1, 2, 3, 4 if ours else 0])
        name = time_metrics.OURS if ours else time_metrics.THEIRS
        np.savez(folder / name, logits=np.array([1.0, 2.0 if ours else 1.75]), classes=classes)
        factor = 1.0 if ours else 3.0 if "--channels-last" in command else 4.0
        return {"seconds": [factor * s for s in SECONDS], "peak_mb": int(300 * factor)}

    monkeypatch.setattr(metrics, "run_timer", run)
    monkeypatch.setattr(metrics, "find_torch", lambda wanted: wanted)
    monkeypatch.setattr(metrics, "CASES", (Case("lite0", "forward", 384, 512, 8),))
    flags = ["metrics", "--passes", "forward", "--rounds", "2", "--torch-python", "torch"]
    assert benchmark.main([*flags, "--json", str(tmp_path / "rows.json")]) == 0
    assert [command[0] for command in commands] == [sys.executable, "torch", "torch"] * 2
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row == {
        "model": "lite0", "pass": "forward", "height": 384, "width": 512, "batch": 8,
        "seconds": 0.5, "peak_mb": 300, "torch_order": "channels last", "torch_seconds": 1.5,
        "torch_peak_mb": 900, "ratio": 3.0, "max_difference": 0.25, "different_pixels": 0.25,
    }  # fmt: skip
    assert capsys.readouterr().out == (
        "lite0        forward  384 x 512  batch  8  0.5000 s  300 MB"
        "   PyTorch (channels last) 1.5000 s  900 MB   PyTorch / ours 3.00"
        "   difference 2.5e-01  2.5e-01 of the pixels\n"
    )


def test_evaluate_scores_all_images_with_the_statistics_of_a_first_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = []

    def measure(command: list[str]) -> dict[str, Any]:
        folder = Path(command[command.index("--images") + 1])
        layouts = Path(command[command.index("--layouts") + 1])
        names = sorted(path.stem for path in folder.iterdir())
        assert set(names) <= {path.stem for path in layouts.iterdir()}
        with Image.open(next(folder.iterdir())) as image:
            assert image.size == (48, 32)
        commands.append((folder.name, len(names), "--photos" in command))
        return {"seconds": 6.0, "peak_mb": 700}

    monkeypatch.setattr(metrics, "SIZE", (32, 48))
    monkeypatch.setattr(metrics, "run_measured", measure)
    monkeypatch.setattr(metrics, "write_segmenter", lambda folder, name: None)
    rows = metrics.measure_evaluate(40)
    assert commands == [("first", 40, True), ("images", 40, False)] * 2
    assert [row["model"] for row in rows] == ["lite0", "segformer-b0"]
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "lite0        evaluate 32 x 48  40 images  6.0 s  0.150 s per image  700 MB"


def test_the_first_images_have_every_batch_size() -> None:
    assert [metrics.count_of_first(n) for n in (5, 33, 1000)] == [5, 33, 40]
