"""The weights of VGG-19 for the perceptual loss: search, download, reading.

`find_weights` searches, in this order: the file of --vgg-weights, Jittor's download, torchvision's
download. If none is there and the run requires the loss, `get_weights` downloads Jittor's file, and
logs it. Training uses the internet nowhere else.
"""

from __future__ import annotations

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from data.files import replace_file
from options.errors import UserError, list_names
from options.groups import LossOptions
from weights.finite import require_finite
from weights.state_dicts import find_networks
from weights.variables import show_shape
from weights.weights_file import read_weights_file

JITTOR_NAME = "vgg19.pkl"
JITTOR_URL = "https://cg.cs.tsinghua.edu.cn/jittor/assets/build/checkpoints/" + JITTOR_NAME
TORCH_NAME = "vgg19-dcbb9e9d.pth"
TORCH_URL = "https://download.pytorch.org/models/" + TORCH_NAME
CONNECT_SECONDS = 4.0  # a server that has not answered by then is unreachable
LOG_SECONDS = 10.0  # between two lines about a download

Log: TypeAlias = Callable[[str], None]


def find_weights(loss: LossOptions, jittor_folder: Path) -> Path | None:
    """Return the file of weights on this machine, or None.

    jittor_folder: jt.compiler.ck_path. Raises UserError if the file of --vgg-weights is missing.
    """
    if loss.vgg_weights is not None:
        path = Path(loss.vgg_weights).expanduser()
        if not path.is_file():
            raise UserError(
                f"--vgg-weights: expected a file, got {path}, which is not there. To get it, "
                f"{fetch_advice()}"
            )
        return path
    torch_home = Path(os.environ.get("TORCH_HOME", "~/.cache/torch")).expanduser()
    places = (jittor_folder / JITTOR_NAME, torch_home / "hub/checkpoints" / TORCH_NAME)
    return next((path for path in places if path.is_file()), None)


def get_weights(
    loss: LossOptions, jittor_folder: Path, log: Log, *, fetch: bool = True
) -> Path | None:
    """Return the file of weights, downloaded if required; None if training does without the loss.

    fetch: False for a process that leaves the download to another one. Raises UserError, which
    tells what to download, if the run requires the loss and the weights are unavailable.
    """
    if not loss.lambda_vgg:
        return None
    path = find_weights(loss, jittor_folder)
    if path is not None or not fetch:
        return path
    if not loss.vgg_required:
        # 550 MB and twice the time per step are too much for a first try.
        log(
            "VGG-19 weights: not found, training runs without the VGG loss. To add it, use "
            f"--vgg-required, which downloads them, or {fetch_advice()}"
        )
        return None
    log(f"VGG-19 weights: not found, downloading {JITTOR_URL}")
    try:
        return download(JITTOR_URL, jittor_folder / JITTOR_NAME, log)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        raise UserError(
            f"the VGG loss needs the weights of VGG-19: the download failed ({reason}). To train "
            f"with the loss, {fetch_advice()}; to train without it, add --lambda-vgg 0"
        ) from None


def fetch_advice() -> str:
    """Return how to get the weights by hand, as the end of a sentence."""
    return f"download {TORCH_URL} and add --vgg-weights {TORCH_NAME}"


def download(url: str, path: Path, log: Log) -> Path:
    """Download `url` to `path`, atomically.

    Raises OSError if the network, the server or the disk fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as answer:
        total = int(answer.headers.get("Content-Length") or 0)
        replace_file(path, lambda file: _copy(answer, file, total, log))
    return path


def _copy(answer: BinaryIO, file: BinaryIO, total: int, log: Log) -> None:
    last = time.monotonic()
    while block := answer.read(1 << 20):
        file.write(block)
        if time.monotonic() - last > LOG_SECONDS:
            last = time.monotonic()
            log(f"  {file.tell() >> 20} of {total >> 20} MB")
    if total and file.tell() != total:
        raise urllib.error.URLError(f"expected {total} bytes, got {file.tell()}")


def read_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Read the arrays that `shapes` names `features.<n>.weight` and `.bias`, as float32.

    The file is torchvision's .pth, Jittor's .pkl or safetensors; its names may have a prefix, and
    it may hold more arrays, such as the classifier's. Raises UserError that names missing and
    misshapen arrays, another VGG, or numbers that are not finite.
    """
    arrays = _find_features(read_weights_file(path), path)
    faults = []
    for name, shape in shapes.items():
        if name not in arrays:
            faults.append(f"{name} is missing")
        elif arrays[name].shape != tuple(shape):
            faults.append(f"{name} is {show_shape(arrays[name].shape)}, not {show_shape(shape)}")
    if faults:
        raise UserError(
            f"{path}: expected the weights of VGG-19 (without batch norm), got others: "
            f"{list_names(faults)}. To get them, {fetch_advice()}"
        )
    wanted = {name: arrays[name] for name in shapes}
    require_finite(wanted, path)
    return {name: np.asarray(array, np.float32) for name, array in wanted.items()}


def _find_features(content: Any, path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the VGG-19 in a file by torchvision's names."""
    contents = find_networks(content)
    for network in contents.networks:
        if network.family == "vgg19":
            return {f"features.{n}" if n[0].isdigit() else n: a for n, a in network.arrays.items()}
    found = "no tensors"
    if contents.networks:
        found = contents.networks[0].title
    elif contents.names:
        found = f"{len(contents.names)} tensors: {list_names(contents.names)}"
    raise UserError(
        f"{path}: expected the weights of VGG-19 (without batch norm), got {found}. To get them, "
        f"{fetch_advice()}"
    )


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return a hash of the values, which is the same for every kind of file."""
    summary = hashlib.sha256()
    for name in sorted(arrays):
        summary.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return summary.hexdigest()[:16]
