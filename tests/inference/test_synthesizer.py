"""Images of the real networks: the inputs that an image depends on, and no others."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest

from inference.synthesizer import NotFinite, Synthesizer, load_synthesizer
from models.gans import create_method
from options.errors import UserError
from options.groups import GeneratorOptions
from options.train import RunOptions
from tests.runs import SIZE
from tests.tiny import random_layout
from training.checkpoint import save_generator
from training.plan import Progress
from training.trainer import Trainer
from weights.snapshots import read_snapshot

LAYOUT = random_layout(0, SIZE).astype(np.int32)
STYLES = np.random.default_rng(1).integers(0, 256, (2, *SIZE, 3)).astype(np.uint8)
VAE: dict[str, Any] = {"generator": "spade", "vae": True, "latent_size": 4}


def with_generator(options: RunOptions, **generator: Any) -> RunOptions:
    settings = {"channels": 2, "num_downsamples": 4, **generator}
    return replace(options, generator=GeneratorOptions(**settings))


def make_synthesizer(options: RunOptions) -> Synthesizer:
    jt.set_global_seed(0)
    method = create_method(options, None)
    method.eval()
    return Synthesizer(method, options)


def test_a_snapshot_gives_the_images_of_its_trainer(options: RunOptions, tmp_path: Path) -> None:
    jt.set_global_seed(0)
    trainer = Trainer(create_method(options, None), options)
    # Before the first step the average equals the weights: change it.
    for value in trainer.ema.values.values():
        value.update(value * 1.5)
    with trainer.evaluating() as method:
        ema = Synthesizer(method, options).synthesize(LAYOUT, style=STYLES[0])
    trainer.method.eval()
    raw = Synthesizer(trainer.method, options).synthesize(LAYOUT, style=STYLES[0])
    path = save_generator(tmp_path, trainer, options, Progress(epoch=2), [])
    for weights, expected in (("ema", ema), ("raw", raw)):
        synthesizer = load_synthesizer(read_snapshot(path), weights)
        np.testing.assert_array_equal(synthesizer.synthesize(LAYOUT, style=STYLES[0]), expected)
    assert ema.shape == (*SIZE, 3) and ema.dtype == np.uint8
    assert (ema != raw).any()


def test_a_snapshot_of_other_networks_is_refused(options: RunOptions, tmp_path: Path) -> None:
    trainer = Trainer(create_method(options, None), options)
    path = save_generator(tmp_path, trainer, options, Progress(epoch=2), [])
    wider = replace(read_snapshot(path), options=with_generator(options, channels=4))
    with pytest.raises(UserError, match=r"generator-0001\.safetensors: .* misshapen: generator\."):
        load_synthesizer(wider, "ema")


def test_tsit_takes_its_style_from_a_photo(options: RunOptions) -> None:
    synthesizer = make_synthesizer(options)
    assert synthesizer.takes_photo and not synthesizer.takes_noise and not synthesizer.has_encoder
    assert synthesizer.sample_noise(0, "a") is None
    images = [synthesizer.synthesize(LAYOUT, style=style) for style in STYLES]
    assert (images[0] != images[1]).any()
    np.testing.assert_array_equal(synthesizer.synthesize(LAYOUT, style=STYLES[0]), images[0])


def test_the_dropout_of_pix2pix_depends_on_seed_and_name(options: RunOptions) -> None:
    options = replace(options, data=replace(options.data, height=32))
    synthesizer = make_synthesizer(with_generator(options, generator="pix2pix"))
    assert synthesizer.takes_noise and not synthesizer.takes_photo and not synthesizer.has_encoder
    layout = LAYOUT.repeat(2, axis=0)

    def synthesize(seed: int, name: str) -> np.ndarray:
        return synthesizer.synthesize(layout, noise=synthesizer.sample_noise(seed, name))

    first = synthesize(0, "a")
    assert (synthesize(0, "b") != first).any() and (synthesize(1, "a") != first).any()
    # Earlier images do not matter.
    np.testing.assert_array_equal(synthesize(0, "a"), first)


def test_a_generator_with_an_encoder_takes_photos_and_noise(options: RunOptions) -> None:
    synthesizer = make_synthesizer(with_generator(options, **VAE))
    assert synthesizer.has_encoder and synthesizer.takes_noise and synthesizer.takes_photo
    noise = synthesizer.sample_noise(0, "a")
    assert noise is not None and noise.shape == (1, 4) and noise.dtype == np.float32
    with_noise = synthesizer.synthesize(LAYOUT, noise=noise)
    with_style = synthesizer.synthesize(LAYOUT, style=STYLES[0])
    assert (with_noise != with_style).any()
    np.testing.assert_array_equal(synthesizer.synthesize(LAYOUT, noise=noise), with_noise)


@pytest.mark.parametrize(
    "generator", [{}, {"start": "noise"}, VAE, {**VAE, "generator": "tsit", "style_stream": False}]
)
def test_interpolation_between_two_styles(options: RunOptions, generator: dict[str, Any]) -> None:
    """The ends are the images of `synthesize`, and all images differ."""
    synthesizer = make_synthesizer(with_generator(options, **generator))
    noise = [synthesizer.sample_noise(0, name) for name in "ab"]
    vae = synthesizer.has_encoder
    ends: list[Any] = [(style, None if vae else noise[0]) for style in STYLES]
    cases = [(ends[0], ends[1])]
    if vae:
        cases += [((None, noise[0]), (None, noise[1])), (ends[0], (None, noise[1]))]
    for start, end in cases:
        images = synthesizer.interpolate(LAYOUT, start, end, 4)
        assert len(images) == 4
        for image, (style, z) in ((images[0], start), (images[3], end)):
            np.testing.assert_array_equal(
                image, synthesizer.synthesize(LAYOUT, style=style, noise=z)
            )
        assert all((a != b).any() for a, b in pairwise(images))
        # From a style to itself the image stays the same, except for rounding.
        for image in synthesizer.interpolate(LAYOUT, start, start, 3):
            assert abs(image.astype(int) - images[0]).max() <= 1


def test_tsit_interpolates_the_statistics_of_fadain(options: RunOptions) -> None:
    synthesizer = make_synthesizer(options)
    values = synthesizer.method.encode_style(jt.array(STYLES[:1].transpose(0, 3, 1, 2) / 127.5 - 1))
    assert [tuple(value.shape) for value in values[:4]] == [(1, 4, 1, 1)] * 2 + [(1, 8, 1, 1)] * 2
    assert len(values) == 2 * options.generator.num_downsamples


def test_noise_depends_only_on_seed_and_name(options: RunOptions) -> None:
    synthesizer = make_synthesizer(with_generator(options, **VAE))
    first = synthesizer.sample_noise(0, "a")
    jt.set_global_seed(9)
    np.testing.assert_array_equal(synthesizer.sample_noise(0, "a"), first)
    assert not np.array_equal(synthesizer.sample_noise(0, "b"), first)
    assert not np.array_equal(synthesizer.sample_noise(1, "a"), first)


def test_missing_instance_edges_are_zero(options: RunOptions) -> None:
    synthesizer = make_synthesizer(replace(options, data=replace(options.data, instances=True)))
    edges = np.zeros((1, *SIZE), np.float32)
    without = synthesizer.synthesize(LAYOUT, style=STYLES[0])
    np.testing.assert_array_equal(
        synthesizer.synthesize(LAYOUT, style=STYLES[0], edges=edges), without
    )
    edges[:, 8] = 1
    assert (synthesizer.synthesize(LAYOUT, style=STYLES[0], edges=edges) != without).any()


@pytest.mark.parametrize(
    ("generator", "parameter"),
    [
        (VAE, "last.weight"),
        (VAE, "first.bias"),
        ({}, "last.bias"),
        ({}, "content_stream.blocks.0.conv_0.bias"),
    ],
)
def test_output_that_is_not_finite_is_no_image(
    options: RunOptions, generator: dict[str, Any], parameter: str
) -> None:
    synthesizer = make_synthesizer(with_generator(options, **generator))
    weights = dict(synthesizer.method.networks["generator"].named_parameters())
    weights[parameter].update(jt.full_like(weights[parameter], float("nan")))
    ends: list[Any] = [(style, None) for style in STYLES]
    with pytest.raises(NotFinite, match="not finite"):
        synthesizer.synthesize(LAYOUT, style=STYLES[0])
    with pytest.raises(NotFinite, match="not finite"):
        synthesizer.interpolate(LAYOUT, ends[0], ends[1], 3)
