"""The style encoder beside the reference."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest

from models.networks.encoder import StyleEncoder, sample_latent
from tests.models.conftest import Record
from tests.models.golden import Part, Vars, check_network
from tests.models.inputs import full
from tests.reference.goldens import load


@pytest.mark.parametrize("name", ["encoder", "encoder_256"])
def test_as_published(name: str, record: Record) -> None:
    golden = load(name)

    def forward(network: StyleEncoder, inputs: Vars) -> Vars:
        mean, log_variance = network(inputs["image"])
        return {"mean": mean, "log_variance": log_variance}

    encoder = StyleEncoder(**golden.options)
    record(check_network(golden, encoder, Part("encoder"), forward, ["image"]))


def test_sample_latent_has_the_mean_and_the_variance() -> None:
    mean, log_variance = full(3, 20000, 2), jt.array([[0.0, np.log(4.0)]])
    drawn = sample_latent(mean, log_variance.broadcast(mean.shape)).numpy()
    np.testing.assert_allclose(drawn.mean(0), [3, 3], atol=0.05)
    np.testing.assert_allclose(drawn.std(0), [1, 2], rtol=0.03)
