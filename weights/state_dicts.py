"""Networks in a file of weights: under keys, behind prefixes, among optimizers and counters.

found = find_networks(content)             # [Found(key="netG", family="spade", arrays=...), ...]
chosen = choose(found, path, key=None)     # the generator, and its encoder
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from options.errors import UserError, list_names
from weights.published_names import GENERATOR_FAMILIES, Family, published_table

Arrays = dict[str, np.ndarray]

# A name that only one family has; the first marker in a file decides.
MARKERS: dict[str, Family] = {
    "discriminator_0.model0.0.weight": "discriminator",
    "fc_mu.weight": "encoder",
    "content_stream.res_0.conv_1.bias": "tsit",
    "head_0.norm_0.mlp_shared.0.weight": "spade",
    "decode_head.linear_c1.proj.weight": "segformer",
    "decode_head.linear_c.0.proj.weight": "segformer_hugging_face",
    "patch_embed1.proj.weight": "mit",
    "encoder.patch_embeddings.0.proj.weight": "mit_hugging_face",
}
# Encoder -> the network that holds it, and its prefix there.
ENCODERS: dict[Family, tuple[Family, str]] = {
    "mit": ("segformer", "backbone."),
    "mit_hugging_face": ("segformer_hugging_face", "segformer."),
}
TITLES: dict[Family, str] = {
    "discriminator": "multi-scale patch discriminator of SPADE and TSIT",
    "encoder": "style encoder of SPADE and TSIT",
    "tsit": "TSIT generator",
    "spade": "SPADE generator",
    "vgg19": "VGG-19",
    "segformer": "SegFormer of NVlabs",
    "segformer_hugging_face": "SegFormer of Hugging Face",
    "mit": "SegFormer encoder (MiT) of NVlabs",
    "mit_hugging_face": "SegFormer encoder (MiT) of Hugging Face",
}
FAMILIES = "SPADE's or TSIT's generator, encoder or discriminator, VGG-19, or SegFormer"

# Places of the convolutions among VGG's `features` (Simonyan and Zisserman 2015, table 1, as
# torchvision numbers them), without and with batch norm.
VGG_PLACES: dict[str, tuple[int, ...]] = {
    "VGG-11": (0, 3, 6, 8, 11, 13, 16, 18),
    "VGG-13": (0, 2, 5, 7, 10, 12, 15, 17, 20, 22),
    "VGG-16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "VGG-19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
    "VGG-11 with batch norm": (0, 4, 8, 11, 15, 18, 22, 25),
    "VGG-13 with batch norm": (0, 3, 7, 10, 14, 17, 21, 24, 28, 31),
    "VGG-16 with batch norm": (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40),
    "VGG-19 with batch norm": (0, 3, 7, 10, 14, 17, 20, 23, 27, 30, 33, 36, 40, 43, 46, 49),
}
VGG_NEEDED = 13  # convolutions of VGG-19 up to relu5_1, the last that the perceptual loss reads

# Names of other networks, for the error if a file holds no network of the families.
OTHERS = {
    r"(^|\.)layers\.\d+\.1\.\d+\.attn\.attn\.in_proj_weight": (
        "SegFormer of a newer mmsegmentation, whose head computes another function"
    ),
    r"(^|\.)synthesis\.(b\d+|L\d+_|input)": "a StyleGAN",
    r"(^|\.)model\.diffusion_model\.": "a latent diffusion model",
    r"(^|\.)Mixed_[5-7][a-e]\.": "an Inception network",
    r"(^|\.)layer[1-4]\.\d+\.conv[12]\.weight": "a ResNet",
    r"(^|\.)lin[0-4]\.model\.1\.weight": "LPIPS' linear layers",
    r"(^|\.)body\.\d+\.conv_[01]\.": "an OASIS generator",
    r"(^|\.)model\.\d+\.conv_block\.": "a pix2pixHD or CycleGAN generator",
    r"(^|\.)model(\.model)?\.1\.model\.\d+\.": "a pix2pix U-Net",
}
COUNTERS = ("total_ops", "total_params")  # FLOP counters (thop) leave them in every layer


@dataclass(frozen=True)
class Found:
    """A network of a file.

    Attributes:
        key: its place in the file, dotted.
        family: None for a VGG of another depth; `title` names it.
        arrays: by the network's own names, without the prefix.
    """

    key: str
    family: Family | None
    title: str
    arrays: Arrays


@dataclass
class Contents:
    """The contents of a file.

    Attributes:
        networks: every network.
        dropped: key -> reason, of what is no tensor of a network.
        names: the tensors that belong to no network.
        optimizers: keys of optimizers' states.
    """

    networks: list[Found] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    optimizers: list[str] = field(default_factory=list)


def find_networks(content: Any) -> Contents:
    """Return every network in nested dictionaries of arrays."""
    found = Contents()
    if isinstance(content, dict):
        _walk(content, "", found)
    return found


def _walk(tree: Mapping[Any, Any], key: str, found: Contents) -> None:
    if "param_groups" in tree and "state" in tree:
        found.optimizers.append(key)
        found.dropped[key] = "an optimizer's state"
        return
    arrays: Arrays = {}
    for name, value in tree.items():
        place = _join(key, str(name))
        if isinstance(value, np.ndarray):
            if str(name).rpartition(".")[2] in COUNTERS:
                found.dropped[place] = "a FLOP counter's"
            else:
                arrays[str(name)] = value
        elif isinstance(value, dict):
            _walk(value, place, found)
        else:
            found.dropped[place] = "no tensor"
    _split(arrays, key, found)


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _split(arrays: Arrays, key: str, found: Contents) -> None:
    """Add the networks of one flat dictionary, each of which has its own prefix."""
    known: dict[str, tuple[Family | None, str]] = {}
    for prefix, title in _find_vgg(arrays):
        known[prefix] = ("vgg19", TITLES["vgg19"]) if title == "VGG-19" else (None, title)
    for marker, family in reversed(MARKERS.items()):
        for name in arrays:
            if name == marker or name.endswith("." + marker):
                known[name.removesuffix(marker)] = family, TITLES[family]
    for encoder, (whole, prefix) in ENCODERS.items():
        for start in [start for start, (family, _) in known.items() if family == whole]:
            if known.get(start + prefix, (None, ""))[0] == encoder:
                del known[start + prefix]
    parts: dict[str, Arrays] = {prefix: {} for prefix in known}
    deepest = sorted(known, key=len, reverse=True)
    for name, array in arrays.items():
        prefixes = [prefix for prefix in deepest if name.startswith(prefix)]
        if prefixes:
            parts[prefixes[0]][name.removeprefix(prefixes[0])] = array
        else:
            found.names.append(_join(key, name))
    for prefix, (known_family, title) in known.items():
        place = _join(key, prefix.rstrip("."))
        found.networks.append(Found(place, known_family, title, parts[prefix]))


def _find_vgg(arrays: Arrays) -> Iterator[tuple[str, str]]:
    """Yield (prefix of the network, title) of every VGG; `features` is part of its names."""
    places: dict[str, set[int]] = {}
    for name in arrays:
        if match := re.fullmatch(r"(|.*\.)(\d+)\.weight", name):
            places.setdefault(match[1], set()).add(int(match[2]))
    for prefix, numbers in places.items():
        normed = any(f"{prefix}{number}.running_mean" in arrays for number in numbers)
        if normed:
            numbers = {n for n in numbers if f"{prefix}{n}.running_mean" not in arrays}
        for title, convolutions in VGG_PLACES.items():
            least = set(convolutions[:VGG_NEEDED])
            if least <= numbers <= set(convolutions) and normed == ("norm" in title):
                # A file of the features alone has bare numbers.
                yield prefix.removesuffix("features."), title


def choose(contents: Contents, path: Path, key: str | None = None) -> list[Found]:
    """Return the network to read: the only generator, with the only encoder, or the only network.

    key: its place in the file, dotted. Raises UserError that names the keys if there are several
    candidates, and the contents of the file if there is none.
    """
    networks = contents.networks
    if key is not None:
        networks = [n for n in networks if n.key == key or n.key.startswith(key + ".")]
        if not networks:
            raise UserError(
                f"--key: expected {_keys(contents.networks) or 'no key'}, got {key}. "
                f"These are the networks in {path}"
            )
    if not networks:
        raise UserError(f"{path}: {_describe_others(contents)}")
    known = [network for network in networks if network.family is not None]
    if not known:
        raise UserError(f"{path}: expected {FAMILIES}, got {networks[0].title}. Name another file")
    generators = [network for network in known if network.family in GENERATOR_FAMILIES.values()]
    chosen = generators or known
    if len(chosen) > 1:
        raise UserError(
            f"{path}: expected one network, got {len(chosen)}: {_keys(chosen)}. Name one with --key"
        )
    encoders = [network for network in known if network.family == "encoder"]
    takes_vector = getattr(chosen[0].arrays.get("fc.weight"), "ndim", 0) == 2
    if generators and len(encoders) == 1 and takes_vector:
        chosen = [*chosen, *encoders]  # the generator's style vector comes from it
    return chosen


def _keys(networks: Iterable[Found]) -> str:
    return list_names(
        f"{network.key} ({network.title})" if network.key else f"the file itself ({network.title})"
        for network in networks
    )


def _describe_others(contents: Contents) -> str:
    """Describe a file without a known network, as the end of an error."""
    names = contents.names
    if not names and contents.optimizers:
        return f"expected {FAMILIES}, got an optimizer's state. Name the file of the network"
    if not names:
        return f"expected {FAMILIES}, got no tensors. Name another file"
    title = next(
        (title for pattern, title in OTHERS.items() if any(re.search(pattern, n) for n in names)),
        None,
    )
    shown = f"{len(names)} tensors: {list_names(names)}"
    if title is None and (nearest := _nearest(names)):
        family, count = nearest
        return (
            f"expected {FAMILIES}, got {shown}. The nearest is the {TITLES[family]}, which has "
            f"{count} of them; the others belong to another version of it"
        )
    return f"expected {FAMILIES}, got {title or 'others'}, {shown}. Name another file"


def _nearest(names: Sequence[str]) -> tuple[Family, int] | None:
    """Return the family that has the most of the names, whatever their prefix, and how many."""
    best: tuple[Family, int] | None = None
    for family in TITLES:
        table = published_table(family)
        count = sum(any(end in table for end in _endings(name)) for name in names)
        if count and (best is None or count > best[1]):
            best = family, count
    return best


def _endings(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[index:]) for index in range(len(parts)))
