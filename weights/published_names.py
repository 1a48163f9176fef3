"""Names of parameters in the published PyTorch checkpoints, and in this project.

    arrays = to_published("spade", arrays)      blocks.0.conv_0.weight -> head_0.conv_0.weight_orig
    arrays = from_published("spade", arrays)

Published are NVlabs/SPADE's generator, encoder and discriminator, EndlessSora/TSIT's generator (its
discriminator and encoder are SPADE's), torchvision's VGG-19, and SegFormer and its encoder (MiT) of
NVlabs and of Hugging Face. Only names differ: values and shapes are the same, except for
`segformer_names.join_key_values`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import numpy as np

from options.generators import GENERATORS
from options.train import RUN_FIELDS
from weights.segformer_names import (
    encoder_pairs,
    join_key_values,
    segformer_pairs,
    split_key_values,
)

Family = Literal[
    "spade",
    "tsit",
    "discriminator",
    "encoder",
    "vgg19",
    "segformer",
    "segformer_hugging_face",
    "mit",
    "mit_hugging_face",
]
# Families that Hugging Face publishes, with keys and values apart.
HUGGING_FACE: tuple[Family, ...] = ("segformer_hugging_face", "mit_hugging_face")
# Generator -> its family, for the generators with published weights.
GENERATOR_FAMILIES: dict[str, Family] = {"spade": "spade", "tsit": "tsit"}
Pairs = Iterator[tuple[str, str]]

# A batch norm of PyTorch counts its batches. Loading requires the count; with a momentum, nothing
# reads it.
BATCH_COUNT = "num_batches_tracked"

# The part of a parameter's name after its layer.
PLAIN = {"weight": "weight", "bias": "bias"}
SPECTRAL = {
    "weight": "weight_orig",
    "bias": "bias",
    "spectral_norm.u": "weight_u",
    "spectral_norm.v": "weight_v",
}
STATISTICS = {"running_mean": "running_mean", "running_variance": "running_var"}

# Sizes of the tables below: the largest that the options allow.
STREAM_LEVELS = 1 + GENERATORS["tsit"].max_downsamples
SCALES = int(RUN_FIELDS["discriminator_scales"].maximum or 0)
DEPTHS = range(1, 12)  # of any network

MODULATIONS = {"shared": "mlp_shared.0", "gamma": "mlp_gamma", "beta": "mlp_beta"}


def to_published(family: Family, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the whole state of a network under its published names, in the same order.

    Batch norms get a `num_batches_tracked` of 0.

    Raises:
        UnknownNames: names that this family does not have.
    """
    names = published_names(family, arrays)
    result: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        result[names[name]] = array
        if name.endswith(".running_variance"):
            layer = names[name].rpartition(".")[0]
            result[f"{layer}.{BATCH_COUNT}"] = np.zeros((), np.int64)
    return split_key_values(result) if family in HUGGING_FACE else result


def from_published(family: Family, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a published state under the project's names, in the same order, without batch counts.

    Raises:
        UnknownNames: names that this family does not have.
    """
    if family in HUGGING_FACE:
        arrays = join_key_values(arrays)
    return {name: arrays[key] for key, name in project_names(family, arrays).items()}


def published_names(family: Family, names: Iterable[str]) -> dict[str, str]:
    """Return the published name of each of a network's `names`, which must be complete.

    Complete, because the depth follows from them: TSIT counts its blocks from the finest, and the
    last layer of a discriminator carries its number.

    Raises:
        UnknownNames: names that this family does not have.
    """
    names = list(names)
    depth = _count(names, r"blocks\.(\d+)\." if family == "tsit" else r".*\.middle\.(\d+)\.")
    return _look_up(family, names, dict(_pairs(family, depth)))


def project_names(family: Family, names: Iterable[str]) -> dict[str, str]:
    """Return the project's name of each of a checkpoint's `names`, which must be complete.

    `num_batches_tracked` of a batch norm has none and is left out.

    Raises:
        UnknownNames: names that this family does not have.
    """
    names = list(names)
    depth = _count(
        names, r"(head_0|G_middle_\d+|up_\d+)\." if family == "tsit" else r".*\.model(\d+)\.0\.0\."
    )
    table = {published: name for name, published in _pairs(family, depth)}
    counts = {
        f"{published.rpartition('.')[0]}.{BATCH_COUNT}"
        for published in table
        if published.endswith(".running_var")
    }
    return _look_up(family, [name for name in names if name not in counts], table)


def published_table(family: Family) -> set[str]:
    """Return every published name of a family, at any depth."""
    return {published for depth in DEPTHS for _, published in _pairs(family, depth)}


def spectral_layers(family: Family, names: Iterable[str]) -> list[str]:
    """Return the layers among a checkpoint's `names` that have spectral norm as published."""
    ending = "." + SPECTRAL["weight"]
    table = published_table(family)
    normalized = {name.removesuffix(ending) for name in table if name.endswith(ending)}
    layers = dict.fromkeys(name.rpartition(".")[0] for name in names)
    return [layer for layer in layers if layer in normalized]


class UnknownNames(ValueError):
    """Names that a family does not have: `names`, of a network of `family`."""

    def __init__(self, family: str, names: list[str]) -> None:
        super().__init__(
            f"{len(names)} names are not of a {family} network of this depth: {', '.join(names)}"
        )
        self.names = names


def _count(names: Iterable[str], pattern: str) -> int:
    found = (re.match(pattern, name) for name in names)
    return len({match[1] for match in found if match})


def _look_up(family: str, names: Iterable[str], table: Mapping[str, str]) -> dict[str, str]:
    names = list(names)
    unknown = [name for name in names if name not in table]
    if unknown:
        raise UnknownNames(family, unknown)
    return {name: table[name] for name in names}


def _pairs(family: Family, depth: int) -> Pairs:
    """Yield every (project's name, published name) of a family.

    depth: downsamples of 'tsit'; normalized layers per scale of a 'discriminator'.
    """
    if family == "spade":
        yield from _generator(["head_0", "G_middle_0", "G_middle_1", *_finest(5)])
    elif family == "tsit":
        middle = [f"G_middle_{index}" for index in range(depth - 5)]
        yield from _generator(["head_0", *middle, *_finest(4)][-depth:] if depth else [])
        for stream in ("content_stream", "style_stream"):
            for level in range(STREAM_LEVELS):
                yield from _convolutions(f"{stream}.blocks.{level}", f"{stream}.res_{level}")
    elif family == "discriminator":
        for scale in range(SCALES):
            name, published = f"discriminators.{scale}", f"discriminator_{scale}"
            yield from _leaves(f"{name}.first", f"{published}.model0.0", PLAIN)
            for index in range(depth):
                layer = f"{published}.model{index + 1}.0.0"
                yield from _leaves(f"{name}.middle.{index}", layer, SPECTRAL)
            yield from _leaves(f"{name}.last", f"{published}.model{depth + 1}.0", PLAIN)
    elif family == "encoder":
        for index in range(6):
            yield from _leaves(f"layers.{index}", f"layer{index + 1}.0", SPECTRAL)
        yield from _leaves("mean", "fc_mu", PLAIN)
        yield from _leaves("log_variance", "fc_var", PLAIN)
    elif family in ("segformer", "segformer_hugging_face"):
        yield from segformer_pairs(hugging_face=family in HUGGING_FACE)
    elif family in ("mit", "mit_hugging_face"):
        prefix = "encoder." if family in HUGGING_FACE else ""
        for name, published in encoder_pairs(hugging_face=family in HUGGING_FACE):
            yield name, prefix + published
    else:
        for index in range(37):
            yield from _leaves(f"features.{index}", f"features.{index}", PLAIN)


def _finest(count: int) -> list[str]:
    return [f"up_{index}" for index in range(count)]


def _generator(blocks: Iterable[str]) -> Pairs:
    yield from _leaves("first", "fc", PLAIN)
    yield from _leaves("last", "conv_img", PLAIN)
    for index, block in enumerate(blocks):
        yield from _convolutions(f"blocks.{index}", block)
        for norm in ("norm_0", "norm_1", "norm_s"):
            name, published = f"blocks.{index}.{norm}", f"{block}.{norm}"
            yield from _leaves(f"{name}.norm", f"{published}.param_free_norm", STATISTICS)
            for layer, published_layer in MODULATIONS.items():
                yield from _leaves(f"{name}.{layer}", f"{published}.{published_layer}", PLAIN)


def _convolutions(name: str, published: str) -> Pairs:
    for layer in ("conv_0", "conv_1", "conv_s"):
        yield from _leaves(f"{name}.{layer}", f"{published}.{layer}", SPECTRAL)


def _leaves(name: str, published: str, leaves: Mapping[str, str]) -> Pairs:
    for leaf, published_leaf in leaves.items():
        yield f"{name}.{leaf}", f"{published}.{published_leaf}"
