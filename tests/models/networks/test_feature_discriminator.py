"""The discriminator of frozen features; tests.models.gans.test_base compares it with the golden."""

from __future__ import annotations

import jittor as jt
import numpy as np

from models.networks.feature_discriminator import FeatureDiscriminator
from tests.models.golden import fetch
from tests.models.inputs import shape, values

CHANNELS, SIZES = (4, 8, 10, 16), ((16, 16), (8, 8), (4, 4), (2, 2))


def test_every_batch_has_scores_per_map_and_all_share_a_power_iteration() -> None:
    network = FeatureDiscriminator(feature_channels=CHANNELS, channels=2)
    maps = [
        [values(2, count, *size, seed=seed) for count, size in zip(CHANNELS, SIZES, strict=True)]
        for seed in range(2)
    ]
    start = fetch(network.state_dict())
    (alone,) = network(maps[:1])
    jt.sync(alone)
    after_one = fetch(network.state_dict())
    for name, var in network.state_dict().items():
        var.update(jt.array(start[name]))
    scores = network(maps)
    assert [[shape(x) for x in part] for part in scores] == [[(2, 1, *s) for s in SIZES]] * 2
    for found, expected in zip(scores[0], alone, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
    after_two = fetch(network.state_dict())
    for name, array in after_two.items():
        np.testing.assert_allclose(array, after_one[name], rtol=1e-5, atol=1e-6)
        if "spectral_norm" in name and array.size > 1:
            assert (array != start[name]).any(), name
