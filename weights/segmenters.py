"""Segmenters in a file: SegFormer, or the small one on EfficientNet-Lite0.

    network = load_segmenter(Path("segmenter.safetensors"))     # in evaluation mode
    save_segmenter(Path("copy.safetensors"), network)

A safetensors file with the network's own names. Its metadata: `format`; `network`, "segformer" or
"efficientnet_lite0"; `classes`. Those of a SegFormer, too: `variant`, such as "B0"; `norms`, whose
epsilons the layer norms have; `mean` and `deviation` of red, green and blue in 0..255. Widths and
depths follow from the shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from options.errors import UserError
from weights.file_kind import weights_kind
from weights.finite import require_finite
from weights.published_names import HUGGING_FACE
from weights.recognize import Part
from weights.safetensors_file import Tensor, read_metadata, read_tensors, write_tensors
from weights.segformer_names import STAGES
from weights.state_dicts import Arrays
from weights.variables import assign_arrays

if TYPE_CHECKING:
    import jittor as jt

    from models.networks.lite_segmenter import LiteSegmenter
    from models.networks.segformer import Convention, SegFormer, SegFormerShape

    SegmenterNetwork: TypeAlias = SegFormer | LiteSegmenter

SEGMENTER_FORMAT = "jittor-landscape segmenter 1"
LITE = "efficientnet_lite0"
KEPT = "kept."  # arrays that the network never reads, for the way back to published files


@dataclass(frozen=True)
class Segmenter:
    """A segmenter read from a file.

    Attributes:
        norms: whose epsilons the layer norms have, "nvlabs" or "hugging_face".
        mean, deviation: of red, green and blue that the network expects, in 0..255.
        kept: arrays that the network never reads, by their published names.
    """

    path: Path
    classes: int
    norms: Convention
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    arrays: Arrays
    kept: Arrays

    def create(self) -> SegFormer:
        """Create the network with these weights, in evaluation mode.

        Raises UserError if names or shapes are not those of a SegFormer.
        """
        from models.networks.segformer import SegFormer

        network = SegFormer(
            shape=infer_shape(self.arrays, self.path),
            classes=self.classes,
            norms=self.norms,
            mean=self.mean,
            deviation=self.deviation,
        )
        assign_arrays(network.state_dict(), self.arrays, str(self.path))
        network.eval()
        return network


def load_segmenter(path: Path) -> SegmenterNetwork:
    """Load a segmenter of any kind in evaluation mode.

    Raises UserError as `read_segmenter` and `create`.
    """
    metadata = _read_metadata(path)
    if metadata.get("network") == LITE:
        return _load_lite(path, metadata)
    return read_segmenter(path).create()


def _load_lite(path: Path, metadata: Mapping[str, str]) -> LiteSegmenter:
    from models.networks.lite_segmenter import LiteSegmenter

    arrays, _ = read_tensors(path)
    require_finite(arrays, path)
    network = LiteSegmenter(classes=_parse_classes(metadata, path))
    assign_arrays(network.state_dict(), arrays, str(path))
    network.eval()
    return network


def save_segmenter(
    path: Path, network: SegmenterNetwork, values: Mapping[str, jt.Var] | None = None
) -> int:
    """Write a segmenter, atomically; returns the checksum of the file.

    values: variables that replace those of the network, such as an average.
    """
    from models.networks.lite_segmenter import LiteSegmenter

    arrays: dict[str, Tensor] = {**network.state_dict(), **(values or {})}
    if isinstance(network, LiteSegmenter):
        metadata = {"format": SEGMENTER_FORMAT, "network": LITE, "classes": str(network.classes)}
        return write_tensors(path, arrays, metadata)
    encoder = network.encoder
    metadata = segmenter_metadata(
        network.shape, network.classes, encoder.norms, encoder.mean, encoder.deviation
    )
    return write_tensors(path, arrays, metadata)


def segmenter_metadata(
    shape: SegFormerShape,
    classes: int,
    norms: Convention,
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
) -> dict[str, str]:
    """Return the metadata of a segmenter's file."""
    return {
        "format": SEGMENTER_FORMAT,
        "network": "segformer",
        "variant": describe_shape(shape),
        "classes": str(classes),
        "norms": norms,
        "mean": " ".join(map(str, mean)),
        "deviation": " ".join(map(str, deviation)),
    }


def read_classes(path: Path) -> int:
    """Return the number of classes of a segmenter; does not import Jittor.

    Raises UserError if the file is no segmenter.
    """
    return _parse_classes(_read_metadata(path), path)


def read_segmenter(path: Path) -> Segmenter:
    """Read a SegFormer.

    Raises UserError if the file is no SegFormer, cut short or damaged, or if its weights are not
    finite.
    """
    metadata = _read_metadata(path)
    tensors, _ = read_tensors(path)
    require_finite(tensors, path)
    arrays = {name: array for name, array in tensors.items() if not name.startswith(KEPT)}
    classes, norms, mean, deviation = _read_settings(metadata, path)
    segmenter = Segmenter(
        path=path,
        classes=classes,
        norms=norms,
        mean=mean,
        deviation=deviation,
        arrays=arrays,
        kept={n.removeprefix(KEPT): a for n, a in tensors.items() if n.startswith(KEPT)},
    )
    variant = describe_shape(infer_shape(arrays, path))
    if metadata.get("variant") != variant:
        raise _damaged(path, "variant", variant, metadata)
    return segmenter


def _read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a segmenter; UserError for any other file."""
    if weights_kind(path) != "safetensors":
        raise UserError(
            f"{path}: expected a segmenter, got a file of PyTorch or Jittor. Convert it: python -m "
            f"tools.convert_checkpoint {path} {path.with_suffix('.safetensors').name}"
        )
    metadata = read_metadata(path)
    found = metadata.get("format", "unknown")[:40]
    if found != SEGMENTER_FORMAT:
        raise UserError(
            f"{path}: expected a segmenter ({SEGMENTER_FORMAT}), got a file of format {found!r}. "
            "Convert the published SegFormer with python -m tools.convert_checkpoint"
        )
    return metadata


def _read_settings(
    metadata: Mapping[str, str], path: Path
) -> tuple[int, Convention, tuple[float, ...], tuple[float, ...]]:
    """Return classes, norms, mean and deviation of a file."""
    from models.networks.segformer import EPSILONS

    if metadata.get("network") != "segformer":
        raise _damaged(path, "network", "segformer", metadata)
    norms = next((norms for norms in EPSILONS if norms == metadata.get("norms")), None)
    if norms is None:
        raise _damaged(path, "norms", " or ".join(EPSILONS), metadata)
    classes = _parse_classes(metadata, path)
    colors = []
    for name in ("mean", "deviation"):
        try:
            values = tuple(float(word) for word in metadata.get(name, "").split())
        except ValueError:
            values = ()
        lowest = 0.0 if name == "mean" else 1e-3
        if len(values) != 3 or not all(lowest <= value <= 255 for value in values):
            raise _damaged(path, name, f"three numbers from {lowest:g} to 255", metadata)
        colors.append(values)
    return classes, norms, colors[0], colors[1]


def _parse_classes(metadata: Mapping[str, str], path: Path) -> int:
    classes = metadata.get("classes", "")
    if not re.fullmatch(r"[1-9]\d{0,4}", classes):
        raise _damaged(path, "classes", "a number from 1", metadata)
    return int(classes)


def _damaged(path: Path, name: str, expected: str, metadata: Mapping[str, str]) -> UserError:
    return UserError(
        f"{path}: expected {expected} as {name} in its metadata, got "
        f"{metadata.get(name, 'none')[:40]!r}. Convert or train the segmenter again"
    )


def infer_shape(arrays: Mapping[str, np.ndarray], path: Path) -> SegFormerShape:
    """Return widths, blocks and head width of the arrays of a SegFormer.

    Raises UserError if an array that they follow from is missing.
    """
    from models.networks.segformer import SegFormerShape

    widths, blocks = infer_encoder(arrays, path, "encoder.")
    head = arrays.get("head.projections.0.weight")
    if head is None or head.ndim != 2:
        raise _without(path, "head.projections.0.weight")
    return SegFormerShape(widths, blocks, int(head.shape[0]))


def infer_encoder(
    arrays: Mapping[str, np.ndarray], path: Path, prefix: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the widths and the numbers of blocks of an encoder, whose names begin with `prefix`.

    Raises UserError if an array that they follow from is missing.
    """
    widths, blocks = [], []
    for index in range(STAGES):
        stage = f"{prefix}stages.{index}"
        weight = arrays.get(f"{stage}.embedding.projection.weight")
        if weight is None or weight.ndim != 4:
            raise _without(path, f"{stage}.embedding.projection.weight")
        widths.append(int(weight.shape[0]))
        found = (re.match(rf"{re.escape(stage)}\.blocks\.(\d+)\.", name) for name in arrays)
        blocks.append(1 + max((int(match[1]) for match in found if match), default=-1))
    return tuple(widths), tuple(blocks)


def _without(path: Path, name: str) -> UserError:
    return UserError(f"{path}: expected a SegFormer, got one without {name}. Name a complete file")


def describe_shape(shape: SegFormerShape) -> str:
    """Return the name of a published variant, or the sizes of another one."""
    from models.networks.segformer import VARIANTS

    for name, published in VARIANTS.items():
        if published == shape:
            return name
    widths, blocks = (" ".join(map(str, values)) for values in (shape.widths, shape.blocks))
    return f"widths {widths}, blocks {blocks}, head {shape.head_width}"


def norms_of(part: Part) -> Convention:
    """Return whose epsilons the layer norms of a published network have."""
    return "hugging_face" if part.family in HUGGING_FACE else "nvlabs"


def create_converted(part: Part) -> SegFormer:
    """Create the network of a published SegFormer, with its weights.

    Raises UserError if names or shapes are not those of a SegFormer.
    """
    from models.networks.segformer import DEVIATION, MEAN

    classes = len(part.arrays["head.classifier.weight"])
    return Segmenter(part.path, classes, norms_of(part), MEAN, DEVIATION, part.arrays, {}).create()
