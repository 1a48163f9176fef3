"""Times the PyTorch reference in this process and prints a line of JSON.

    python -m tests.reference.time_step --generator spade --pass step --size 192 256

The counterpart of tools/dev/benchmarks/time_network.py with the same flags: the same network and
layouts, G and D updated as published, without VGG. The line holds seconds (a list, one per round,
without the first two), peak_mb, and on CUDA peak_gpu_mb.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tools.dev.benchmarks.layouts import read_layouts
from tools.dev.benchmarks.time_network import THEIRS, WEIGHT, parse_arguments, print_times

from .discriminator import MultiscaleDiscriminator
from .layout import one_hot
from .spade import SPADEGenerator
from .train_step import Trainer
from .tsit import TSITGenerator


def main() -> None:
    """Measures and prints."""
    options = parse_arguments(None)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    # cuDNN measures and selects the fastest algorithm of each convolution
    torch.backends.cudnn.benchmark = True
    device = "cuda" if options.device == "cuda" else "cpu"
    print_times(lambda: _prepare(options, device), options.rounds, gpu=device == "cuda")


def _prepare(options: argparse.Namespace, device: str) -> Callable[[], None]:
    """A function that runs the pass once and waits for its end."""
    height, width = options.size
    ids = read_layouts(options.layouts, options.batch, height, width, options.classes)
    condition = one_hot(torch.from_numpy(ids).long(), options.classes).to(device)
    pixels = np.random.default_rng(0).uniform(-1, 1, (options.batch, 3, height, width))
    image = torch.from_numpy(pixels.astype(np.float32)).to(device)
    shared = {
        "size": (height, width),
        "halvings": options.num_downsamples,
        "channels": options.channels,
    }
    if options.generator == "spade":
        generator = SPADEGenerator(condition_channels=options.classes, **shared)
    else:
        generator = TSITGenerator(content_channels=options.classes, **shared)
    if options.exchange:
        generator.train(options.kind == "step")
        exchange(Path(options.exchange), generator, condition, image, options.generator)
        return lambda: None
    discriminator = MultiscaleDiscriminator(options.classes + 3)
    trainer = Trainer(generator.to(device), discriminator.to(device))
    run = _step(trainer, condition, image)
    if options.kind == "forward":
        generator.eval()
        run = _forward(trainer, condition, image)

    def run_to_the_end() -> None:
        run()
        if device == "cuda":
            torch.cuda.synchronize()

    return run_to_the_end


def exchange(
    folder: Path,
    generator: torch.nn.Module,
    condition: torch.Tensor,
    image: torch.Tensor,
    name: str,
) -> None:
    """Generates an image with the weights that the project's network saved in `folder`."""
    state = {
        path.name.removeprefix(WEIGHT).removesuffix(".npy"): torch.from_numpy(np.load(path))
        for path in sorted(folder.glob(f"{WEIGHT}*.npy"))
    }
    generator.load_state_dict(state)
    with torch.no_grad():
        fake = generator(condition, image) if name == "tsit" else generator(condition)
    np.save(folder / THEIRS, fake.numpy())


def _step(trainer: Trainer, condition: torch.Tensor, image: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        trainer.generator_step(condition, image)
        trainer.discriminator_step(condition, image)

    return run


def _forward(trainer: Trainer, condition: torch.Tensor, image: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            trainer.generate(condition, image, None)

    return run


if __name__ == "__main__":
    main()
