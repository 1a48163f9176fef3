"""The reference's state of NIMA as the arrays of Keras: names, order of the axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def keras_arrays(state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays as the groups and datasets of Keras' HDF5 file: `conv1/conv1/kernel:0`."""
    arrays = {}
    for name, array in state.items():
        parts = name.split(".")
        last = parts.pop()
        if last == "num_batches_tracked":
            continue
        layer = parts[-1]
        if parts[0] == "blocks":
            kind, _, norm = layer.removeprefix("conv_").partition("_")
            layer = "_".join(filter(None, ("conv", kind, str(int(parts[1]) + 1), norm)))
        if layer == "dense":
            layer, last = "dense_1", {"weight": "kernel", "bias": "bias"}[last]
            array = array.T
        elif layer.endswith("_bn"):
            last = _NORM[last]
        else:
            # torch: (out, in, rows, columns); a depthwise kernel (channels, 1, rows, columns)
            depthwise = layer.startswith("conv_dw")
            last = "depthwise_kernel" if depthwise else "kernel"
            array = np.moveaxis(array, (2, 3), (0, 1))
            array = array if depthwise else array.swapaxes(2, 3)
        arrays[f"{layer}/{layer}/{last}:0"] = np.ascontiguousarray(array)
    return arrays
