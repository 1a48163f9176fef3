"""States of networks under published names, as the tests of this folder read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np

from models.networks.discriminator import MultiScaleDiscriminator
from models.networks.encoder import StyleEncoder
from models.networks.spade import SPADEGenerator
from weights.published_names import Family, to_published
from weights.recognize import Part, recognize
from weights.state_dicts import Arrays

HERE = Path("latest_net_G.pth")


def one(content: Any, path: Path = HERE, key: str | None = None) -> Part:
    """Recognize the only network of a file."""
    (part,) = recognize(content, path, key)
    return part


def published(family: Family, network: jt.nn.Module) -> Arrays:
    """Return the state of a network under its published names, all zeros: only shapes matter."""
    shapes = {name: tuple(var.shape) for name, var in network.state_dict().items()}
    return to_published(family, {name: np.zeros(s, np.float32) for name, s in shapes.items()})


def random_state(family: Family, make: Callable[[], jt.nn.Module]) -> Arrays:
    random = np.random.RandomState(0)
    return {
        name: random.uniform(-1, 1, array.shape).astype(np.float32)
        for name, array in published(family, make()).items()
    }


def encoder_state() -> Arrays:
    return random_state("encoder", lambda: StyleEncoder(channels=2, latent_size=3))


def spade_state(**options: Any) -> Arrays:
    return random_state("spade", lambda: SPADEGenerator(layout_channels=4, channels=1, **options))


def discriminator_state() -> Arrays:
    def make() -> MultiScaleDiscriminator:
        return MultiScaleDiscriminator(layout_channels=4, channels=2, layers=3, scales=2)

    return random_state("discriminator", make)


def sigma(part: Any, layer: str) -> float:
    weight = part.arrays[f"{layer}.weight"].astype(np.float64)
    u, v = (part.arrays[f"{layer}.spectral_norm.{x}"].astype(np.float64) for x in "uv")
    return float(u @ weight.reshape(len(weight), -1) @ v)


def assert_same(part: Part, expected: Part) -> None:
    assert list(part.arrays) == list(expected.arrays)
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(part.arrays[name], array, err_msg=name)
