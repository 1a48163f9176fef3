"""Times a network of tools.evaluate, or a segmenter's training step, in PyTorch.

    python -m tests.reference.time_metrics --network lite0 --pass forward \\
        --size 384 512 --batch 8 --folder DIR --channels-last

The counterpart of tools/dev/benchmarks/time_metrics.py, which has written the weights to the
folder. A step updates the same parameters.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tools.dev.benchmarks.time_metrics import (
    CLASSES,
    FEATURES,
    OPTIMIZER,
    RATE,
    SEGMENTER,
    STEPS,
    THEIRS,
    TRAINED,
    WEIGHTS,
    make_batch,
    make_parser,
)
from tools.dev.benchmarks.time_network import print_times

from . import losses
from .efficientnet import EfficientNetLite0
from .lite_segmenter import LiteSegmenter
from .segformer import SegFormer, standardize

COUNT = "num_batches_tracked"


def main() -> None:
    """Measures and prints."""
    parser = make_parser(__doc__)
    parser.add_argument("--channels-last", action="store_true", help="order of the memory")
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    print_times(lambda: _prepare(options), options.rounds, gpu=False)


def _prepare(options: argparse.Namespace) -> Callable[[], object]:
    """A function that runs the pass once; writes its results first."""
    batch, ids = make_batch(options.batch, *options.size)
    image, labels = torch.from_numpy(batch), torch.from_numpy(ids).long()
    network = _load(options.network, options.folder).train(options.kind == "step")
    if options.channels_last:
        network = network.to(memory_format=torch.channels_last)
        image = image.contiguous(memory_format=torch.channels_last)
    results = options.folder / THEIRS
    if options.kind == "step":
        trained = (options.folder / TRAINED).read_text().splitlines()
        for key, parameter in network.named_parameters():
            parameter.requires_grad_(key in trained)
        step = _step(options.network, network, image, labels)
        np.savez(results, losses=np.array([step() for _ in range(STEPS)]))
        return step
    if options.network == FEATURES:
        pooled = _pool(network, image)
        np.savez(results, pooled=pooled())
        return pooled
    with torch.no_grad():
        logits = _logits(options.network, network, image).numpy()
    segment = _segment(options.network, network, image)
    np.savez(results, logits=logits, classes=segment())
    return segment


def _load(name: str, folder: Path) -> nn.Module:
    network: nn.Module
    if name == "lite0":
        network = LiteSegmenter(CLASSES)
    elif name == FEATURES:
        network = EfficientNetLite0()
    else:
        network = SegFormer(
            widths=(32, 64, 160, 256), blocks=(2, 2, 2, 2), head_width=256, classes=CLASSES
        )
    with np.load(folder / WEIGHTS) as arrays:
        state = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    counts = {key: value for key, value in network.state_dict().items() if key.endswith(COUNT)}
    network.load_state_dict(counts | state)
    return network


def _logits(name: str, network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    return network(image if name == "lite0" else standardize(image))


def _segment(name: str, network: nn.Module, image: torch.Tensor) -> Callable[[], np.ndarray]:
    size = image.shape[2:]

    def run() -> np.ndarray:
        with torch.no_grad():
            logits = _logits(name, network, image)
            resized = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
            return resized.argmax(dim=1).int().numpy()

    return run


def _pool(network: nn.Module, image: torch.Tensor) -> Callable[[], np.ndarray]:
    def run() -> np.ndarray:
        with torch.no_grad():
            return network.pool(network.features(image)[-1]).numpy()

    return run


def _step(
    name: str, network: nn.Module, image: torch.Tensor, labels: torch.Tensor
) -> Callable[[], float]:
    """A function that makes a step and returns its loss; AdamW's groups are SegFormer's."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for key, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = 0.0 if "norm" in key or "_bn" in key else SEGMENTER.weight_decay
        factor = SEGMENTER.head_factor if "head" in key else 1.0
        groups.setdefault((decay, factor), []).append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "lr": RATE * factor}
            for (decay, factor), parameters in groups.items()
        ],
        betas=(OPTIMIZER.beta1, OPTIMIZER.beta2),
        fused=True,  # the fastest form
    )

    def run() -> float:
        loss = losses.segmentation(_logits(name, network, image), labels, ignore_index=CLASSES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


if __name__ == "__main__":
    main()
