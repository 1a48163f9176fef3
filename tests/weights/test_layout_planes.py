"""Layout planes that no id lights can be removed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.networks.discriminator import MultiScaleDiscriminator
from models.networks.spade import SPADEGenerator
from models.networks.tsit import TSITGenerator
from options.errors import UserError
from tests.weights.states import one, random_state, sigma
from weights.layout_planes import keep_planes


def test_unused_planes_are_removed_and_sigma_stays() -> None:
    def make() -> TSITGenerator:
        return TSITGenerator(layout_channels=12, channels=1, num_downsamples=4, style_stream=False)

    whole = one(random_state("tsit", make))
    part = keep_planes(whole, 5)
    changed = {n for n, a in whole.arrays.items() if not np.array_equal(a, part.arrays[n])}
    block = "content_stream.blocks.0"
    assert changed == {
        "first.weight",
        *(f"{block}.{conv}.{leaf}" for conv in ("conv_0", "conv_s")
          for leaf in ("weight", "spectral_norm.v")),
    }  # fmt: skip
    for conv in ("conv_0", "conv_s"):
        weight = part.arrays[f"{block}.{conv}.weight"]
        np.testing.assert_array_equal(weight, whole.arrays[f"{block}.{conv}.weight"][:, :5])
        before = sigma(whole, f"{block}.{conv}")
        assert sigma(part, f"{block}.{conv}") == pytest.approx(before, rel=1e-6)
    assert part.layout_channels == 5 and len(part.arrays[f"{block}.conv_0.weight"]) == 12
    assert part.dropped["first.weight[:, 5:12]"] == "for ids from 5 on only"


def test_a_sigma_that_cannot_be_kept() -> None:
    def make() -> TSITGenerator:
        return TSITGenerator(layout_channels=12, channels=1, num_downsamples=4, style_stream=False)

    whole = one(random_state("tsit", make))
    name = "content_stream.blocks.0.conv_0.weight"
    arrays = whole.arrays | {name: np.array(whole.arrays[name])}
    arrays[name][:, :5] = 0
    with pytest.raises(UserError, match=r"expected the same sigma of .*conv_0 without"):
        keep_planes(replace(whole, arrays=arrays), 5)


def test_unused_planes_of_spade_and_of_a_discriminator() -> None:
    part = one(random_state("spade", lambda: SPADEGenerator(layout_channels=8, channels=1)))
    kept = keep_planes(part, 3)
    assert kept.layout_channels == 3 and kept.arrays["first.weight"].shape[1] == 3
    assert len(kept.dropped) == 1 + sum(n.endswith(".shared.weight") for n in part.arrays)

    def make() -> MultiScaleDiscriminator:
        return MultiScaleDiscriminator(layout_channels=8, channels=2, layers=2, scales=2)

    part = one(random_state("discriminator", make))
    weight = keep_planes(part, 3).arrays["discriminators.1.first.weight"]
    whole = part.arrays["discriminators.1.first.weight"]
    np.testing.assert_array_equal(weight, whole[:, [0, 1, 2, 8, 9, 10]])
