"""Goldens of SegFormer: training passes, names, epsilons, the head on other maps; its losses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from . import losses
from .golden_case import CLASSES, Case, Destination, Results, Tensors, load_network, network_case
from .segformer import Head, HuggingFace, SegFormer, standardize

SMALL: dict[str, Any] = {
    "widths": [4, 8, 10, 16],
    "blocks": [1, 1, 1, 2],
    "head_width": 8,
    "classes": CLASSES,
}
B0: dict[str, Any] = {
    "widths": [32, 64, 160, 256],
    "blocks": [2, 2, 2, 2],
    "head_width": 256,
    "classes": 29,
}
# Widths of EfficientNet-Lite0 at 1/4, 1/8, 1/16 and 1/32.
HEAD: dict[str, Any] = {"channels": [24, 40, 112, 320], "width": 16, "classes": CLASSES}


# Layers whose results a layer norm reads, in both namings.
BEFORE_NORMS = r"patch_embed|\.sr\.|attn\.proj\.|output\.dense\.|mlp\.(fc|dense)2\."


def segformers(destination: Destination) -> None:
    """Logits, cross-entropy at the size of the labels, and gradients."""
    cases: list[tuple[str, dict[str, Any], int, tuple[int, int]]] = [
        # Maps of 12 x 18, 6 x 9, 3 x 5 and 2 x 3: no side is a multiple of its reduction.
        ("small", SMALL, 2, (45, 70)),
        ("b0", B0, 1, (64, 96)),
    ]
    for name, options, batch, size in cases:

        def prepare(
            case: Case,
            options: dict[str, Any] = options,
            batch: int = batch,
            size: tuple[int, int] = size,
        ) -> None:
            case.uniform("image", (batch, 3, *size))
            case.ids("labels", (batch, *size), options["classes"])

        network_case(
            f"segformer_{name}",
            SegFormer,
            options,
            prepare,
            _loss_and_logits,
            wanted=("image",),
            destination=destination,
        )
    _epsilons(destination, "nvlabs", SegFormer)
    _epsilons(destination, "hugging_face", HuggingFace)
    _head(destination)


STEPS, WARMUP, RATE = 3, 2, 1e-4


def segmenter_steps(destination: Destination) -> None:
    """Training steps with SegFormer's recipe: AdamW by groups, warm-up and poly decay.

    As published: no decay for names with "norm", ten times the rate for names with "head"; the
    warm-up starts at 1e-6 of the rate.
    """
    size, ignored = (45, 70), CLASSES
    case = Case("segmenter_steps", {**SMALL, "steps": STEPS}, has_steps=True)
    case.state_of(SegFormer(**SMALL))
    for step in range(STEPS):
        case.uniform(f"{step}.image", (2, 3, *size))
        case.ids(f"{step}.labels", (2, *size), ignored + 1)

    def run(inputs: Tensors, state: Tensors) -> Results:
        network = load_network(SegFormer(**SMALL), state).train()
        groups = [
            {
                "params": [parameter],
                "weight_decay": 0.0 if "norm" in name else 0.01,
                "factor": 10.0 if "head" in name else 1.0,
            }
            for name, parameter in network.named_parameters()
        ]
        optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.999))
        results: Results = {}
        for step in range(STEPS):
            rate = RATE * (1 - step / STEPS)
            if step < WARMUP:
                rate *= 1 - (1 - step / WARMUP) * (1 - 1e-6)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            labels = inputs[f"{step}.labels"]
            logits = network(standardize(inputs[f"{step}.image"]))
            resized = F.interpolate(
                logits, size=labels.shape[1:], mode="bilinear", align_corners=False
            )
            loss = F.cross_entropy(resized, labels.long(), ignore_index=ignored)
            optimizer.zero_grad()
            loss.backward()
            if step == 0:
                for name, parameter in network.named_parameters():
                    assert parameter.grad is not None
                    results[f"grad/state.{name}"] = parameter.grad.clone()
            optimizer.step()
            results[f"out/{step}.loss"] = loss.reshape(1)
        for name, value in network.state_dict().items():
            if name.endswith("kv.bias"):
                continue  # softmax ignores a bias of the keys: rounding decides how it moves
            results[f"after/{name}"] = value.clone()
            if name in dict(network.named_parameters()):
                results[f"change/{name}"] = value - state[name]
        return results

    case.finish(run, destination)


def _loss_and_logits(network: nn.Module, inputs: Tensors) -> Tensors:
    logits = network(standardize(inputs["image"]))
    size = inputs["labels"].shape[1:]
    resized = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    loss = F.cross_entropy(resized, inputs["labels"].long()).reshape(1)
    return {"logits": logits, "loss": loss}


def _epsilons(destination: Destination, name: str, build: Callable[..., nn.Module]) -> None:
    """Evaluation of a network whose norms see variances of about 1e-5, as their epsilons."""
    case = Case(f"segformer_epsilons_{name}", SMALL)
    case.state_of(build(**SMALL))
    for key, recipe in case.golden.recipes.items():
        if re.search(BEFORE_NORMS, key):
            recipe |= {side: 0.003 * recipe[side] for side in ("low", "high")}
    case.uniform("image", (1, 3, 45, 70))

    def run(inputs: Tensors, state: Tensors) -> Results:
        network = load_network(build(**SMALL), state).eval()
        with torch.no_grad():
            return {"out/eval.logits": network(standardize(inputs["image"]))}

    case.finish(run, destination)


def _head(destination: Destination) -> None:
    """The head alone, on the maps of EfficientNet-Lite0 for 72 x 104 pixels."""
    sizes = [(18, 26), (9, 13), (5, 7), (3, 4)]

    def prepare(case: Case) -> None:
        for index, (channels, size) in enumerate(zip(HEAD["channels"], sizes, strict=True)):
            case.uniform(f"map.{index}", (2, channels, *size))

    network_case(
        "mlp_head",
        Head,
        HEAD,
        prepare,
        lambda network, inputs: {"logits": network([inputs[f"map.{i}"] for i in range(4)])},
        wanted=tuple(f"map.{index}" for index in range(4)),
        destination=destination,
    )


IGNORED = CLASSES  # an id that is no class


def segmentation_losses(destination: Destination) -> None:
    """Cross entropy at the size of the labels, with and without an ignored id, and -log m."""
    case = Case("segmentation_losses", {"ignored": IGNORED, "ignored_class": 2})
    case.uniform("logits", (2, CLASSES, 9, 13), 3.0)
    case.ids("labels", (2, 35, 50), CLASSES)
    case.ids("labels_with_ignored", (2, 35, 50), CLASSES + 1)

    def run(inputs: Tensors, state: Tensors) -> Results:
        del state
        results: Results = {}
        for label in ("all", "ignored", "ignored_class", "mask_probability"):
            logits = inputs["logits"].clone().requires_grad_()
            labels = inputs["labels_with_ignored" if label == "ignored" else "labels"].long()
            if label == "mask_probability":
                loss = losses.mask_probability(logits, labels)
            else:
                index = case.golden.options.get(label, -100)
                loss = losses.segmentation(logits, labels, ignore_index=index)
            loss.backward()
            results[f"out/{label}"] = loss.reshape(1)
            results[f"grad/in.logits.{label}"] = logits.grad
        return results

    case.finish(run, destination)
