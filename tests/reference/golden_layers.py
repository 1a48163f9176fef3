"""Goldens of the layers: norms, SPADE, FADE, FAdaIN and TSIT's streams."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .golden_case import CLASSES, Case, Destination, Results, Tensors, load_network, network_case
from .layers import parameter_free_norm, spectral
from .spade import SPADE, SPADEResnetBlock
from .tsit import FADE, FADEResnetBlock, Stream, StreamResnetBlock, fadain


def spectral_norm(destination: Destination) -> None:
    """Three training passes with a gradient step of 0.5 after each, then an evaluation pass."""
    case = Case("spectral_norm", {"in_channels": 6, "out_channels": 8, "kernel_size": 3})
    case.state_of(spectral(nn.Conv2d(6, 8, 3, padding=1)))
    for index in range(3):
        case.uniform(f"x.{index}", (2, 6, 7, 9))
        case.uniform(f"cotangent.{index}", (2, 8, 7, 9), 0.1)

    def run(inputs: Tensors, state: Tensors) -> Results:
        layer = load_network(spectral(nn.Conv2d(6, 8, 3, padding=1)), state)
        results: Results = {}
        for index in range(3):
            x = inputs[f"x.{index}"].clone().requires_grad_()
            layer.zero_grad()
            output = layer(x)
            (output * inputs[f"cotangent.{index}"]).sum().backward()
            results[f"out/train.{index}"] = output
            results[f"grad/in.x.{index}"] = x.grad
            for name, parameter in layer.named_parameters():
                results[f"grad/state.{name}.{index}"] = parameter.grad.clone()
            for name, buffer in layer.named_buffers():
                results[f"after/{name}.{index}"] = buffer.clone()
            with torch.no_grad():
                for parameter in layer.parameters():
                    parameter -= 0.5 * parameter.grad
        layer.eval()
        results["out/eval.after"] = layer(inputs["x.0"])
        return results

    case.finish(run, destination)


def _norm_case(destination: Destination, kind: str) -> None:
    """Three training passes in a row on one layer, then an evaluation pass."""
    case = Case(f"{kind}_norm", {"channels": 6})
    case.state_of(parameter_free_norm(kind, 6))
    for index in range(3):
        # Not centered and of unequal scale, so that a missing mean shows.
        case.recipe(f"in/x.{index}", "uniform", (2, 6, 5, 7), low=-1.0, high=2.0 + index)
        case.uniform(f"cotangent.{index}", (2, 6, 5, 7))

    def run(inputs: Tensors, state: Tensors) -> Results:
        layer = parameter_free_norm(kind, 6).to(inputs["x.0"].dtype)
        layer.load_state_dict(state, strict=True)
        results: Results = {}
        for index in range(3):
            x = inputs[f"x.{index}"].clone().requires_grad_()
            output = layer(x)
            (output * inputs[f"cotangent.{index}"]).sum().backward()
            results[f"out/train.{index}"] = output
            results[f"grad/in.x.{index}"] = x.grad
            for name, buffer in layer.named_buffers():
                results[f"after/{name}.{index}"] = buffer.clone()
        layer.eval()
        results["out/eval"] = layer(inputs["x.0"])
        return results

    case.finish(run, destination)


def batch_norm(destination: Destination) -> None:
    _norm_case(destination, "batch")


def instance_norm(destination: Destination) -> None:
    _norm_case(destination, "instance")


def spade_layers(destination: Destination) -> None:
    """SPADE with both norms, and its residual block with both kinds of skip."""

    def prepare(case: Case) -> None:
        case.uniform("x", (2, 6, 8, 12), 2.0)
        case.ids("ids", (2, 16, 24), CLASSES)
        case.ids("instances", (2, 16, 24), 7)

    def forward(network: nn.Module, inputs: Tensors) -> Tensors:
        return {"y": network(inputs["x"], inputs["condition"])}

    common: dict[str, Any] = {
        "prepare": prepare,
        "forward": forward,
        "wanted": ("x",),
        "classes": CLASSES,
        "destination": destination,
    }
    planes = CLASSES + 1
    for norm in ("batch", "instance"):
        options = {"channels": 6, "condition_channels": planes, "norm": norm}
        network_case(f"spade_layer_{norm}", SPADE, options, **common)
        for skip, wide in (("identity", 6), ("learned", 4), ("widening", 9)):
            block = {
                "in_channels": 6,
                "out_channels": wide,
                "condition_channels": planes,
                "norm": norm,
            }
            network_case(f"spade_block_{skip}_{norm}", SPADEResnetBlock, block, **common)


def fade_layers(destination: Destination) -> None:
    """FADE with both norms, and its residual block with both kinds of skip."""

    def prepare(case: Case) -> None:
        case.uniform("x", (2, 6, 8, 12), 2.0)
        case.uniform("feature", (2, 6, 8, 12), 2.0)

    def forward(network: nn.Module, inputs: Tensors) -> Tensors:
        return {"y": network(inputs["x"], inputs["feature"])}

    common: dict[str, Any] = {
        "prepare": prepare,
        "forward": forward,
        "wanted": ("x", "feature"),
        "destination": destination,
    }
    for norm in ("batch", "instance"):
        options = {"channels": 6, "feature_channels": 6, "norm": norm}
        network_case(f"fade_layer_{norm}", FADE, options, **common)
        for skip, wide in (("identity", 6), ("learned", 4)):
            block = {"in_channels": 6, "out_channels": wide, "norm": norm}
            network_case(f"fade_block_{skip}_{norm}", FADEResnetBlock, block, **common)


def fadain_layer(destination: Destination) -> None:
    """FAdaIN with alpha 1 and 0.6, and a style map of another size than x."""
    case = Case("fadain", {})
    case.recipe("in/x", "uniform", (2, 6, 8, 12), low=-1.0, high=3.0)
    case.recipe("in/style", "uniform", (2, 6, 5, 4), low=-3.0, high=1.0)
    case.uniform("cotangent", (2, 6, 8, 12))

    def run(inputs: Tensors, state: Tensors) -> Results:
        del state
        results: Results = {}
        for label, alpha in (("1", 1.0), ("0.6", 0.6)):
            x = inputs["x"].clone().requires_grad_()
            style = inputs["style"].clone().requires_grad_()
            output = fadain(x, style, alpha=alpha)
            (output * inputs["cotangent"]).sum().backward()
            results[f"out/alpha_{label}"] = output
            results[f"grad/in.x.alpha_{label}"] = x.grad
            results[f"grad/in.style.alpha_{label}"] = style.grad
        return results

    case.finish(run, destination)


def streams(destination: Destination) -> None:
    """The residual block of a stream, and a whole stream with all its features."""

    def forward_block(network: nn.Module, inputs: Tensors) -> Tensors:
        return {"y": network(inputs["x"])}

    for skip, wide in (("identity", 6), ("learned", 9)):
        network_case(
            f"stream_block_{skip}_instance",
            StreamResnetBlock,
            {"in_channels": 6, "out_channels": wide},
            lambda case: case.uniform("x", (2, 6, 8, 12), 2.0),
            forward_block,
            wanted=("x",),
            destination=destination,
        )

    def forward(network: nn.Module, inputs: Tensors) -> Tensors:
        return {f"feature{level}": value for level, value in enumerate(network(inputs["x"]))}

    network_case(
        "stream",
        Stream,
        {"in_channels": 3, "channels": 4, "halvings": 5},
        lambda case: case.uniform("x", (2, 3, 64, 96)),
        forward,
        wanted=("x",),
        destination=destination,
    )
