"""Times one network of this project in this process and prints a JSON line.

    python -m tools.dev.benchmarks.time_network --generator spade --pass step --size 192 256

The line has seconds (one per round without the first two), peak_mb, and on CUDA peak_gpu_mb.
tests/reference/time_step.py is the counterpart in PyTorch, with the same flags. With --exchange
FOLDER the program writes the generator's weights and an image, and the counterpart generates the
same image.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from options.command_line import parse_train
from options.train import RunOptions
from tools.dev.benchmarks.gpu_memory import PeakMemory
from weights.published_names import Family, to_published

if TYPE_CHECKING:
    import jittor as jt

    from models.gans.base import Method
    from models.layouts.layout import Layout

# The first pass compiles, the second fills the allocator.
UNCOUNTED = 2
# Standard deviation of the exchanged image, and the names of the exchanged files.
CONTRAST = 0.5
OURS, THEIRS, WEIGHT = "ours.npy", "theirs.npy", "weight."
BARE = ("--lambda-vgg", "0", "--ema-decay", "0")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and return 0."""
    options = parse_arguments(argv)
    from runtime.start import start_jittor

    backend = start_jittor(options.device)
    print_times(lambda: prepare_pass(options), options.rounds, gpu=backend.device == "cuda")
    return 0


def print_times(prepare: Callable[[], Callable[[], object]], rounds: int, *, gpu: bool) -> None:
    """Time the function that `prepare` returns, and print the JSON line."""
    seconds = []
    with PeakMemory() as peak_memory:
        run = prepare()
        for _ in range(UNCOUNTED + rounds):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {"seconds": seconds[UNCOUNTED:], "peak_mb": round(peak)}
    if gpu:
        result["peak_gpu_mb"] = peak_memory.megabytes
    print(json.dumps(result))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the flags, which tests/reference/time_step.py shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--generator", choices=("spade", "tsit"), required=True, help="the network")
    add("--pass", dest="kind", choices=("forward", "step"), required=True, help="the pass to time")
    add("--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"), help="(192 256)")
    add("--batch", type=int, default=1, metavar="N", help="images per pass (1)")
    add("--num-downsamples", type=int, default=6, metavar="N", help="depth of the generator (6)")
    add("--channels", type=int, default=64, metavar="N", help="base channels (64)")
    add("--classes", type=int, default=29, metavar="K", help="classes of the layouts (29)")
    add("--layouts", default="random", metavar="DIR", help="a folder of pairs, or random (random)")
    add("--exchange", metavar="FOLDER", help="generate one image, time nothing")
    add("--rounds", type=int, default=5, metavar="N", help="counted passes (5)")
    add("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="(cpu)")
    add("--complete", action="store_true", help="with VGG-19 (random weights) and EMA")
    return parser.parse_args(argv)


def prepare_pass(options: argparse.Namespace) -> Callable[[], None]:
    """A function that runs the pass once, to its end."""
    import jittor as jt

    from inference.synthesizer import prepare_networks
    from models.gans import create_method
    from models.layouts.layout import Layout
    from models.networks.vgg import VGG19
    from tools.dev.benchmarks.layouts import read_layouts
    from training.trainer import Trainer

    height, width = options.size
    with_vgg = options.complete and options.kind == "step"
    method = create_method(network_options(options), VGG19() if with_vgg else None)
    ids = read_layouts(options.layouts, options.batch, height, width, options.classes)
    pixels = np.random.default_rng(0).uniform(-1, 1, (options.batch, 3, height, width))
    image = jt.array(pixels.astype(np.float32))
    if options.exchange:
        exchange(options, method, Layout(jt.array(ids), options.classes), image)
        return lambda: None
    if options.kind == "step":
        trainer = Trainer(method, network_options(options))

        def step() -> None:
            layout = Layout(jt.array(ids), options.classes)
            trainer.step(layout, image, learning_rate=2e-4, seed=0)
            jt.sync_all(True)

        return step
    method.eval()
    prepare_networks([method.networks["generator"]])

    def forward() -> None:
        with jt.no_grad():
            method.generate(Layout(jt.array(ids), options.classes), image).sync()
        jt.sync_all(True)

    return forward


def exchange(options: argparse.Namespace, method: Method, layout: Layout, image: jt.Var) -> None:
    """Write the generator's weights and an image, as a step or a forward pass generates it.

    The weights are scaled for contrast: fresh weights give the same gray in every network.
    """
    import jittor as jt

    from inference.synthesizer import prepare_networks
    from models.layers.normalization import BatchNorm
    from weights.variables import name_variables

    generator = method.networks["generator"]
    for layer in generator.modules():
        if isinstance(layer, BatchNorm):
            layer.MOMENTUM = 1.0  # the running values become those of this batch
    folder = Path(options.exchange)
    with jt.no_grad():
        gray = method.generate(layout, image)
        generator.last.weight.update(generator.last.weight * (CONTRAST / gray.numpy().std()))
        state = {name: var.numpy() for name, var in name_variables(method.networks).items()}
        write_exchange(folder, options.generator, state)
        if options.kind == "forward":
            method.eval()
            prepare_networks([generator])
        np.save(folder / OURS, method.generate(layout, image).numpy())


def write_exchange(folder: Path, generator: Family, state: Mapping[str, NDArray]) -> None:
    """Write the generator's weights under their published names, one .npy per weight."""
    own = {
        name.removeprefix("generator."): array
        for name, array in state.items()
        if name.startswith("generator.")
    }
    for name, array in to_published(generator, own).items():
        np.save(folder / f"{WEIGHT}{name}.npy", array)


def network_options(options: argparse.Namespace) -> RunOptions:
    """The published network of that size; with VGG and EMA only if `complete` is set."""
    flags = ["--schedule", "main", "--generator", options.generator]
    flags += ["--size", *map(str, options.size), "--classes", str(options.classes)]
    flags += ["--num-downsamples", str(options.num_downsamples)]
    flags += ["--channels", str(options.channels)]
    return parse_train(flags if options.complete else [*flags, *BARE])


if __name__ == "__main__":
    sys.exit(main())
