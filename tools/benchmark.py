"""Measures speed and memory on this machine, against PyTorch where that is installed.

    python -m tools.benchmark speed                      both generators, forward and step
    python -m tools.benchmark speed --torch-python PATH  PyTorch of another environment
    python -m tools.benchmark growth --plot FILE.svg     a forward pass over size, batch and classes
    python -m tools.benchmark memory                     a step of `main` phase I at 512 x 384
    python -m tools.benchmark loader --data DIR          pictures a second, at the sizes of `main`
    python -m tools.benchmark cleaning                   cleaning of drawn pairs of 1024 x 768

Every measurement runs in a process of its own; ours and PyTorch's take turns, so that a machine
that slows down slows both. What counts is the ratio.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
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
from tools.arguments import ToolParser, exit_codes
from tools.benchmarks.cleaning import add_flags as add_cleaning_flags
from tools.benchmarks.cleaning import measure_cleaning
from tools.benchmarks.growth import cases, draw_plot
from tools.benchmarks.time_network import OURS, THEIRS

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
ROW = "{model:6} {pass:8} {height} x {width}  batch {batch}  {seconds:8.2f} s  {rest}"


@exit_codes(stopped="stopped")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 for what the user must mend, 130 for Ctrl-C."""
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
        texts["--plot"] = draw_plot(rows)
    try:
        for flag, path in files.items():
            folders[flag].write({path.name: texts[flag]})
    except OSError as error:
        raise UserError(f"the rows must be written: {error}; name another file") from None
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags of each measurement."""
    parser = ToolParser("benchmark", __doc__)
    kinds = parser.add_subparsers(required=True, metavar="speed | growth | memory | ...")
    speed = kinds.add_parser("speed", help="forward pass and training step")
    speed.add_argument(
        "--generators", nargs="+", choices=("spade", "tsit"), default=["spade", "tsit"]
    )
    speed.add_argument(
        "--passes", nargs="+", choices=("forward", "step"), default=["forward", "step"]
    )
    speed.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    speed.add_argument("--batch", type=int, default=1)
    speed.add_argument("--halvings", type=int, default=6)
    speed.add_argument("--channels", type=int, default=64)
    speed.add_argument("--classes", type=int, default=29)
    speed.add_argument("--layouts", default="random", help="folder of pairs, or random")
    speed.add_argument("--rounds", type=int, default=3, help="processes of each")
    speed.add_argument("--repeats", type=int, default=5, help="counted passes of a process")
    speed.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    speed.add_argument("--torch-python", help="a Python with torch; default this one, if it has it")
    speed.set_defaults(run=measure_speed)
    growth = kinds.add_parser("growth", help="a forward pass over size, batch and classes")
    growth.add_argument("--layouts", default="random", help="folder of pairs, or random")
    growth.add_argument("--channels", type=int, default=64)
    growth.add_argument("--repeats", type=int, default=3, help="counted passes of each")
    growth.add_argument("--plot", metavar="FILE", help="draw the rows as an SVG")
    growth.set_defaults(run=measure_growth)
    memory = kinds.add_parser("memory", help="peak memory of a training step of main, phase I")
    memory.add_argument("--generators", nargs="+", choices=("spade", "tsit"), default=["tsit"])
    memory.set_defaults(run=measure_memory)
    loader = kinds.add_parser("loader", help="pictures a second, decoded and augmented")
    loader.add_argument("--data", "--input_path", required=True, dest="data", metavar="DIR")
    loader.add_argument("--classes", type=int, default=29)
    loader.add_argument("--unknown-label", type=int)
    loader.add_argument("--workers", type=int, default=2)
    loader.set_defaults(run=measure_loader)
    cleaning = kinds.add_parser("cleaning", help="pairs a second, memory, duplicates, a rerun")
    add_cleaning_flags(cleaning)
    cleaning.set_defaults(run=measure_cleaning)
    for kind in (speed, growth, memory, loader, cleaning):
        kind.add_argument("--json", metavar="FILE", help="write the rows there too")
    return parser.parse_args(argv)


def measure_speed(arguments: argparse.Namespace) -> list[Row]:
    """One row a generator and pass: seconds, and the ratio to PyTorch's of the same network."""
    torch_python = find_torch(arguments.torch_python)
    if torch_python is None:
        print("no PyTorch here: our times alone (--torch-python names a Python that has it)")
    rows = []
    for generator in arguments.generators:
        for kind in arguments.passes:
            flags = network_flags(arguments, generator, kind)
            rows.append(compare(generator, kind, arguments, flags, torch_python))
            print_row(rows[-1])
    return rows


def network_flags(arguments: argparse.Namespace, generator: str, kind: str) -> list[str]:
    """The flags that both timing programs take."""
    flags = ["--generator", generator, "--pass", kind, "--size", *map(str, arguments.size)]
    for name in ("batch", "halvings", "channels", "classes", "layouts", "device"):
        flags += [f"--{name}", str(getattr(arguments, name))]
    return [*flags, "--rounds", str(arguments.repeats)]


def compare(
    generator: str,
    kind: str,
    arguments: argparse.Namespace,
    flags: Sequence[str],
    torch_python: str | None,
) -> Row:
    """Run ours and PyTorch's in turn; ratios are taken within a round."""
    ours, theirs, ratios = [], [], []
    for _ in range(arguments.rounds):
        ours.append(run_timer([sys.executable, "-m", "tools.benchmarks.time_network", *flags]))
        if torch_python is not None:
            theirs.append(run_timer([torch_python, "-m", "tests.reference.time_step", *flags]))
            ratios.append(_median(theirs[-1]) / _median(ours[-1]))
    height, width = arguments.size
    row: Row = {"model": generator, "pass": kind, "height": height, "width": width}
    row |= {"batch": arguments.batch, "layouts": arguments.layouts}
    row["seconds"] = statistics.median(map(_median, ours))
    # on CUDA it is the card's memory that counts
    memory = "peak_gpu_mb" if arguments.device == "cuda" else "peak_mb"
    row["peak_mb"] = max(result[memory] for result in ours)
    if torch_python is not None:
        row["max_difference"] = compare_pictures(flags, torch_python)
        row["torch_seconds"] = statistics.median(map(_median, theirs))
        row["torch_peak_mb"] = max(result[memory] for result in theirs)
        row["ratio"] = statistics.median(ratios)
    return row


def compare_pictures(flags: Sequence[str], torch_python: str) -> float:
    """The largest difference of a picture that both draw with the same weights, of [-1, 1]."""
    with tempfile.TemporaryDirectory() as folder:
        exchange = [*flags, "--exchange", folder]
        run_process([sys.executable, "-m", "tools.benchmarks.time_network", *exchange])
        run_process([torch_python, "-m", "tests.reference.time_step", *exchange])
        ours, theirs = (np.load(Path(folder, name)) for name in (OURS, THEIRS))
    return float(np.abs(ours - theirs).max())


def _median(result: Row) -> float:
    return statistics.median(result["seconds"])


def print_row(row: Row) -> None:
    """One line: ours, and PyTorch's beside it."""
    rest = f"{row['peak_mb']} MB"
    if "ratio" in row:
        rest += f"   PyTorch {row['torch_seconds']:.2f} s  {row['torch_peak_mb']} MB"
        rest += f"   PyTorch / ours {row['ratio']:.2f}   difference {row['max_difference']:.1e}"
    print(ROW.format(**row, rest=rest), flush=True)


def run_timer(command: Sequence[str]) -> Row:
    """The JSON on the last line of what a timing program prints; UserError where it failed."""
    row: Row = json.loads(run_process(command).strip().splitlines()[-1])
    return row


def run_process(command: Sequence[str]) -> str:
    """What a program prints; UserError where it failed."""
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        said = (result.stderr or result.stdout).strip().splitlines()
        raise UserError(
            f"a measurement must run to its end: {' '.join(command[:3])} stopped with "
            f"{result.returncode}: {said[-1] if said else 'and said nothing'}"
        )
    return result.stdout


def find_torch(wanted: str | None) -> str | None:
    """A Python that has torch; None where none was named and this one has none."""
    python = wanted or sys.executable
    if shutil.which(python) is None:
        raise UserError(f"--torch-python is a Python: {python} is not there")
    probe = [python, "-c", "import importlib.util as u; raise SystemExit(not u.find_spec('torch'))"]
    if subprocess.run(probe, check=False).returncode == 0:
        return python
    if wanted:
        raise UserError(f"--torch-python needs torch: {python} has none; pip install torch there")
    return None


def measure_growth(arguments: argparse.Namespace) -> list[Row]:
    """Seconds and memory of a forward pass of each generator, along each axis of `growth`."""
    rows = []
    for axis, value, (height, width), batch, classes in cases():
        for generator in ("spade", "tsit"):
            flags = ["--generator", generator, "--pass", "forward", "--size", str(height)]
            flags += [str(width), "--batch", str(batch), "--classes", str(classes)]
            flags += ["--channels", str(arguments.channels), "--layouts", arguments.layouts]
            flags += ["--rounds", str(arguments.repeats)]
            result = run_timer([sys.executable, "-m", "tools.benchmarks.time_network", *flags])
            row: Row = {"model": generator, "pass": "forward", "height": height, "width": width}
            row |= {"batch": batch, "classes": classes, "axis": axis, "value": value}
            row |= {"layouts": arguments.layouts, "peak_mb": result["peak_mb"]}
            rows.append(row | {"seconds": _median(result)})
            print_row(rows[-1])
    return rows


def measure_memory(arguments: argparse.Namespace) -> list[Row]:
    """Peak memory and seconds of a step as phase I of `main` makes it, without VGG."""
    phase = load_schedule("main").phases[0]
    rows = []
    for generator in arguments.generators:
        flags = ["--generator", generator, "--pass", "step", "--size", "384", "512"]
        flags += ["--halvings", "7", "--batch", str(phase.batch_size), "--rounds", "1"]
        result = run_timer([sys.executable, "-m", "tools.benchmarks.time_network", *flags])
        row = {"model": generator, "pass": "step", "height": 384, "width": 512}
        row |= {"batch": phase.batch_size, "layouts": "random", "peak_mb": result["peak_mb"]}
        rows.append(row | {"seconds": _median(result)})
        print_row(rows[-1])
    return rows


def measure_loader(arguments: argparse.Namespace) -> list[Row]:
    """Pictures a second at 512 x 384 for each batch size of `main`, over at least 10 seconds."""
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
            f"batch {batch_size:3}: {rate:.0f} pictures a second with {arguments.workers} workers"
        )
    return rows


def time_batches(epoch: Callable[[int], Any], batch_size: int, seconds: float = 10.0) -> float:
    """Pictures a second of an iterator of batches, after its first one."""
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
