"""Sample sheets: their columns, and the inputs of each image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.loader import Batch
from inference.contact_sheet import MARGIN, TEXT_HEIGHT, fit_cell
from inference.samples import generate_samples, render_samples
from options.groups import DataOptions
from options.train import RunOptions
from tests.tiny import CLASSES, random_layout

SIZE = (16, 32)
CELL = fit_cell(*SIZE)
NOISE = {"sample a": 10, "sample b": 20}


class Recorder:
    """A synthesizer of gray images; `calls` holds the inputs of each."""

    def __init__(self, task: str = "synthesis", *, encoder: bool = False, photo: bool) -> None:
        self.options = RunOptions(
            data=DataOptions(task=task, height=SIZE[0], width=SIZE[1], classes=CLASSES)
        )
        self.classes, self.size = CLASSES, SIZE
        self.has_encoder, self.takes_photo = encoder, photo
        self.calls: list[tuple[Any, dict[str, Any]]] = []

    def sample_noise(self, seed: int, name: str) -> int:
        return seed + NOISE[name]

    def synthesize(self, content: np.ndarray, **inputs: Any) -> np.ndarray:
        self.calls.append((content, inputs))
        return np.full((*SIZE, 3), 100, np.uint8)


def make_batch(*, unpaired: bool = False, edges: bool = False) -> Batch:
    """Two samples: layouts of random classes, or black and white photos, and gray photos."""
    photos = np.stack([np.full((3, *SIZE), value, np.float32) for value in (-1, 1)])
    layouts = np.stack([random_layout(seed, SIZE).astype(np.int32) for seed in range(2)])
    planes = np.ones((2, 1, *SIZE), np.float32) if edges else None
    return Batch(photos if unpaired else layouts, planes, photos / 2, ["a", "b"])


def render(synthesizer: Any, batch: Batch) -> Image.Image:
    return render_samples(synthesizer, batch, seed=1)


def columns_of(sheet: Image.Image) -> int:
    return (sheet.width - MARGIN) // (CELL[1] + MARGIN)


@pytest.mark.parametrize("photo", [True, False])
def test_layouts_have_three_columns_and_a_legend(photo: bool) -> None:
    synthesizer, batch = Recorder(photo=photo), make_batch(edges=True)
    sheet = render(synthesizer, batch)
    assert columns_of(sheet) == 3
    assert sheet.height > MARGIN + TEXT_HEIGHT + 2 * (CELL[0] + MARGIN)
    assert len(synthesizer.calls) == 2
    for index, (layout, inputs) in enumerate(synthesizer.calls):
        np.testing.assert_array_equal(layout, random_layout(index, SIZE))
        np.testing.assert_array_equal(inputs["edges"], np.ones((1, *SIZE)))
        assert inputs["noise"] == 11 + 10 * index
        if photo:  # -0.5 and 0.5 of [-1, 1]
            assert np.unique(inputs["style"]).tolist() == [64 if index == 0 else 191]
        else:
            assert inputs["style"] is None


def test_an_encoder_adds_a_column_from_noise() -> None:
    synthesizer = Recorder(encoder=True, photo=True)
    assert columns_of(render(synthesizer, make_batch())) == 4
    assert len(synthesizer.calls) == 4
    for _, inputs in synthesizer.calls[::2]:
        assert inputs["style"] is not None and inputs["noise"] is None
    for _, inputs in synthesizer.calls[1::2]:
        assert "style" not in inputs and inputs["noise"] is not None
        assert inputs["edges"] is None


@pytest.mark.parametrize("encoder", [True, False])
def test_generated_samples_are_the_results_of_the_sheet(encoder: bool) -> None:
    sheet, alone = (Recorder(encoder=encoder, photo=True) for _ in range(2))
    batch = make_batch(edges=True)
    render(sheet, batch)
    images = generate_samples(alone, batch, seed=1)
    assert [image.shape for image in images] == [(*SIZE, 3)] * 2
    assert len(alone.calls) == 2
    for found, expected in zip(alone.calls, sheet.calls[:: 1 + encoder], strict=True):
        np.testing.assert_equal(found, expected)


def test_photos_have_three_columns_without_a_legend() -> None:
    synthesizer = Recorder("translation", photo=True)
    sheet = render(synthesizer, make_batch(unpaired=True))
    assert columns_of(sheet) == 3
    assert sheet.height == MARGIN + TEXT_HEIGHT + 2 * (CELL[0] + MARGIN)
    for index, (content, inputs) in enumerate(synthesizer.calls):
        assert content.dtype == np.uint8 and content.shape == (*SIZE, 3)
        assert np.unique(content).tolist() == [255 * index]
        assert np.unique(inputs["style"]).tolist() == [64 if index == 0 else 191]
        assert inputs["noise"] == 11 + 10 * index
