"""A synthesizer without a network, and submissions made with it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from data.classes import palette
from inference.submission import make_submission, plan_submission
from options.test import TestOptions
from options.train import RunOptions
from tests.tiny import CLASSES
from weights.safetensors_file import read_tensors, write_tensors


class FakeSynthesizer:
    """Blends layout, style and noise, so that an image shows its sources."""

    def __init__(self, options: RunOptions, *, encoder: bool = False) -> None:
        self.options = options
        self.classes = CLASSES
        self.size = (options.data.height, options.data.width)
        self.has_encoder = encoder
        self.takes_noise = encoder
        self.takes_photo = True

    def sample_noise(self, seed: int, name: str) -> np.ndarray | None:
        if not self.takes_noise:
            return None
        return np.random.default_rng([seed, *os.fsencode(name)]).normal(size=(1, 3))

    def synthesize(
        self, layout: np.ndarray, *, style: np.ndarray | None, noise: np.ndarray | None
    ) -> np.ndarray:
        assert layout.shape == self.size
        image = palette(CLASSES)[layout] // 2
        if style is not None:
            assert style.shape == (*self.size, 3)
            image = image + style // 2
        if noise is not None:
            assert style is None
            image = image + np.uint8(abs(noise).sum() * 10)
        return image.astype(np.uint8)


def generate(options: TestOptions, **settings: Any) -> Path:
    """Make a submission with a `FakeSynthesizer`; returns its folder."""
    plan = plan_submission(options)
    synthesizer: Any = FakeSynthesizer(plan.snapshot.options, **settings)
    return make_submission(plan, synthesizer).folder


def read_files(folder: Path) -> dict[str, bytes]:
    """The visible files of a folder; the marker and unfinished images are hidden."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name[0] != "." and p.is_file()}


def notes_of(options: TestOptions) -> list[str]:
    """The notes of a plan without that of stretched layouts.

    The layouts are 24 x 32, and the generator's images 16 x 32.
    """
    return [note for note in plan_submission(options).notes if "stretched" not in note]


def snapshot_path(options: TestOptions) -> Path:
    """The only snapshot of the run."""
    (path,) = Path(options.results_path, str(options.name)).glob("checkpoints/*.safetensors")
    return path


def change_run(options: TestOptions, group: str, **values: Any) -> None:
    """Change options of the run in its snapshot."""
    path = snapshot_path(options)
    tensors, metadata = read_tensors(path)
    tree = json.loads(metadata["options"])
    tree[group] |= values
    write_tensors(path, tensors, metadata | {"options": json.dumps(tree)})
