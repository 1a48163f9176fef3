"""Weights of any kind of file, by one call.

content = read_weights_file(Path("latest_net_G.pth"))    # {"fc.weight": ndarray, ...}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.file_kind import weights_kind
from training.safe_pickle import read_pickle
from training.tensor_file import read_tensors


def read_weights_file(path: Path) -> Any:
    """What a file of weights holds: names and arrays, perhaps nested; nothing in it is run.

    PyTorch's files, Jittor's and safetensors are told apart by their content. Raises UserError
    that says what the file is instead, or how much of it is there.
    """
    if weights_kind(path) == "safetensors":
        return read_tensors(path)[0]
    return read_pickle(path)
