"""Goldens of encoder, discriminators, VGG-19 and the networks of pix2pix and pix2pixHD."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from . import losses
from .discriminator import MultiscaleDiscriminator
from .encoder import ConvEncoder
from .golden_case import CLASSES, Case, Destination, Results, Tensors, load_network, network_case
from .pix2pix import MultiscalePatchDiscriminator, UNet
from .pix2pixhd import CoarseToFine, Global
from .vgg import VGG19


def _photos(case: Case, size: tuple[int, int]) -> None:
    case.uniform("image", (2, 3, *size))


def encoder(destination: Destination) -> None:
    """Mean and log variance of images that must be resized, and of images of 256 x 256."""

    def forward(network: nn.Module, inputs: Tensors) -> Tensors:
        mean, log_variance = network(inputs["image"])
        return {"mean": mean, "log_variance": log_variance}

    for name, size in (("encoder", (96, 128)), ("encoder_256", (256, 256))):
        network_case(
            name,
            ConvEncoder,
            {"channels": 4, "latent_size": 16},
            partial(_photos, size=size),
            forward,
            wanted=("image",),
            destination=destination,
        )


def discriminators(destination: Destination) -> None:
    """All feature maps: the published form, a form with three scales, and TSIT's translation."""
    variants: dict[str, dict[str, Any]] = {
        "published": {"scales": 2, "layers": 4},
        "three_scales": {"scales": 3, "layers": 3},
        "translation": {"scales": 2, "layers": 3, "stride_one_layer": 3},
    }
    for variant, chosen in variants.items():
        network_case(
            f"discriminator_{variant}",
            MultiscaleDiscriminator,
            {"in_channels": 8, "channels": 4, **chosen},
            lambda case: case.uniform("x", (2, 8, 64, 96)),
            _all_features,
            wanted=("x",),
            destination=destination,
        )


def _all_features(network: nn.Module, inputs: Tensors) -> Tensors:
    return {
        f"scale{scale}.layer{layer}": feature
        for scale, features in enumerate(network(inputs["x"]))
        for layer, feature in enumerate(features)
    }


def pix2pix(destination: Destination) -> None:
    """U-Nets with both norms, with and without dropout, and the 70 x 70 discriminator."""
    cases: list[tuple[int, tuple[int, int], str, bool]] = [
        (5, (64, 96), "batch", True),
        (5, (64, 96), "instance", True),
        (7, (256, 384), "batch", False),
    ]
    for halvings, size, norm, dropout in cases:
        options = {
            "condition_channels": CLASSES,
            "channels": 4,
            "halvings": halvings,
            "norm": norm,
        }

        def prepare(
            case: Case,
            size: tuple[int, int] = size,
            halvings: int = halvings,
            dropout: bool = dropout,
        ) -> None:
            case.ids("ids", (2, *size), CLASSES)
            if dropout:
                case.normal_like("noise", (2, dropout_length(size, 4, halvings)))

        network_case(
            f"pix2pix_generator_{halvings}_{norm}",
            UNet,
            options,
            prepare,
            lambda network, inputs: {"image": network(inputs["condition"], inputs.get("noise"))},
            classes=CLASSES,
            destination=destination,
        )
    for norm in ("batch", "instance"):
        network_case(
            f"pix2pix_discriminator_{norm}",
            MultiscalePatchDiscriminator,
            {"in_channels": 8, "channels": 4, "norm": norm, "padding": 1},
            lambda case: case.uniform("x", (2, 8, 64, 96)),
            _all_features,
            wanted=("x",),
            destination=destination,
        )


def dropout_length(size: tuple[int, int], channels: int, halvings: int) -> int:
    """Number of values of the decoder's three coarsest features."""
    levels = range(halvings - 3, halvings)
    wide = {level: channels * min(2 ** (level - 1), 8) for level in levels}
    return sum(wide[level] * (size[0] >> level) * (size[1] >> level) for level in levels)


def pix2pixhd(destination: Destination) -> None:
    """The global generator alone, both generators, and the three-scale discriminator."""
    cases: list[tuple[str, Callable[..., nn.Module], int, tuple[int, int]]] = [
        ("global", Global, 4, (64, 96)),
        ("4", CoarseToFine, 4, (64, 96)),
        ("5", CoarseToFine, 5, (128, 192)),
    ]
    for name, build, halvings, size in cases:

        def prepare(case: Case, size: tuple[int, int] = size) -> None:
            case.ids("ids", (2, *size), CLASSES)
            case.ids("instances", (2, *size), 7)

        network_case(
            f"pix2pixhd_generator_{name}",
            build,
            {"condition_channels": CLASSES + 1, "channels": 4, "halvings": halvings},
            prepare,
            lambda network, inputs: {"image": network(inputs["condition"])},
            classes=CLASSES,
            destination=destination,
        )
    network_case(
        "pix2pixhd_discriminator",
        MultiscalePatchDiscriminator,
        {"in_channels": 8, "channels": 4, "scales": 3},
        lambda case: case.uniform("x", (2, 8, 128, 192)),
        _all_features,
        wanted=("x",),
        destination=destination,
    )


def vgg19(destination: Destination) -> None:
    """The five maps and the perceptual loss with both distances, for random weights."""
    case = Case("vgg19", {})
    case.state_of(VGG19())
    case.uniform("image", (1, 3, 32, 48))
    case.uniform("target", (1, 3, 32, 48))

    def run(inputs: Tensors, state: Tensors) -> Results:
        # Its gradients are not stored; they lead from a kink to the parameter that shifts it.
        network = load_network(VGG19(), state).requires_grad_()
        results: Results = {}
        with torch.no_grad():
            target = network(inputs["target"])
        for distance in ("l1", "cosine"):
            image = inputs["image"].clone().requires_grad_()
            maps = network(image)
            loss = losses.perceptual(maps, target, distance=distance)
            loss.backward()
            results[f"out/{distance}"] = loss
            results[f"grad/in.image.{distance}"] = image.grad
        names = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
        results |= {f"out/{name}": value for name, value in zip(names, maps, strict=True)}
        return results

    case.finish(run, destination)
