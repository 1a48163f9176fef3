"""Measures speed and memory on this machine, and compares them with PyTorch if it is installed.

    python -m tools.dev.benchmark speed                       forward pass and training step
    python -m tools.dev.benchmark speed --torch-python PATH   with PyTorch of another environment
    python -m tools.dev.benchmark growth --plot FILE.svg      a forward pass at several sizes
    python -m tools.dev.benchmark memory                      a step of `main` phase I at 512 x 384
    python -m tools.dev.benchmark loader --data DIR           images per second of the data loader
    python -m tools.dev.benchmark cleaning                    cleaning of 1024 x 768 demo pairs
    python -m tools.dev.benchmark metrics                     the networks of tools.evaluate

Every measurement runs in a separate process. Our processes and PyTorch's alternate, so that a
slower machine slows both. Compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.ownership import output_file
from options.errors import UserError
from options.schedule import load_schedule
from runtime.program import ToolParser, exit_codes
from tools.dev.benchmarks.cleaning import add_flags as add_cleaning_flags
from tools.dev.benchmarks.cleaning import measure_cleaning
from tools.dev.benchmarks.growth import cases, render_plot
from tools.dev.benchmarks.metrics import add_flags as add_metrics_flags
from tools.dev.benchmarks.metrics import measure_metrics
from tools.dev.benchmarks.processes import Row, find_torch, median_seconds, run_process, run_timer
from tools.dev.benchmarks.time_network import OURS, THEIRS

GENERATORS, PASSES = ("spade", "tsit"), ("forward", "step")
ROW = "{model:6} {pass:8} {height} x {width}  batch {batch}  {seconds:8.2f} s  {rest}"


@exit_codes(stopped="stopped")
def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 2 for a user error, 130 for Ctrl-C."""
    arguments = parse_arguments(argv)
    plot = getattr(arguments, "plot", None)
    files = {
        flag: Path(name) for flag, name in (("--json", arguments.json), ("--plot", plot)) if name
    }
    folders = {
        flag: output_file(path, f"name another file with {flag}") for flag, path in files.items()
    }
    rows = arguments.run(arguments)
    texts = {"--json": json.dumps(rows, indent=1) + "\n"}
    if "--plot" in files:
        texts["--plot"] = render_plot(rows)
    try:
        for flag, path in files.items():
            folders[flag].write({path.name: texts[flag]})
    except OSError as error:
        raise UserError(
            f"--json, --plot: expected a writable file: {error}. Name another file."
        ) from None
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the flags of every measurement."""
    parser = ToolParser("tools.dev.benchmark", __doc__)
    kinds = parser.add_subparsers(required=True, metavar="speed | growth | memory | ...")
    speed = kinds.add_parser("speed", help="forward pass and training step")
    _add_speed_flags(speed)
    growth = kinds.add_parser("growth", help="a forward pass over size, batch and classes")
    _add_growth_flags(growth)
    memory = kinds.add_parser("memory", help="peak memory of a training step of main, phase I")
    _add_generators(memory, ["tsit"])
    memory.set_defaults(run=measure_memory)
    loader = kinds.add_parser("loader", help="images per second, decoded and augmented")
    _add_loader_flags(loader)
    cleaning = kinds.add_parser("cleaning", help="pairs per second, memory, duplicates, a rerun")
    add_cleaning_flags(cleaning)
    cleaning.set_defaults(run=measure_cleaning)
    metrics = kinds.add_parser("metrics", help="segmenters and features, and tools.evaluate")
    add_metrics_flags(metrics)
    metrics.set_defaults(run=measure_metrics)
    for kind in (speed, growth, memory, loader, cleaning, metrics):
        kind.add_argument("--json", metavar="FILE", help="also write the rows as JSON")
    return parser.parse_args(argv)


def _add_generators(parser: argparse.ArgumentParser, default: list[str]) -> None:
    text = f"networks to measure ({' '.join(default)})"
    parser.add_argument("--generators", nargs="+", choices=GENERATORS, default=default, help=text)


def _add_speed_flags(parser: argparse.ArgumentParser) -> None:
    _add_generators(parser, list(GENERATORS))
    add = parser.add_argument
    add(
        "--passes", nargs="+", choices=PASSES, default=list(PASSES),
        help="passes to measure (forward step)",
    )  # fmt: skip
    add(
        "--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"),
        help="of the images (192 256)",
    )  # fmt: skip
    add("--batch", type=int, default=1, metavar="N", help="images per pass (1)")
    add("--num-downsamples", type=int, default=6, metavar="N", help="depth of the generator (6)")
    add("--channels", type=int, default=64, metavar="N", help="base channels (64)")
    add("--classes", type=int, default=29, metavar="K", help="classes of the layouts (29)")
    add("--layouts", default="random", metavar="DIR", help="folder of pairs, or random (random)")
    add("--rounds", type=int, default=3, metavar="N", help="processes per network and pass (3)")
    add("--repeats", type=int, default=5, metavar="N", help="counted passes per process (5)")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="device of both (cpu)")
    add("--torch-python", metavar="PYTHON", help="a Python with torch (this one)")
    parser.set_defaults(run=measure_speed)


def _add_growth_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--layouts", default="random", metavar="DIR", help="folder of pairs, or random (random)")
    add("--channels", type=int, default=64, metavar="N", help="base channels (64)")
    add("--repeats", type=int, default=3, metavar="N", help="counted passes per point (3)")
    add("--plot", metavar="FILE", help="plot the rows as an SVG")
    parser.set_defaults(run=measure_growth)


def _add_loader_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", "--input_path", required=True, dest="data", metavar="DIR", help="the dataset")
    add("--classes", type=int, default=29, metavar="K", help="ids are 0..K-1 (29)")
    add("--unknown-label", type=int, metavar="ID", help="id of unknown pixels")
    add("--workers", type=int, default=2, metavar="N", help="worker processes (2)")
    parser.set_defaults(run=measure_loader)


def measure_speed(arguments: argparse.Namespace) -> list[Row]:
    """One row per generator and pass: seconds, and the ratio to PyTorch on the same network."""
    torch_python = find_torch(arguments.torch_python)
    if torch_python is None:
        print("PyTorch not found: measures only this project (name a Python with --torch-python)")
    rows = []
    for generator in arguments.generators:
        for kind in arguments.passes:
            flags = network_flags(arguments, generator, kind)
            rows.append(compare(generator, kind, arguments, flags, torch_python))
            print_row(rows[-1])
    return rows


def network_flags(arguments: argparse.Namespace, generator: str, kind: str) -> list[str]:
    """The flags that both timing programs share."""
    flags = ["--generator", generator, "--pass", kind, "--size", *map(str, arguments.size)]
    for name in ("batch", "num_downsamples", "channels", "classes", "layouts", "device"):
        flags += [f"--{name}", str(getattr(arguments, name))]
    return [*flags, "--rounds", str(arguments.repeats)]


def compare(
    generator: str,
    kind: str,
    arguments: argparse.Namespace,
    flags: Sequence[str],
    torch_python: str | None,
) -> Row:
    """Run our process and PyTorch's alternately; each ratio is within one round."""
    ours, theirs, ratios = [], [], []
    for _ in range(arguments.rounds):
        ours.append(run_timer([sys.executable, "-m", "tools.dev.benchmarks.time_network", *flags]))
        if torch_python is not None:
            theirs.append(run_timer([torch_python, "-m", "tests.reference.time_step", *flags]))
            ratios.append(median_seconds(theirs[-1]) / median_seconds(ours[-1]))
    height, width = arguments.size
    row: Row = {"model": generator, "pass": kind, "height": height, "width": width}
    row |= {"batch": arguments.batch, "layouts": arguments.layouts}
    row["seconds"] = statistics.median(map(median_seconds, ours))
    memory = "peak_gpu_mb" if arguments.device == "cuda" else "peak_mb"
    row["peak_mb"] = max(result[memory] for result in ours)
    if torch_python is not None:
        row["max_difference"] = compare_images(flags, torch_python)
        row["torch_seconds"] = statistics.median(map(median_seconds, theirs))
        row["torch_peak_mb"] = max(result[memory] for result in theirs)
        row["ratio"] = statistics.median(ratios)
    return row


def compare_images(flags: Sequence[str], torch_python: str) -> float:
    """The largest difference of an image in [-1, 1] that both generate with the same weights."""
    with tempfile.TemporaryDirectory() as folder:
        exchange = [*flags, "--exchange", folder]
        run_process([sys.executable, "-m", "tools.dev.benchmarks.time_network", *exchange])
        run_process([torch_python, "-m", "tests.reference.time_step", *exchange])
        ours, theirs = (np.load(Path(folder, name)) for name in (OURS, THEIRS))
    return float(np.abs(ours - theirs).max())


def print_row(row: Row) -> None:
    """Print one line: our result, then PyTorch's."""
    rest = f"{row['peak_mb']} MB"
    if "ratio" in row:
        rest += f"   PyTorch {row['torch_seconds']:.2f} s  {row['torch_peak_mb']} MB"
        rest += f"   PyTorch / ours {row['ratio']:.2f}   difference {row['max_difference']:.1e}"
    print(ROW.format(**row, rest=rest), flush=True)


def measure_growth(arguments: argparse.Namespace) -> list[Row]:
    """Seconds and memory of each generator's forward pass, along each axis of `growth`."""
    rows = []
    for axis, value, (height, width), batch, classes in cases():
        for generator in GENERATORS:
            flags = ["--generator", generator, "--pass", "forward", "--size", str(height)]
            flags += [str(width), "--batch", str(batch), "--classes", str(classes)]
            flags += ["--channels", str(arguments.channels), "--layouts", arguments.layouts]
            flags += ["--rounds", str(arguments.repeats)]
            result = run_timer([sys.executable, "-m", "tools.dev.benchmarks.time_network", *flags])
            row: Row = {"model": generator, "pass": "forward", "height": height, "width": width}
            row |= {"batch": batch, "classes": classes, "axis": axis, "value": value}
            row |= {"layouts": arguments.layouts, "peak_mb": result["peak_mb"]}
            rows.append(row | {"seconds": median_seconds(result)})
            print_row(rows[-1])
    return rows


def measure_memory(arguments: argparse.Namespace) -> list[Row]:
    """Peak memory and seconds of a step in phase I of `main`, without VGG."""
    phase = load_schedule("main").phases[0]
    rows = []
    for generator in arguments.generators:
        flags = ["--generator", generator, "--pass", "step", "--size", "384", "512"]
        flags += ["--num-downsamples", "7", "--batch", str(phase.batch_size), "--rounds", "1"]
        result = run_timer([sys.executable, "-m", "tools.dev.benchmarks.time_network", *flags])
        row = {"model": generator, "pass": "step", "height": 384, "width": 512}
        row |= {"batch": phase.batch_size, "layouts": "random", "peak_mb": result["peak_mb"]}
        rows.append(row | {"seconds": median_seconds(result)})
        print_row(rows[-1])
    return rows


def measure_loader(arguments: argparse.Namespace) -> list[Row]:
    """Images per second at 512 x 384 for each batch size of `main`, over at least 10 seconds."""
    from data.folders import find_pairs
    from data.loader import BatchLoader

    pairs = find_pairs(arguments.data).pairs
    rows = []
    for batch_size in sorted({phase.batch_size for phase in load_schedule("main").phases}):
        with BatchLoader(
            pairs,
            height=384,
            width=512,
            batch_size=batch_size,
            classes=arguments.classes,
            unknown_label=arguments.unknown_label,
            epoch_images=max(len(pairs), 50 * batch_size),
            workers=arguments.workers,
        ) as loader:
            rate = time_batches(loader.epoch, batch_size)
        rows.append({"height": 384, "width": 512, "batch": batch_size, "images_per_second": rate})
        print(
            f"batch {batch_size:3}: {rate:.0f} images per second with {arguments.workers} workers"
        )
    return rows


def time_batches(epoch: Callable[[int], Any], batch_size: int, seconds: float = 10.0) -> float:
    """Images per second of a batch iterator, after its first batch."""
    number, count, start = 0, 0, 0.0
    while True:
        for _ in epoch(number):
            if not start:
                start = time.perf_counter()
                continue
            count += batch_size
            if time.perf_counter() - start > seconds:
                return count / (time.perf_counter() - start)
        number += 1


if __name__ == "__main__":
    sys.exit(main())
