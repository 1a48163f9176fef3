"""A file of weights of any kind.

content = read_weights_file(Path("latest_net_G.pth"))    # {"fc.weight": ndarray, ...}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weights.file_kind import weights_kind
from weights.safe_pickle import read_pickle
from weights.safetensors_file import read_tensors


def read_weights_file(path: Path) -> Any:
    """Read names and arrays, perhaps nested; no code of the file is run.

    The content tells PyTorch's files, Jittor's and safetensors apart. Raises UserError that names
    the kind of any other file, or how much of the file is missing.
    """
    if weights_kind(path) == "safetensors":
        return read_tensors(path)[0]
    return read_pickle(path)
