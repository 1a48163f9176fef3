"""Style encoder against the reference, and its shapes."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest

from models.networks.encoder import StyleEncoder, sample_latent
from tests.models.conftest import Record
from tests.models.golden import Part, Vars, check_network
from tests.models.inputs import full, record_shapes, shape, values
from tests.reference.goldens import load


@pytest.mark.parametrize("name", ["encoder", "encoder_256"])
def test_as_published(name: str, record: Record) -> None:
    golden = load(name)

    def forward(network: StyleEncoder, inputs: Vars) -> Vars:
        mean, log_variance = network(inputs["image"])
        return {"mean": mean, "log_variance": log_variance}

    encoder = StyleEncoder(**golden.options)
    record(check_network(golden, encoder, Part("encoder"), forward, ["image"]))


def test_shapes() -> None:
    encoder = StyleEncoder(channels=2, latent_size=16)
    shapes = record_shapes(encoder.layers)
    assert [shape(output) for output in encoder(values(3, 3, 37, 53))] == [(3, 16)] * 2
    widths_and_sides = [(2, 128), (4, 64), (8, 32), (16, 16), (16, 8), (16, 4)]
    assert shapes == [(3, width, side, side) for width, side in widths_and_sides]


def test_sample_latent_has_the_mean_and_the_variance() -> None:
    mean, log_variance = full(3, 20000, 2), jt.array([[0.0, np.log(4.0)]])
    sampled = sample_latent(mean, log_variance.broadcast(mean.shape)).numpy()
    assert sampled.shape == (20000, 2)
    np.testing.assert_allclose(sampled.mean(0), [3, 3], atol=0.05)
    np.testing.assert_allclose(sampled.std(0), [1, 2], rtol=0.03)
