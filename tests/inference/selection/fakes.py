"""Runs without networks: a generator of a few numbers, and segmenters that read the gray value.

An image shows its layout, 60 gray levels per class. `skill` (4,) of a snapshot decides how much of
it is right: of a layout whose first pixel has class k, the share 1 - |skill[k] - 0.5| of the
columns, from the left. Averages of 0.2 and 0.8 are therefore perfect.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from inference.selection.measures import Network
from inference.selection.program import Networks
from metrics.features import FeatureNetwork
from metrics.predictions import Predictor
from options.groups import DataOptions, GeneratorOptions, LossOptions
from options.train import RunOptions
from tests.tiny import CLASSES
from weights.safetensors_file import write_tensors
from weights.snapshots import Snapshot, snapshot_metadata

SIZE = (32, 48)


class FakeSynthesizer:
    """Draws layouts as the snapshot's `skill` tells; `noise` (1,) scales what a seed changes."""

    has_encoder = takes_photo = False

    def __init__(self, snapshot: Snapshot, weights: str) -> None:
        assert weights in ("ema", "raw")
        arrays = snapshot.weights(weights)
        self.skill, self.noise = arrays["generator.skill"], arrays["generator.noise"]
        self.perfect = arrays["generator.perfect"]  # a class per value, that is always right
        self.options = snapshot.options
        self.size = (snapshot.options.data.height, snapshot.options.data.width)
        self.classes = CLASSES
        self.takes_noise = bool(self.noise.any())
        self.method = SimpleNamespace(networks={})

    def sample_noise(self, seed: int, name: str) -> np.ndarray | None:
        if not self.takes_noise:
            return None
        return np.random.default_rng([seed, *name.encode()]).uniform(-1, 1, 1)

    def synthesize(
        self, layout: np.ndarray, *, style: None, noise: np.ndarray | None
    ) -> np.ndarray:
        skill = 1 - abs(float(self.skill[layout[0, 0]]) - 0.5)
        if noise is not None:
            skill += float(self.noise[0] * noise[0])
        right = np.arange(layout.shape[1]) < round(np.clip(skill, 0, 1) * layout.shape[1])
        correct = right[None] | np.isin(layout, self.perfect)
        found = np.where(correct, layout, (layout + 1) % CLASSES)
        return np.stack([found * 60] * 3, axis=-1).astype(np.uint8)


def predict(batch: np.ndarray) -> np.ndarray:
    """The class in the gray value, 60 levels per class."""
    return np.rint((batch[:, 0] + 1) * 127.5 / 60).clip(0, CLASSES - 1).astype(np.int32)


def predict_reversed(batch: np.ndarray) -> np.ndarray:
    """Right where `predict` is wrong by one class."""
    return (predict(batch) - 1) % CLASSES


def fake_features() -> FeatureNetwork:
    """A tenth of the mean gray value of three parts of an image."""

    def prepare(image: np.ndarray) -> np.ndarray:
        parts = np.array_split(image[..., 0].astype(np.float32), 3, axis=1)
        return np.array([part.mean() / 10 for part in parts])

    return FeatureNetwork("gray", 3, prepare, lambda batch: batch)


def fake_networks(judge: Any = predict, **settings: Any) -> Networks:
    """Networks whose segmenters are right; `judge` None for no judge."""
    return Networks(
        Network("gray", "gray", fake_features()),
        Network("A", "A", Predictor(CLASSES, predict)),
        None if judge is None else Network("B", str(judge), Predictor(CLASSES, judge)),
        load,
        **settings,
    )


def load(snapshot: Snapshot, weights: str) -> Any:
    return FakeSynthesizer(snapshot, weights)


def write_run(
    results: Path,
    dataset: Path,
    name: str,
    skills: Sequence[float | Sequence[float]],
    *,
    noise: float = 0.0,
    perfect: Sequence[int] = (),
    generator: dict[str, Any] | None = None,
    loss: dict[str, Any] | None = None,
    **data: Any,
) -> Path:
    """A run with a snapshot per skill, of epochs 1, 2, ...; returns its checkpoints."""
    options = RunOptions(
        data=DataOptions(
            **{
                "input_path": str(dataset),
                "height": SIZE[0],
                "width": SIZE[1],
                "classes": CLASSES,
                "workers": 1,
                **data,
            }
        ),
        generator=GeneratorOptions(**(generator or {"generator": "spade", "num_downsamples": 4})),
        loss=LossOptions(lambda_feature=1.0, **(loss or {})),
    )
    folder = results / name / "checkpoints"
    folder.mkdir(parents=True)
    for epoch, skill in enumerate(skills, 1):
        arrays = {
            "raw.generator.skill": np.zeros(CLASSES, np.float32),
            "ema.generator.skill": np.broadcast_to(np.float32(skill), (CLASSES,)).copy(),
            "raw.generator.noise": np.float32([noise]),
            "raw.generator.perfect": np.float32([*perfect, *[-1] * (CLASSES - len(perfect))]),
        }
        path = folder / f"generator-{epoch:04d}.safetensors"
        metadata = snapshot_metadata(options, epoch=epoch, step=10 * epoch, phase="")
        write_tensors(path, arrays, metadata)
        (folder / "latest").write_text(path.name + "\n")
    return folder
