"""Batch-norm statistics estimated again, for weights that no training step has computed.

    count = reestimate(method.networks, forward, batches)

Needed for averaged weights: Izmailov et al. 2018, section 3.2; OASIS does it before each save.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jittor as jt
import numpy as np
from jittor import nn

from models.layers.normalization import BatchNorm

STATISTICS = ("running_mean", "running_variance")


def batch_norms(networks: Mapping[str, nn.Module]) -> dict[str, BatchNorm]:
    """Return the layers with running statistics, by the names of snapshots."""
    found: dict[str, BatchNorm] = {}
    for network, module in networks.items():
        for name, layer in module.named_modules():
            if isinstance(layer, BatchNorm):
                found[f"{network}.{name}"] = layer
    return found


def reestimate(
    networks: Mapping[str, nn.Module],
    forward: Callable[[int], object],
    batches: int,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, np.ndarray]:
    """Replace the running statistics by their means over batches; return them by name.

    networks: in evaluation mode; only their batch norms compute with the statistics of the batch
    meanwhile, as in training, so that spectral norms keep their vectors. forward: runs the networks
    on the batch of a number, 0..batches-1. Mean and variance of a channel become the arithmetic
    means of those of the batches; a batch's variance divides by its number of values less one.
    """
    layers = batch_norms(networks)
    variables = {
        f"{name}.{one}": getattr(layer, one) for name, layer in layers.items() for one in STATISTICS
    }
    if not layers:
        return {}
    try:
        for variable in variables.values():
            variable.update(jt.zeros_like(variable))
        for layer in layers.values():
            layer.is_train = True
        for number in range(batches):
            for layer in layers.values():
                layer.MOMENTUM = 1 / (number + 1)
            with jt.no_grad():
                forward(number)
            jt.sync(list(variables.values()))
            if progress is not None:
                progress(number + 1, batches)
    finally:
        for layer in layers.values():
            layer.is_train = False
            layer.MOMENTUM = BatchNorm.MOMENTUM
    return {name: variable.numpy() for name, variable in variables.items()}
