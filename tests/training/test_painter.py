"""Painting with the real networks: what a picture depends on, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest

from models.methods import create_method
from options.errors import UserError
from options.run import GeneratorOptions, RunOptions
from training.checkpoint import read_snapshot, save_snapshot
from training.learner import Learner
from training.painter import NotFinite, Painter, load_painter
from training.phases import Progress

LAYOUT = np.kron(np.random.default_rng(0).integers(0, 4, (2, 4)), np.ones((8, 8))).astype(np.int32)
STYLES = np.random.default_rng(1).integers(0, 256, (2, 16, 32, 3)).astype(np.uint8)


def with_generator(options: RunOptions, **generator: Any) -> RunOptions:
    settings = {"channels": 2, "halvings": 4, **generator}
    return replace(options, generator=GeneratorOptions(**settings))


def make_painter(options: RunOptions) -> Painter:
    jt.set_global_seed(0)
    method = create_method(options, None)
    method.eval()
    return Painter(method, options)


def test_a_snapshot_paints_what_its_learner_painted(options: RunOptions, tmp_path: Path) -> None:
    jt.set_global_seed(0)
    learner = Learner(create_method(options, None), options)
    # Without a step the average is the weights: move it away from them.
    for value in learner.average.values.values():
        value.update(value * 1.5)
    with learner.drawing() as method:
        average = Painter(method, options).paint(LAYOUT, style=STYLES[0])
    learner.method.eval()
    raw = Painter(learner.method, options).paint(LAYOUT, style=STYLES[0])
    path = save_snapshot(tmp_path, learner, options, Progress(epoch=2), [])
    for weights, expected in (("ema", average), ("raw", raw)):
        painter = load_painter(read_snapshot(path), weights)
        np.testing.assert_array_equal(painter.paint(LAYOUT, style=STYLES[0]), expected)
    assert average.shape == (16, 32, 3) and average.dtype == np.uint8
    assert (average != raw).any()


def test_a_snapshot_of_other_networks_is_refused(options: RunOptions, tmp_path: Path) -> None:
    learner = Learner(create_method(options, None), options)
    path = save_snapshot(tmp_path, learner, options, Progress(epoch=2), [])
    wider = replace(read_snapshot(path), options=with_generator(options, channels=4))
    with pytest.raises(UserError, match=r"generator-0001\.safetensors: .* misshapen: generator\."):
        load_painter(wider, "ema")


def test_tsit_takes_its_style_from_a_photograph(options: RunOptions) -> None:
    painter = make_painter(options)
    assert painter.takes_style and not painter.takes_noise and not painter.has_encoder
    assert painter.sample_noise(0, "a") is None
    pictures = [painter.paint(LAYOUT, style=style) for style in STYLES]
    assert (pictures[0] != pictures[1]).any()
    np.testing.assert_array_equal(painter.paint(LAYOUT, style=STYLES[0]), pictures[0])


def test_the_dropout_of_pix2pix_follows_from_seed_and_name(options: RunOptions) -> None:
    options = replace(options, data=replace(options.data, height=32))
    painter = make_painter(with_generator(options, generator="pix2pix"))
    assert painter.takes_noise and not painter.takes_style and not painter.has_encoder
    layout = LAYOUT.repeat(2, axis=0)

    def paint(seed: int, name: str) -> np.ndarray:
        return painter.paint(layout, noise=painter.sample_noise(seed, name))

    first = paint(0, "a")
    assert (paint(0, "b") != first).any() and (paint(1, "a") != first).any()
    # ... and not from what was painted before.
    np.testing.assert_array_equal(paint(0, "a"), first)


def test_an_encoder_takes_either(options: RunOptions) -> None:
    painter = make_painter(with_generator(options, generator="spade", vae=True, latent_size=4))
    assert painter.has_encoder and painter.takes_noise and painter.takes_style
    noise = painter.sample_noise(0, "a")
    assert noise is not None and noise.shape == (1, 4) and noise.dtype == np.float32
    by_noise = painter.paint(LAYOUT, noise=noise)
    by_style = painter.paint(LAYOUT, style=STYLES[0])
    assert (by_noise != by_style).any()
    np.testing.assert_array_equal(painter.paint(LAYOUT, noise=noise), by_noise)


def test_between_two_styles(options: RunOptions) -> None:
    """Ends as `paint` has them, and other pictures between."""
    for generator in (
        {},
        {"start": "noise"},
        {"generator": "spade", "vae": True, "latent_size": 4},
        {"style_stream": False, "vae": True, "latent_size": 4},
    ):
        painter = make_painter(with_generator(options, **generator))
        noise = [painter.sample_noise(0, name) for name in "ab"]
        vae = painter.has_encoder
        ends: list[Any] = [(style, None if vae else noise[0]) for style in STYLES]
        cases = [(ends[0], ends[1])]
        if vae:
            cases += [((None, noise[0]), (None, noise[1])), (ends[0], (None, noise[1]))]
        for start, end in cases:
            strip = painter.paint_between(LAYOUT, start, end, 4)
            assert len(strip) == 4
            for picture, (style, z) in ((strip[0], start), (strip[3], end)):
                np.testing.assert_array_equal(picture, painter.paint(LAYOUT, style=style, noise=z))
            assert all((a != b).any() for a, b in pairwise(strip))
            # From a style to itself nothing moves.
            for picture in painter.paint_between(LAYOUT, start, start, 3):
                assert abs(picture.astype(int) - strip[0]).max() <= 1


def test_mixed_statistics_are_fadains(options: RunOptions) -> None:
    painter = make_painter(options)
    values = painter.method.encode_style(jt.array(STYLES[:1].transpose(0, 3, 1, 2) / 127.5 - 1))
    assert [tuple(value.shape) for value in values[:4]] == [(1, 4, 1, 1)] * 2 + [(1, 8, 1, 1)] * 2
    assert len(values) == 2 * options.generator.halvings


def test_noise_follows_from_seed_and_name_alone(
    options: RunOptions, create: Callable[..., Any]
) -> None:
    painter = make_painter(with_generator(options, generator="spade", vae=True, latent_size=4))
    first = painter.sample_noise(0, "a")
    jt.set_global_seed(9)
    np.testing.assert_array_equal(painter.sample_noise(0, "a"), first)
    assert not np.array_equal(painter.sample_noise(0, "b"), first)
    assert not np.array_equal(painter.sample_noise(1, "a"), first)


def test_layouts_with_borders_of_objects(options: RunOptions) -> None:
    painter = make_painter(replace(options, data=replace(options.data, instances=True)))
    edges = np.zeros((1, 16, 32), np.float32)
    without = painter.paint(LAYOUT, style=STYLES[0])
    np.testing.assert_array_equal(painter.paint(LAYOUT, style=STYLES[0], edges=edges), without)
    edges[:, 8] = 1
    assert (painter.paint(LAYOUT, style=STYLES[0], edges=edges) != without).any()


@pytest.mark.parametrize(
    ("generator", "where"),
    [
        ({"generator": "spade", "vae": True, "latent_size": 4}, "last.weight"),
        ({"generator": "spade", "vae": True, "latent_size": 4}, "first.bias"),
        ({}, "last.bias"),
        ({}, "content_stream.blocks.0.conv_0.bias"),
    ],
)
def test_no_image_is_made_of_numbers_that_are_not_finite(
    options: RunOptions, generator: dict[str, Any], where: str
) -> None:
    painter = make_painter(with_generator(options, **generator))
    weights = dict(painter.method.networks["generator"].named_parameters())
    weights[where].update(jt.full_like(weights[where], float("nan")))
    ends: list[Any] = [(style, None) for style in STYLES]
    with pytest.raises(NotFinite, match="not finite"):
        painter.paint(LAYOUT, style=STYLES[0])
    with pytest.raises(NotFinite, match="not finite"):
        painter.paint_between(LAYOUT, ends[0], ends[1], 3)
