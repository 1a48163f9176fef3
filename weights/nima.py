"""The weights of NIMA on MobileNet: idealo's file of Keras, its arrays as .npz or .safetensors.

    network = load_nima("nima.npz")

github.com/idealo/image-quality-assessment has `weights_mobilenet_aesthetic_0.07.hdf5`, trained on
AVA. Its names are the layers of Keras' MobileNet and one dense layer: `conv1/conv1/kernel:0`, ...,
`dense_1/dense_1/bias:0`. docs/weights.md has the command that copies the arrays into an .npz file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from options.errors import UserError, list_names
from options.paths import show_path
from weights.file_kind import read_start, weights_kind
from weights.finite import require_finite
from weights.npz_file import read_npz
from weights.safetensors_file import read_tensors
from weights.variables import load_strict, show_shape

if TYPE_CHECKING:
    from models.networks.mobilenet import MobileNetNIMA

Arrays: TypeAlias = "dict[str, NDArray]"

CONTENT = "the arrays of idealo's MobileNet"
FIX = 'docs/weights.md, "NIMA", has the command that makes the file'
HDF5 = b"\x89HDF\r\n"
# The state of the optimizer, which a whole model has next to its weights.
OPTIMIZER = "optimizer_weights"
BLOCKS = 13

# Name in `ConvNorm` -> of Keras' batch norm.
_NORM = {
    "scale": "gamma",
    "shift": "beta",
    "running_mean": "moving_mean",
    "running_variance": "moving_variance",
}
# Order of the axes of `ConvNorm` in those of Keras: rows, columns, input, output channels; of a
# depthwise kernel rows, columns, channels, 1.
_STANDARD, _DEPTHWISE = (3, 2, 0, 1), (2, 3, 0, 1)
_LAYER = re.compile(r"conv1(_bn)?|conv_(dw|pw)_\d+(_bn)?|dense(_\d+)?")


class Source(NamedTuple):
    """An array of Keras: `LAYER/ARRAY`, and the order of the project's axes in its own."""

    name: str
    axes: tuple[int, ...]


def load_nima(path: str | Path) -> MobileNetNIMA:
    """Return NIMA with the weights of a file, in evaluation mode.

    Raises UserError if the file cannot be read, holds another network, or numbers that are not
    finite.
    """
    from models.networks.mobilenet import MobileNetNIMA

    path = Path(path)
    network = MobileNetNIMA()
    arrays = name_keras(_read_arrays(path), path)
    sources = _sources()
    shapes = {
        source.name: _shape_in_keras(tuple(network.state_dict()[name].shape), source.axes)
        for name, source in sources.items()
    }
    _check(arrays, shapes, path)
    named = {
        f"network.{name}": np.ascontiguousarray(arrays[source.name].transpose(source.axes))
        for name, source in sources.items()
    }
    load_strict({"network": network}, named, path)
    network.eval()
    return network


def _read_arrays(path: Path) -> Arrays:
    """Read the arrays of an .npz or .safetensors file, under its names."""
    start, _ = read_start(path)
    if start.startswith(HDF5):
        raise UserError(
            f"{show_path(path)}: expected {CONTENT} as .npz or .safetensors, got an HDF5 file, as "
            f"Keras writes it. {FIX}"
        )
    kind = weights_kind(path)
    if kind == "safetensors":
        return read_tensors(path)[0]
    if kind == "zip":
        return read_npz(path, f"{CONTENT} as .npz", FIX)
    raise UserError(
        f"{show_path(path)}: expected {CONTENT} as .npz or .safetensors, got a file of PyTorch or "
        f"Jittor. {FIX}"
    )


def name_keras(arrays: Mapping[str, NDArray], path: Path) -> Arrays:
    """Return arrays as `LAYER/ARRAY`, such as `conv1/kernel` and `dense/bias`.

    `conv1/conv1/kernel:0`, `model_weights/conv1/conv1_1/kernel:0` and `conv1.kernel` are the same
    array. Arrays of an optimizer are left out. Raises UserError for two names of one array, or a
    name of no layer.
    """
    named: dict[str, NDArray] = {}
    for name, array in arrays.items():
        parts = re.split(r"[/.]", name)
        if OPTIMIZER in parts:
            continue
        layer = next((part for part in parts[:-1] if _LAYER.fullmatch(part)), None)
        if layer is None:
            raise UserError(
                f"{show_path(path)}: expected {CONTENT}, got an array {show_path(name)}. {FIX}"
            )
        last = re.sub(r"(_\d+)?(:\d+)?$", "", parts[-1])
        if layer.startswith("dense"):
            layer = "dense"
        elif layer.startswith("conv_dw") and last == "kernel":
            last = "depthwise_kernel"  # as Keras 3 calls it
        key = f"{layer}/{last}"
        if key in named:
            raise UserError(
                f"{show_path(path)}: expected one array {key}, got two, the second one as "
                f"{show_path(name)}. {FIX}"
            )
        named[key] = array
    return named


def _sources() -> dict[str, Source]:
    """Name in `MobileNetNIMA` -> array of Keras."""
    layers = {"stem": "conv1"}
    for block in range(BLOCKS):
        layers[f"blocks.{block}.depthwise"] = f"conv_dw_{block + 1}"
        layers[f"blocks.{block}.pointwise"] = f"conv_pw_{block + 1}"
    sources: dict[str, Source] = {}
    for name, layer in layers.items():
        depthwise = layer.startswith("conv_dw")
        kernel, axes = ("depthwise_kernel", _DEPTHWISE) if depthwise else ("kernel", _STANDARD)
        sources[f"{name}.weight"] = Source(f"{layer}/{kernel}", axes)
        for ours, theirs in _NORM.items():
            sources[f"{name}.norm.{ours}"] = Source(f"{layer}_bn/{theirs}", (0,))
    sources["head.dense.weight"] = Source("dense/kernel", (1, 0))
    sources["head.dense.bias"] = Source("dense/bias", (0,))
    return sources


def _shape_in_keras(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that `transpose(axes)` turns into `shape`."""
    return tuple(shape[axes.index(axis)] for axis in range(len(axes)))


def _check(
    arrays: Mapping[str, NDArray], shapes: Mapping[str, tuple[int, ...]], path: Path
) -> None:
    """Raise UserError unless these are finite floats of the names and shapes of the network."""
    missing = [name for name in shapes if name not in arrays]
    unexpected = [name for name in arrays if name not in shapes]
    other = [
        f"{name} {array.dtype} {show_shape(array.shape)} for float {show_shape(shapes[name])}"
        for name, array in arrays.items()
        if name in shapes and (array.shape != shapes[name] or array.dtype.kind != "f")
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another form", other))
    faults = [f"{len(names)} {kind}: {list_names(names)}" for kind, names in kinds if names]
    if faults:
        raise UserError(
            f"{show_path(path)}: expected {CONTENT}, got other ones; {'; '.join(faults)}. {FIX}"
        )
    require_finite(arrays, path)
    negative = [n for n, array in arrays.items() if n.endswith("variance") and array.min() < 0]
    if negative:
        raise UserError(
            f"{show_path(path)}: expected variances of 0 or more, got negative ones: "
            f"{list_names(negative)}. {FIX}"
        )
