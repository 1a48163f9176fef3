"""Recognize published checkpoints: which network a file holds, under the project's names.

    parts = read_parts(Path("latest_net_G.pth"))          # the generator, and perhaps its encoder
    parts[0].family, parts[0].arrays                      # "spade", {"first.weight": ndarray, ...}

Recognized by names and shapes are the generators, encoders and discriminators of NVlabs/SPADE and
EndlessSora/TSIT, in PyTorch's files and in the Jittor pickles of this design's first public
version, VGG-19 of torchvision and Jittor, and SegFormer or its encoder of NVlabs and Hugging Face.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from options.errors import UserError, list_names
from weights.finite import require_finite
from weights.published_names import (
    BATCH_COUNT,
    HUGGING_FACE,
    Family,
    UnknownNames,
    project_names,
)
from weights.segformer_names import STAGES, UNUSED, join_key_values
from weights.spectral_norm import complete_spectral_norm, renew_vectors
from weights.state_dicts import TITLES, Arrays, Found, choose, find_networks
from weights.weights_file import read_weights_file

# Family -> name of the network in a method.
NETWORKS: dict[Family, str] = {
    "spade": "generator",
    "tsit": "generator",
    "encoder": "encoder",
    "discriminator": "discriminator",
}
GENERATOR_WEIGHTS = ("first.weight", "last.weight", "blocks.0.conv_0.weight")
EMBEDDINGS = tuple(f"stages.{index}.embedding.projection.weight" for index in range(STAGES))
SEGFORMER_HEAD = ("head.projections.0.weight", "head.classifier.weight")
# Weights whose shapes determine the architecture.
NEEDED: dict[Family, tuple[str, ...]] = {
    "spade": (*GENERATOR_WEIGHTS, "blocks.0.norm_0.shared.weight"),
    "tsit": (*GENERATOR_WEIGHTS, "content_stream.blocks.0.conv_0.weight"),
    "encoder": ("layers.0.weight", "mean.weight"),
    "discriminator": ("discriminators.0.first.weight",),
    "segformer": tuple(f"encoder.{name}" for name in EMBEDDINGS) + SEGFORMER_HEAD,
    "segformer_hugging_face": tuple(f"encoder.{name}" for name in EMBEDDINGS) + SEGFORMER_HEAD,
    "mit": EMBEDDINGS,
    "mit_hugging_face": EMBEDDINGS,
}
# Format of the file of a converted network that is neither a generator nor a segmenter.
NETWORK_FORMAT = "jittor-landscape network 1"
SEGFORMERS: tuple[Family, ...] = ("segformer", "segformer_hugging_face", "mit", "mit_hugging_face")
VGG_READ = r"features\.(1?\d|2[0-8])\."  # up to relu5_1


@dataclass(frozen=True)
class Part:
    """A network of a file.

    Attributes:
        arrays: by the project's names.
        kept: arrays that the network never reads, by their published names.
        dropped: name -> reason, of arrays that are left out.
        notes: properties that are not read from the file, in words.
        key: its place in the file, dotted.
    """

    path: Path
    family: Family
    arrays: Arrays
    kept: Arrays = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    key: str = ""

    @property
    def network(self) -> str:
        """Its name in a method; empty if no method has it."""
        return NETWORKS.get(self.family, "")

    @property
    def layout_channels(self) -> int:
        """Number of layout planes that it reads; 0 if it reads no layout."""
        if self.family == "spade":
            return int(self.arrays["blocks.0.norm_0.shared.weight"].shape[1])
        if self.family == "tsit":
            return int(self.arrays["content_stream.blocks.0.conv_0.weight"].shape[1])
        if self.family == "discriminator":
            return int(self.arrays["discriminators.0.first.weight"].shape[1]) - 3
        return 0


def read_parts(path: Path, key: str | None = None) -> list[Part]:
    """Read a file of published weights: one network, or a generator and its encoder.

    key: the place in the file of the network to read, dotted. Raises UserError if the file cannot
    be read, holds no network of the families or several candidates, or numbers that are not finite.
    """
    return recognize(read_weights_file(path), path, key)


def recognize(content: Any, path: Path, key: str | None = None) -> list[Part]:
    """Recognize the network in the content of a file, and the encoder of a generator.

    Raises UserError as `read_parts`.
    """
    if not isinstance(content, dict) or not content:
        kind = "an empty dict" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise UserError(f"{path}: expected tensors by name, got {kind}. Name another file")
    contents = find_networks(content)
    chosen = choose(contents, path, key)
    left = {n.key: f"{n.title}, see --key" for n in contents.networks if n not in chosen}
    left |= dict.fromkeys(contents.names, "part of no network")
    parts = [_read_network(found, path) for found in chosen]
    first = replace(parts[0], dropped=parts[0].dropped | contents.dropped | left)
    return [first, *parts[1:]]


def _read_network(found: Found, path: Path) -> Part:
    family, arrays = found.family, dict(found.arrays)
    assert family is not None
    require_finite(arrays, path)
    notes: list[str] = []
    dropped: dict[str, str] = {}
    kept = {n: a for n, a in arrays.items() if n.rpartition(".")[2] == BATCH_COUNT}
    if family == "vgg19":
        arrays = {f"features.{n}" if n[0].isdigit() else n: a for n, a in arrays.items()}
        kept |= {name: array for name, array in arrays.items() if not re.match(VGG_READ, name)}
    elif family in SEGFORMERS:
        dropped |= {name: UNUSED[name] for name in arrays if name in UNUSED}
        arrays = {name: array for name, array in arrays.items() if name not in UNUSED}
        if family in HUGGING_FACE:
            arrays = join_key_values(arrays)
    else:
        arrays, notes = complete_spectral_norm(family, arrays, path)
    # The first version of this design kept both.
    quotients = [name for name in arrays if f"{name}_orig" in arrays]
    for name in quotients:
        del arrays[name]
    dropped |= dict.fromkeys(quotients, "follows from weight_orig, weight_u and weight_v")
    own = _rename(family, {n: a for n, a in arrays.items() if n not in kept}, path)
    _check_needed(family, own, path)
    if quotients:
        own, stale = renew_vectors(own)
        dropped |= stale
    return Part(path, family, own, kept, dropped, tuple(notes), found.key)


def _rename(family: Family, arrays: Arrays, path: Path) -> Arrays:
    """Return the arrays by the project's names; UserError for unknown names and for integers."""
    try:
        names = project_names(family, arrays)
    except UnknownNames as error:
        raise UserError(
            f"{path}: expected the names of the {TITLES[family]}, got {len(error.names)} of "
            f"{len(arrays)} names that it does not have: {list_names(error.names)}. Only published "
            "networks, with spectral norm, can be converted"
        ) from None
    integers = [name for name in names if not np.issubdtype(arrays[name].dtype, np.floating)]
    if integers:
        dtypes = sorted({str(arrays[name].dtype) for name in integers})
        raise UserError(
            f"{path}: expected floats, got {', '.join(dtypes)} in {len(integers)} tensors: "
            f"{list_names(integers)}. Save the weights before they are quantized"
        )
    return {own: arrays[name] for name, own in names.items()}


def _check_needed(family: Family, arrays: Arrays, path: Path) -> None:
    """Raise UserError unless the weights that determine the architecture are there."""
    scalar = np.zeros(())
    missing = [n for n in NEEDED.get(family, ()) if arrays.get(n, scalar).ndim not in (2, 4)]
    if missing:
        raise UserError(
            f"{path}: expected the {TITLES[family]}, got one without {list_names(missing)}. "
            "Name a complete file"
        )
