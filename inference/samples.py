"""Sample sheets of a training: fixed layouts or photos, their styles, and the results."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.loader import Batch
from data.transforms import denormalize
from inference.conditioning import conditioner_of
from inference.contact_sheet import fit_cell, render_sheet
from inference.synthesizer import Synthesizer


def render_samples(synthesizer: Synthesizer, samples: Batch, seed: int) -> Image.Image:
    """A sheet with one row per sample.

    Columns: layout, photo, result, and with an encoder a result from noise; for a translation
    content, style, result. Noise depends on the seed and the sample's name.
    """
    if samples.content.ndim == 4:
        return _render_unpaired(synthesizer, samples, seed)
    conditioner = conditioner_of(synthesizer.options.data)
    cell = fit_cell(*synthesizer.size)
    titles = [conditioner.title, "photo", "result"]
    if synthesizer.has_encoder:
        titles.append("from noise")
    rows = []
    for index, stem in enumerate(samples.stems):
        layout = samples.content[index]
        row = [
            conditioner.render(layout, cell),
            _to_pixels(samples.image[index]),
            _generate(synthesizer, samples, index, seed),
        ]
        if synthesizer.has_encoder:
            edges = None if samples.edges is None else samples.edges[index]
            noise = synthesizer.sample_noise(seed, f"sample {stem}")
            row.append(synthesizer.synthesize(layout, noise=noise, edges=edges))
        rows.append(row)
    seen = np.unique(samples.content).tolist()
    return render_sheet(rows, titles, cell=cell, legend=seen, classes=synthesizer.classes)


def generate_samples(
    synthesizer: Synthesizer, samples: Batch, seed: int
) -> list[NDArray[np.uint8]]:
    """The results of a sheet of layouts: images uint8 (H, W, 3)."""
    return [_generate(synthesizer, samples, i, seed) for i in range(len(samples.stems))]


def _generate(synthesizer: Synthesizer, samples: Batch, index: int, seed: int) -> NDArray[np.uint8]:
    """The image of a layout, in the style of its photo if there is an encoder or style stream."""
    noise = None
    if not synthesizer.has_encoder:
        noise = synthesizer.sample_noise(seed, f"sample {samples.stems[index]}")
    return synthesizer.synthesize(
        samples.content[index],
        style=_to_pixels(samples.image[index]) if synthesizer.takes_photo else None,
        noise=noise,
        edges=None if samples.edges is None else samples.edges[index],
    )


def _render_unpaired(synthesizer: Synthesizer, samples: Batch, seed: int) -> Image.Image:
    rows = []
    for index, stem in enumerate(samples.stems):
        content, style = _to_pixels(samples.content[index]), _to_pixels(samples.image[index])
        noise = synthesizer.sample_noise(seed, f"sample {stem}")
        rows.append([content, style, synthesizer.synthesize(content, style=style, noise=noise)])
    return render_sheet(rows, ["content", "style", "result"], cell=fit_cell(*synthesizer.size))


def _to_pixels(planes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """float32 (3, H, W) in [-1, 1] -> uint8 (H, W, 3)."""
    return denormalize(planes.transpose(1, 2, 0))
