"""Times the networks of tools.evaluate, a segmenter's training step, and tools.evaluate itself.

Our processes and PyTorch's alternate. PyTorch runs with contiguous memory and with channels last;
its faster order counts. tools.evaluate scores rendered images; the statistics of the photos come
from a file.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from options.errors import UserError
from tools.dev.benchmarks.processes import (
    Row,
    find_torch,
    median_seconds,
    run_measured,
    run_timer,
)
from tools.dev.benchmarks.time_metrics import (
    CLASSES,
    ENCODERS,
    FEATURES,
    OURS,
    SEGMENTER_FILE,
    THEIRS,
)

PASSES = ("forward", "step", "evaluate")
ORDERS = {"contiguous": [], "channels last": ["--channels-last"]}
SIZE = (384, 512)  # of the images that tools.evaluate scores
# Batches of metrics.features and of metrics.predictions at that size: the images that are scored
# first compile every operator that those after them need.
FEATURE_BATCH, SEGMENTER_BATCH = 32, 8
SCALES = (3, 12, 48, 192)  # rows of the noise that images consist of
QUALITY = 92  # of JPEG
CELL = 16  # pixels on each side of a region of one class
START = "{model:12} {pass:8} {height} x {width}  "


@dataclass(frozen=True)
class Case:
    """A pass of a network on a batch of images."""

    network: str
    kind: str
    height: int
    width: int
    batch: int


CASES = (
    *(Case(name, "forward", *SIZE, batch) for name in ENCODERS for batch in (1, 8)),
    Case(FEATURES, "forward", 224, 224, 32),
    *(Case(name, "step", 256, 256, 8) for name in ENCODERS),
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this measurement."""
    add = parser.add_argument
    add(
        "--passes", nargs="+", choices=PASSES, default=list(PASSES),
        help="what to measure (forward step evaluate)",
    )  # fmt: skip
    add("--images", type=int, default=1000, metavar="N", help="images to score (1000)")
    add("--rounds", type=int, default=3, metavar="N", help="processes per network and pass (3)")
    add("--repeats", type=int, default=5, metavar="N", help="counted passes per process (5)")
    add("--torch-python", metavar="PYTHON", help="a Python with torch (this one)")


def measure_metrics(arguments: argparse.Namespace) -> list[Row]:
    """Measure, print a line per row, and return the rows."""
    for flag, least in (("images", 2), ("rounds", 1), ("repeats", 1)):
        if getattr(arguments, flag) < least:
            raise UserError(
                f"--{flag}: expected {least} or more, got {getattr(arguments, flag)}. Correct it"
            )
    torch_python = find_torch(arguments.torch_python)
    if torch_python is None:
        print("PyTorch not found: measures only this project (name a Python with --torch-python)")
    rows = []
    for case in CASES:
        if case.kind in arguments.passes:
            rows.append(compare(case, arguments.rounds, arguments.repeats, torch_python))
            print(format_row(rows[-1]), flush=True)
    if "evaluate" in arguments.passes:
        rows += measure_evaluate(arguments.images)
    return rows


def compare(case: Case, rounds: int, repeats: int, torch_python: str | None) -> Row:
    """Run our process and PyTorch's alternately; each ratio is within one round."""
    flags = ["--network", case.network, "--pass", case.kind, "--batch", str(case.batch)]
    flags += ["--size", str(case.height), str(case.width), "--rounds", str(repeats)]
    ours: list[Row] = []
    theirs: dict[str, list[Row]] = {order: [] for order in ORDERS}
    row: Row = {"model": case.network, "pass": case.kind, "height": case.height}
    row |= {"width": case.width, "batch": case.batch}
    with tempfile.TemporaryDirectory() as folder:
        flags += ["--folder", folder]
        for _ in range(rounds):
            ours.append(
                run_timer([sys.executable, "-m", "tools.dev.benchmarks.time_metrics", *flags])
            )
            if torch_python is not None:
                for order, flag in ORDERS.items():
                    command = [torch_python, "-m", "tests.reference.time_metrics", *flags, *flag]
                    theirs[order].append(run_timer(command))
        if torch_python is not None:
            row |= compare_results(Path(folder))
    row |= {"seconds": _median(ours), "peak_mb": max(result["peak_mb"] for result in ours)}
    if torch_python is not None:
        order = min(ORDERS, key=lambda order: _median(theirs[order]))
        best = theirs[order]
        pairs = zip(best, ours, strict=True)
        row |= {"torch_order": order, "torch_seconds": _median(best)}
        row["torch_peak_mb"] = max(result["peak_mb"] for result in best)
        row["ratio"] = statistics.median(median_seconds(t) / median_seconds(o) for t, o in pairs)
    return row


def _median(results: list[Row]) -> float:
    return statistics.median(map(median_seconds, results))


def compare_results(folder: Path) -> Row:
    """The largest difference of logits, features or losses; of classes the share that differs."""
    row: Row = {}
    with np.load(folder / OURS) as ours, np.load(folder / THEIRS) as theirs:
        for name in ours.files:
            if name == "classes":
                row["different_pixels"] = float((ours[name] != theirs[name]).mean())
            else:
                row["max_difference"] = float(np.abs(ours[name] - theirs[name]).max())
    return row


def measure_evaluate(count: int) -> list[Row]:
    """Seconds and peak memory of tools.evaluate on `count` images, with each segmenter."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        images, first, photos = (root / name for name in ("images", "first", "photos"))
        write_images(images, count, seed=0)
        write_images(photos, count, seed=1)
        write_layouts(root / "layouts", count)
        first.mkdir()
        for path in sorted(images.iterdir())[: count_of_first(count)]:
            (first / path.name).symlink_to(path)
        for name in ENCODERS:
            write_segmenter(root, name)
            command = [sys.executable, "-m", "tools.evaluate", "--device", "cpu"]
            command += ["--statistics", str(root / "statistics.npz")]
            command += ["--segmenter", str(root / SEGMENTER_FILE)]
            command += ["--layouts", str(root / "layouts"), "--classes", str(CLASSES)]
            # compiles, and writes the statistics of the photos
            run_measured([*command, "--images", str(first), "--photos", str(photos)])
            row: Row = {"model": name, "pass": "evaluate", "height": SIZE[0], "width": SIZE[1]}
            row |= {"images": count, **run_measured([*command, "--images", str(images)])}
            row["seconds_per_image"] = row["seconds"] / count
            rows.append(row)
            print(format_row(row), flush=True)
    return rows


def count_of_first(count: int) -> int:
    """The number of images that have every batch size of `count` images, or all."""
    return min(count, FEATURE_BATCH + max(2, count % FEATURE_BATCH))


def write_segmenter(folder: Path, name: str) -> None:
    """Write a segmenter with a random head, and a random encoder unless it is pretrained."""
    flags = ["--network", name, "--pass", "forward", "--rounds", "0", "--folder", str(folder)]
    flags += ["--size", *map(str, SIZE), "--batch", str(SEGMENTER_BATCH)]
    run_timer([sys.executable, "-m", "tools.dev.benchmarks.time_metrics", *flags])


def write_images(folder: Path, count: int, seed: int) -> None:
    """Write JPEGs of smooth noise: finer noise is weaker, as in photos."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    for index in range(count):
        Image.fromarray(render_noise(random, *SIZE)).save(
            folder / f"{index:06d}.jpg", quality=QUALITY
        )


def render_noise(random: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """An image uint8 (H, W, 3) of smooth noise at the scales of `SCALES`."""
    image = np.full((height, width, 3), 128, np.float32)
    for rows in SCALES:
        noise = random.normal(0, 120 / rows**0.6, (rows, rows * width // height, 3))
        image += cv2.resize(
            noise.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
        )
    pixels: NDArray[np.uint8] = image.clip(0, 255).astype(np.uint8)
    return pixels


def write_layouts(folder: Path, count: int) -> None:
    """Write a layout of random rectangles for each image."""
    folder.mkdir()
    random = np.random.default_rng(2)
    height, width = SIZE
    for index in range(count):
        ids = random.integers(0, CLASSES, (height // CELL, width // CELL), dtype=np.uint8)
        layout = Image.fromarray(ids).resize((width, height), Image.Resampling.NEAREST)
        layout.save(folder / f"{index:06d}.png")


def format_row(row: Row) -> str:
    """The line of a row: our result, then PyTorch's."""
    text = START.format(**row)
    if row["pass"] == "evaluate":
        return text + (
            f"{row['images']} images  {row['seconds']:.1f} s  "
            f"{row['seconds_per_image']:.3f} s per image  {row['peak_mb']} MB"
        )
    text += f"batch {row['batch']:2}  {row['seconds']:.4f} s  {row['peak_mb']} MB"
    if "ratio" in row:
        text += f"   PyTorch ({row['torch_order']}) {row['torch_seconds']:.4f} s"
        text += f"  {row['torch_peak_mb']} MB   PyTorch / ours {row['ratio']:.2f}"
        text += f"   difference {row['max_difference']:.1e}"
        if "different_pixels" in row:
            text += f"  {row['different_pixels']:.1e} of the pixels"
    return text
