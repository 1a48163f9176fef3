"""EfficientNet-Lite0 against the reference, with random weights and with ImageNet's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jittor as jt
import numpy as np
import pytest
from jittor import nn
from numpy.typing import NDArray

from models.kernels import packed
from models.layers.convolution import prepare_for_inference
from models.networks.efficientnet import EfficientNetLite0, InvertedResidual
from tests.models.conftest import Record
from tests.models.golden import Vars, check_network, fetch
from tests.reference import photos
from tests.reference.goldens import Golden, load, names
from weights.backbones import load_efficientnet, name_efficientnet
from weights.variables import assign_arrays, load_strict

# Of the norm of a feature map, and of its largest value.
RELATIVE, ABSOLUTE = 4e-5, 1e-4
PREPARED = [
    False,
    pytest.param(
        True, marks=pytest.mark.skipif(not packed.available(), reason="Jittor has no oneDNN")
    ),
]


class BlockPart:
    """A block whose golden has the package's names."""

    def load(self, network: nn.Module, state: Mapping[str, NDArray[Any]]) -> None:
        named = name_efficientnet({f"_blocks.0.{name}": name for name in state})
        self.names = {ours.removeprefix("network.blocks.0."): name for ours, name in named.items()}
        arrays = {ours: state[name] for ours, name in self.names.items()}
        assign_arrays(network.state_dict(), arrays, "the golden")

    def state(self, network: nn.Module) -> dict[str, NDArray[Any]]:
        return {self.names[name]: var.numpy() for name, var in network.state_dict().items()}

    def trainable(self, network: nn.Module) -> Vars:
        return {
            self.names[name]: parameter
            for name, parameter in network.named_parameters()
            if not parameter.is_stop_grad()
        }


@pytest.mark.parametrize("name", names("inverted_residual_"))
def test_a_block_in_training(name: str, record: Record) -> None:
    golden = load(name)
    block = InvertedResidual(**golden.options)
    result = check_network(
        golden, block, BlockPart(), lambda network, inputs: {"y": network(inputs["x"])}, ["x"]
    )
    record(result)


def check_results(golden: Golden, network: EfficientNetLite0, image: jt.Var) -> NDArray[Any]:
    """Compares all features, pooled and logits; returns the logits."""
    with jt.no_grad():
        taps = network.features(image)
        results = {f"stride{4 << index}": tap for index, tap in enumerate(taps)}
        results |= {"pooled": network.pooled(image), "logits": network.logits(image)}
        arrays = fetch(results)
    assert set(arrays) == set(golden.keys("out"))
    for name, array in arrays.items():
        difference = golden.difference(f"out/{name}", array)
        assert difference.relative < RELATIVE, name
        assert difference.absolute < ABSOLUTE * np.abs(array).max(), name
    return arrays["logits"]


@pytest.mark.parametrize("prepared", PREPARED)
def test_as_the_reference(prepared: bool) -> None:
    golden = load("efficientnet_lite0")
    network = EfficientNetLite0()
    load_strict({"network": network}, name_efficientnet(golden.section("state")), "the golden")
    network.eval()
    if prepared:
        prepare_for_inference(network)
    check_results(golden, network, jt.array(golden.get("in/image")))


@pytest.mark.skipif(not photos.available(), reason="no real photos here")
def test_it_recognizes_real_photos() -> None:
    network = load_efficientnet()
    prepare_for_inference(network)
    image = jt.array(photos.read_photos())
    logits = check_results(load("efficientnet_photos"), network, image)
    assert logits.argmax(axis=1).tolist() == list(photos.CLASSES.values())


def test_the_number_of_parameters() -> None:
    state = EfficientNetLite0().state_dict()
    sizes = [var.numel() for name, var in state.items() if "running" not in name]
    assert sum(sizes) == 4_652_008
