"""Times one network of this project in this process and prints a JSON line.

    python -m tools.benchmarks.time_network --generator spade --pass step --size 192 256

The line: seconds (a list, one a round, the first two rounds left out), peak_mb, and on CUDA
peak_gpu_mb.
tests/reference/time_step.py is its counterpart in PyTorch, with the same flags. With --exchange
FOLDER the generator's weights and a picture are left there, for the counterpart to draw it too.
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

from models.published import Family, to_published
from options.command_line import parse_train
from options.run import RunOptions
from tools.benchmarks.gpu_memory import PeakMemory

if TYPE_CHECKING:
    import jittor as jt

    from models.layout import Layout
    from models.methods.base import Method

# The first compiles, the second fills the allocator.
UNCOUNTED = 2
# What is exchanged: our picture, the reference's, and its weights.
CONTRAST = 0.5
OURS, THEIRS, WEIGHT = "ours.npy", "theirs.npy", "weight."
BARE = ("--lambda-vgg", "0", "--ema-decay", "0")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return 0."""
    options = parse_arguments(argv)
    from tools.start import start_jittor

    route = start_jittor(options.device)
    print_times(lambda: prepare_pass(options), options.rounds, gpu=route.device == "cuda")
    return 0


def print_times(prepare: Callable[[], Callable[[], object]], rounds: int, *, gpu: bool) -> None:
    """Time the passes of what `prepare` returns, and print the JSON line."""
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
    """The flags, which tests/reference/time_step.py shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--generator", choices=("spade", "tsit"), required=True)
    parser.add_argument("--pass", dest="kind", choices=("forward", "step"), required=True)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--halvings", type=int, default=6)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--classes", type=int, default=29)
    parser.add_argument("--layouts", default="random", help="a folder of layouts, or random")
    parser.add_argument("--exchange", metavar="FOLDER", help="draw one picture, and time nothing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--complete", action="store_true", help="ours: with VGG-19 (random weights) and the average"
    )
    return parser.parse_args(argv)


def prepare_pass(options: argparse.Namespace) -> Callable[[], None]:
    """A function that runs the pass once, to its end."""
    import jittor as jt

    from models.layers.convolution import prepare_to_draw
    from models.layout import Layout
    from models.methods import create_method
    from models.networks.vgg import VGG19
    from tools.benchmarks.layouts import read_layouts
    from training.learner import Learner

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
        learner = Learner(method, network_options(options))

        def step() -> None:
            layout = Layout(jt.array(ids), options.classes)
            learner.step(layout, image, learning_rate=2e-4, seed=0)
            jt.sync_all(True)

        return step
    method.eval()
    prepare_to_draw(method.networks["generator"])

    def forward() -> None:
        with jt.no_grad():
            method.generate(Layout(jt.array(ids), options.classes), image).sync()
        jt.sync_all(True)

    return forward


def exchange(options: argparse.Namespace, method: Method, layout: Layout, image: jt.Var) -> None:
    """Leave the generator's weights and a picture: as a step draws it, or as a forward pass does.

    The picture has some contrast: fresh weights draw a grey that every network agrees on.
    """
    import jittor as jt

    from models.layers.convolution import prepare_to_draw
    from models.layers.normalization import BatchNorm
    from training.variables import name_variables

    generator = method.networks["generator"]
    for layer in generator.modules():
        if isinstance(layer, BatchNorm):
            layer.MOMENTUM = 1.0  # the running values are those of this batch
    folder = Path(options.exchange)
    with jt.no_grad():
        grey = method.generate(layout, image)
        generator.last.weight.update(generator.last.weight * (CONTRAST / grey.numpy().std()))
        state = {name: var.numpy() for name, var in name_variables(method.networks).items()}
        write_exchange(folder, options.generator, state)
        if options.kind == "forward":
            method.eval()
            prepare_to_draw(generator)
        np.save(folder / OURS, method.generate(layout, image).numpy())


def write_exchange(folder: Path, generator: Family, state: Mapping[str, NDArray]) -> None:
    """The generator's weights under their published names, an .npy each."""
    own = {
        name.removeprefix("generator."): array
        for name, array in state.items()
        if name.startswith("generator.")
    }
    for name, array in to_published(generator, own).items():
        np.save(folder / f"{WEIGHT}{name}.npy", array)


def network_options(options: argparse.Namespace) -> RunOptions:
    """The published network of that size; VGG and EMA, which its counterpart lacks, if asked."""
    flags = ["--schedule", "main", "--generator", options.generator]
    flags += ["--size", *map(str, options.size), "--classes", str(options.classes)]
    flags += ["--halvings", str(options.halvings), "--channels", str(options.channels)]
    return parse_train(flags if options.complete else [*flags, *BARE])


if __name__ == "__main__":
    sys.exit(main())
