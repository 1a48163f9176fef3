"""The weights of VGG-19 for the perceptual loss: found, fetched, read.

Looked for, in this order: the file of --vgg-weights, Jittor's own download, torchvision's; then,
where the schedule requires them, Jittor's download is tried, with a line that says so. This is the
only place where training goes online.
"""

from __future__ import annotations

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data.files import replace_file
from options.errors import UserError, list_names
from options.run import LossOptions
from training.finite import require_finite
from training.state_dicts import find_networks
from training.weights_file import read_weights_file

JITTOR_NAME = "vgg19.pkl"
JITTOR_URL = "https://cg.cs.tsinghua.edu.cn/jittor/assets/build/checkpoints/" + JITTOR_NAME
TORCH_NAME = "vgg19-dcbb9e9d.pth"
TORCH_URL = "https://download.pytorch.org/models/" + TORCH_NAME
CONNECT_SECONDS = 4.0  # without an answer by then there is no network

Say = Callable[[str], None]


def find_weights(loss: LossOptions, jittor_folder: Path) -> Path | None:
    """The file of weights that is here already, or None; `jittor_folder` is jt.compiler.ck_path.

    Raises UserError where --vgg-weights names a file that is not there.
    """
    if loss.vgg_weights is not None:
        path = Path(loss.vgg_weights).expanduser()
        if not path.is_file():
            raise UserError(f"--vgg-weights is a file: {path} is not there; {fetch_advice()}")
        return path
    torch_home = Path(os.environ.get("TORCH_HOME", "~/.cache/torch")).expanduser()
    places = (jittor_folder / JITTOR_NAME, torch_home / "hub/checkpoints" / TORCH_NAME)
    return next((path for path in places if path.is_file()), None)


def get_weights(
    loss: LossOptions, jittor_folder: Path, say: Say, *, fetch: bool = True
) -> Path | None:
    """The file of weights, downloaded where they are required; None where training goes without.

    `fetch` is off in those processes of a run that leave the download to another. Raises UserError
    where the weights cannot be had and `vgg_required` is on; it says what to fetch.
    """
    if not loss.lambda_vgg:
        return None
    path = find_weights(loss, jittor_folder)
    if path is not None or not fetch:
        return path
    if not loss.vgg_required:
        # 550 MB, and twice the time a step: more than a first look should cost unasked.
        say(
            "VGG-19 weights: none here: training goes on without the VGG loss; for it, "
            f"--vgg-required downloads them, or {fetch_advice()}"
        )
        return None
    say(f"VGG-19 weights: none here; trying Jittor's download, {JITTOR_URL}")
    try:
        return download(JITTOR_URL, jittor_folder / JITTOR_NAME, say)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        raise UserError(
            f"the VGG loss needs the weights of VGG-19: the download failed ({reason}); "
            f"{fetch_advice()}, or train without that loss: --lambda-vgg 0"
        ) from None


def fetch_advice() -> str:
    """What to fetch and where to put it, as the end of a sentence."""
    return f"fetch {TORCH_URL} and give --vgg-weights {TORCH_NAME}"


def download(url: str, path: Path, say: Say) -> Path:
    """Fetch `url` to `path`, whole or not at all.

    Raises OSError where the network, the server or the disk fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as answer:
        total = int(answer.headers.get("Content-Length") or 0)
        replace_file(path, lambda file: _copy(answer, file, total, say))
    return path


def _copy(answer: BinaryIO, file: BinaryIO, total: int, say: Say) -> None:
    told = time.monotonic()
    while block := answer.read(1 << 20):
        file.write(block)
        if time.monotonic() - told > 10:
            told = time.monotonic()
            say(f"  {file.tell() >> 20} of {total >> 20} MB")
    if total and file.tell() != total:
        raise urllib.error.URLError(f"{file.tell()} bytes came of {total}")


def read_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The arrays called `features.<n>.weight` and `.bias` that `shapes` names, float32.

    The file may be torchvision's .pth, Jittor's .pkl or safetensors, have a prefix before the
    names, and hold more than that (the classifier). Raises UserError that names missing and
    misshapen arrays, another VGG, or numbers that are not finite.
    """
    arrays = _find_features(read_weights_file(path), path)
    faults = []
    for name, shape in shapes.items():
        found = getattr(arrays.get(name), "shape", None)
        if found is None:
            faults.append(f"{name} is missing")
        elif found != tuple(shape):
            faults.append(f"{name} is {'x'.join(map(str, found))}, not {'x'.join(map(str, shape))}")
    if faults:
        raise UserError(
            f"{path}: these are not the weights of VGG-19 (without batch norm): "
            f"{list_names(faults)}; {fetch_advice()}"
        )
    wanted = {name: arrays[name] for name in shapes}
    require_finite(wanted, path)
    return {name: np.asarray(array, np.float32) for name, array in wanted.items()}


def _find_features(content: Any, path: Path) -> dict[str, np.ndarray]:
    """The arrays of VGG-19 by torchvision's names, wherever in the file they are."""
    contents = find_networks(content)
    others = [network.title for network in contents.networks if network.family != "vgg19"]
    found = [network.arrays for network in contents.networks if network.family == "vgg19"]
    if not found:
        what = f"{len(contents.names)} tensors: {list_names(contents.names)}"
        raise UserError(
            f"{path}: expected the weights of VGG-19 (without batch norm), got "
            f"{others[0] if others else what if contents.names else 'no tensors'}; {fetch_advice()}"
        )
    return {f"features.{n}" if n[0].isdigit() else n: array for n, array in found[0].items()}


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """A name for the weights' values, the same from whichever kind of file they came."""
    summary = hashlib.sha256()
    for name in sorted(arrays):
        summary.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return summary.hexdigest()[:16]
