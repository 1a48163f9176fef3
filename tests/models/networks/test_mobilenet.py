"""NIMA on MobileNet against the reference, with weights in the layout of Keras."""

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
from models.losses import emd_loss
from models.networks.mobilenet import MobileNetNIMA, RatingHead, SeparableBlock
from tests.models.conftest import Record
from tests.models.golden import OwnPart, Vars, check, check_network, fetch
from tests.models.inputs import full, values
from tests.reference.goldens import load
from weights.variables import assign_arrays

_NORM = {"scale": "weight", "shift": "bias", "running_variance": "running_var"}
PREPARED = [
    pytest.param(False, id="network"),
    pytest.param(
        True,
        id="packed network",
        marks=pytest.mark.skipif(not packed.available(), reason="Jittor has no oneDNN"),
    ),
]


def _name_in_reference(name: str) -> str:
    """depthwise.norm.scale -> conv_dw_bn.weight, of a block or of the network."""
    for ours, theirs in (("stem", "conv1"), ("depthwise", "conv_dw"), ("pointwise", "conv_pw")):
        name = name.replace(f"{ours}.norm", f"{theirs}_bn").replace(ours, theirs)
    start, dot, last = name.rpartition(".")
    return start + dot + _NORM.get(last, last)


class ReferencePart:
    """A network whose golden has the names of the reference."""

    def load(self, network: nn.Module, state: Mapping[str, NDArray[Any]]) -> None:
        own = {_name_in_reference(name): var for name, var in network.state_dict().items()}
        counted = {name: a for name, a in state.items() if "num_batches_tracked" not in name}
        assign_arrays(own, counted, "the golden")

    def state(self, network: nn.Module) -> dict[str, NDArray[Any]]:
        state = network.state_dict().items()
        return {_name_in_reference(name): var.numpy() for name, var in state}

    def trainable(self, network: nn.Module) -> Vars:
        return {
            _name_in_reference(name): parameter
            for name, parameter in network.named_parameters()
            if not parameter.is_stop_grad()
        }


@pytest.mark.parametrize("stride", [1, 2], ids=["stride 1", "stride 2"])
def test_a_block_in_training(stride: int, record: Record) -> None:
    golden = load(f"separable_block_{stride}")
    block = SeparableBlock(**golden.options)
    result = check_network(
        golden, block, ReferencePart(), lambda network, inputs: {"y": network(inputs["x"])}, ["x"]
    )
    record(result)


def test_the_head_with_its_loss(record: Record) -> None:
    golden = load("rating_head")

    def forward(network: nn.Module, inputs: Vars) -> Vars:
        votes = inputs["votes"]
        predicted = network(inputs["x"])
        loss = emd_loss(predicted, votes / votes.sum(dim=1, keepdims=True))
        return {"distribution": predicted, "loss": loss}

    head = RatingHead(**golden.options, dropout=0.0)
    record(check_network(golden, head, OwnPart(), forward, ["x"]))


@pytest.mark.parametrize("prepared", PREPARED)
def test_as_published(prepared: bool, record: Record) -> None:
    golden = load("mobilenet_nima")
    network = MobileNetNIMA()
    ReferencePart().load(network, golden.section("state"))
    network.eval()
    if prepared:
        prepare_for_inference(network)
    image = jt.array(golden.get("in/image"))
    with jt.no_grad():
        results = {"out/pooled": network.pooled(image), "out/distribution": network(image)}
        record(check(golden, fetch(results)))


def test_the_number_of_parameters() -> None:
    # Keras counts 3,206,976 trainable ones without a top; the head has 1024 x 10 + 10
    state = MobileNetNIMA().state_dict()
    sizes = [var.numel() for name, var in state.items() if "running" not in name]
    assert sum(sizes) == 3_206_976 + 10_250


def test_only_training_drops_features() -> None:
    head = RatingHead(400)
    x = full(1.0, 2, 400)
    head.dense.weight.update(full(1.0, 10, 400) * jt.array(np.eye(10, dtype=np.float32)[:, :1]))
    head.train()
    # the first rating has the logit: sum of the kept features, 4 times as large
    kept = [float(np.log(row[0] / row[1])) / 4 for row in head(x * 0.01).numpy()]
    for count in kept:
        assert 0.7 < count < 1.3  # of 400, 100 are kept
    assert kept[0] != kept[1]
    head.eval()
    distribution = head(x * 0.01).numpy()
    np.testing.assert_allclose(np.log(distribution[:, 0] / distribution[:, 1]), 4, rtol=1e-4)
    np.testing.assert_allclose(distribution.sum(axis=1), 1, rtol=1e-6)


def test_sides_that_keras_would_pad_otherwise_are_refused() -> None:
    network = MobileNetNIMA()
    for size in ((64, 100), (225, 224)):
        with pytest.raises(ValueError, match=rf"multiples of 32, got {size[0]} x {size[1]}"):
            network(values(1, 3, *size))
