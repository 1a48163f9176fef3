"""A tiny run for real networks, and a run with an empty snapshot for a fake synthesizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from options.groups import DataOptions, GeneratorOptions
from options.test import TestOptions
from options.train import RunOptions
from runtime.start import start_jittor
from tests.runs import make_options
from tests.tiny import CLASSES, random_layout
from weights.safetensors_file import write_tensors
from weights.snapshots import SNAPSHOT_FORMAT

# Before any other import of Jittor, whose own signal handlers would end the test process when a
# test kills a child.
start_jittor("cpu")

SIZE = (24, 32)


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    return make_options(tmp_path)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Pairs p0 to p4 with photos of one gray each, and four test layouts, those of p0 to p3."""
    root = tmp_path / "dataset"
    for name in ("train/imgs", "train/labels", "val/labels"):
        (root / name).mkdir(parents=True)
    for index in range(5):
        layout = random_layout(index, SIZE).astype(np.uint16)
        Image.fromarray(layout).save(root / f"train/labels/p{index}.png")
        photo = np.full((*SIZE, 3), 40 * index + 20, np.uint8)
        Image.fromarray(photo).save(root / f"train/imgs/p{index}.png")
        if index < 4:
            Image.fromarray(layout).save(root / f"val/labels/tëst {index + 5}.png")
    return root


@pytest.fixture
def run(tmp_path: Path, dataset: Path) -> TestOptions:
    """Test options of a run whose snapshot has options and no weights."""
    options = RunOptions(
        data=DataOptions(input_path=str(dataset), height=16, width=32, classes=CLASSES, workers=1),
        generator=GeneratorOptions(num_downsamples=4),
    )
    folder = tmp_path / "results/run/checkpoints"
    folder.mkdir(parents=True)
    path = folder / "generator-0001.safetensors"
    metadata = {
        "format": SNAPSHOT_FORMAT,
        "options": options.to_json(),
        "epoch": "1",
        "step": "2",
    }
    write_tensors(path, {}, metadata)
    (folder / "latest").write_text(path.name)
    return TestOptions(name="run", results_path=str(tmp_path / "results"), height=48, width=64)
