"""Goldens of SPADE's and TSIT's generators, and of images of published checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from . import goldens
from .encoder import ConvEncoder
from .golden_case import (
    CLASSES,
    COARSE_ROUNDING,
    ROUNDING,
    Case,
    Destination,
    Results,
    Tensors,
    load_network,
    network_case,
)
from .layout import condition
from .spade import SPADEGenerator
from .tsit import TSITGenerator

# The name of a style photo in the files, on which its seed depends; `goldens.load` renames it.
PHOTO = "photograph"


def _image(network: nn.Module, inputs: Tensors) -> Tensors:
    if isinstance(network, TSITGenerator):
        content = inputs["condition"] if "condition" in inputs else inputs["content"]
        return {"image": network(content, inputs.get("style"), inputs.get("z"))}
    return {"image": network(inputs["condition"], inputs.get("z"))}


def spade_generators(destination: Destination) -> None:
    """Every depth, from a layout (with instance edges) and from a latent; both norms."""
    sizes = {"normal": (64, 96), "more": (128, 192), "most": (128, 256)}
    for depth in sizes:
        for start in ("layout", "latent"):
            for norm in ("batch", "instance") if depth == "normal" else ("batch",):
                vae = start == "latent"
                # With a latent, instance norm over 2 x 3 pixels amplifies rounding a hundredfold.
                coarse = vae and norm == "instance"
                size = (128, 192) if coarse else sizes[depth]
                options: dict[str, Any] = {
                    "condition_channels": CLASSES if vae else CLASSES + 1,
                    "size": size,
                    "channels": 4,
                    "halvings": depth,
                    "vae": vae,
                    "latent_size": 16,
                    "norm": norm,
                }

                def prepare(case: Case, size: tuple[int, int] = size, vae: bool = vae) -> None:
                    case.ids("ids", (2, *size), CLASSES)
                    if vae:
                        case.normal_like("z", (2, 16))
                    else:
                        case.ids("instances", (2, *size), 7)

                suffix = "" if norm == "batch" else "_instance"
                network_case(
                    f"spade_generator_{depth}_{start}{suffix}",
                    SPADEGenerator,
                    options,
                    prepare,
                    _image,
                    wanted=("z",) if vae else (),
                    classes=CLASSES,
                    rounding=COARSE_ROUNDING if coarse else ROUNDING,
                    destination=destination,
                )


def tsit_generators(destination: Destination) -> None:
    """Every depth, from layout, noise and latent; with and without the style stream.

    "7_layout" and "7_latent" are the published semantic synthesis, "7_translation" (photos in
    both streams, noise start) the published style transfer.
    """
    sizes = {5: (64, 96), 6: (128, 192), 7: (256, 384), 8: (512, 512)}
    # The streams end in instance norms over the smallest map of 4 to 6 pixels. These two sizes are
    # wider because rounding had too much effect.
    wider = {"7_latent": (256, 512), "8_layout": (512, 768)}
    variants: dict[str, dict[str, Any]] = {
        "layout": {"start": "layout", "style_stream": False},
        "latent": {"start": "latent", "style_stream": False},
        "style": {"start": "layout", "style_stream": True},
    }
    extra: dict[str, dict[str, Any]] = {
        "noise": {"start": "noise", "style_stream": True, "alpha": 0.6},
        "instance": {"start": "layout", "style_stream": True, "norm": "instance"},
    }
    cases: list[tuple[int, str, dict[str, Any]]] = []
    for halvings in sizes:
        cases += [(halvings, variant, options) for variant, options in variants.items()]
    cases += [(5, variant, options) for variant, options in extra.items()]
    cases.append((7, "translation", {"start": "noise", "style_stream": True}))
    for halvings, variant, chosen in cases:
        size = wider.get(f"{halvings}_{variant}", sizes[halvings])
        translation = variant == "translation"
        start = chosen["start"]
        options = {
            "content_channels": 3 if translation else CLASSES + 1,
            "size": size,
            "channels": 4 if halvings < 7 else 2,
            "halvings": halvings,
            "latent_size": 16,
            **chosen,
        }

        def prepare(
            case: Case,
            size: tuple[int, int] = size,
            chosen: dict[str, Any] = chosen,
            start: str = start,
            halvings: int = halvings,
            translation: bool = translation,
        ) -> None:
            if translation:
                case.uniform("content", (2, 3, *size))
            else:
                case.ids("ids", (2, *size), CLASSES)
                case.ids("instances", (2, *size), 7)
            if chosen["style_stream"]:
                case.uniform("style", (2, 3, *size))
            if start == "latent":
                case.normal_like("z", (2, 16))
            elif start == "noise":
                case.normal_like("z", (2, 3, size[0] >> halvings, size[1] >> halvings))

        wanted: tuple[str, ...] = ("style",) if chosen["style_stream"] else ()
        wanted += () if start == "layout" else ("z",)
        wanted += ("content",) if translation else ()
        network_case(
            f"tsit_generator_{halvings}_{variant}",
            TSITGenerator,
            options,
            prepare,
            _image,
            wanted=wanted,
            classes=0 if translation else CLASSES,
            destination=destination,
        )


def images(destination: Destination) -> None:
    """Images of checkpoints of every published kind, from ids and a style photo.

    Evaluation passes of settled states; the names have the prefixes "generator." and "encoder.".
    The condition may have more planes than classes, as in the first version of this design; three
    planes are a photo as content.
    """
    spade: dict[str, Any] = {"channels": 4, "latent_size": 256}
    tsit: dict[str, Any] = {"channels": 2, "halvings": 7, "size": (128, 256)}
    cases: dict[str, tuple[type[nn.Module], dict[str, Any], int]] = {
        "spade_normal": (SPADEGenerator, {**spade, "size": (64, 96), "halvings": "normal"}, 6),
        "spade_most": (SPADEGenerator, {**spade, "size": (128, 256), "halvings": "most"}, 5),
        "spade_vae": (
            SPADEGenerator,
            {**spade, "size": (64, 128), "halvings": "more", "vae": True},
            5,
        ),
        "tsit_style": (TSITGenerator, {**tsit, "style_stream": True}, 5),
        "tsit_translation": (TSITGenerator, {**tsit, "style_stream": True, "start": "noise"}, 3),
        "tsit_first_version": (
            TSITGenerator,
            {**tsit, "style_stream": False, "start": "latent"},
            12,
        ),
    }
    for name, (build, options, planes) in cases.items():
        _image_case(f"picture_{name}", build, options, planes, destination)


def _image_case(
    name: str,
    build: type[nn.Module],
    options: dict[str, Any],
    planes: int,
    destination: Destination,
) -> None:
    key = "condition_channels" if build is SPADEGenerator else "content_channels"
    case = Case(name, {**options, key: planes})
    height, width = options["size"]
    vae = options.get("vae") or options.get("start") == "latent"
    case.state_of(build(**case.golden.options), "generator.")
    if vae:
        case.state_of(ConvEncoder(channels=options["channels"]), "encoder.")
    if vae or options.get("style_stream"):
        # A photo: three planes of numbers 0..255.
        case.ids(PHOTO, (3, height, width), 256)
    if planes == 3:
        case.ids("content", (3, height, width), 256)
        case.normal_like("z", (1, 3, height >> options["halvings"], width >> options["halvings"]))
    else:
        case.ids("ids", (1, height, width), CLASSES)
    if planes == CLASSES + 1:
        case.ids("instances", (1, height, width), 7)
    case.golden.notes["classes"] = CLASSES

    def run(inputs: Tensors, state: Tensors) -> Results:
        arrays = goldens.settle({name: value.numpy() for name, value in state.items()})
        settled = {n: torch.from_numpy(arrays[n]).to(value.dtype) for n, value in state.items()}
        network = load_network(build(**case.golden.options), settled, "generator.").eval()
        precision = next(network.parameters()).dtype
        if "content" in inputs:
            arguments = [inputs["content"].to(precision)[None] / 127.5 - 1.0]
        else:
            lit = condition(inputs["ids"], CLASSES, inputs.get("instances")).to(precision)
            unlit = torch.zeros(1, planes - lit.shape[1], height, width, dtype=precision)
            arguments = [torch.cat([lit, unlit], dim=1)]
        with torch.no_grad():
            if PHOTO in inputs:
                photo = inputs[PHOTO].to(precision)[None] / 127.5 - 1.0
                if vae:
                    encoder = load_network(
                        ConvEncoder(channels=options["channels"]), settled, "encoder."
                    )
                    mean, _ = encoder.eval()(photo)
                    return {"out/eval.image": network(*arguments, z=mean)}
                arguments.append(photo)
            return {"out/eval.image": network(*arguments, z=inputs.get("z"))}

    case.finish(run, destination)
