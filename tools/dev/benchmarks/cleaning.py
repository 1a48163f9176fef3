"""Times the cleaning of a dataset: pairs per second, memory, duplicates, and a rerun.

The measuring step runs on rendered pairs. The steps after it run on `--many` links to these pairs,
whose measurements the cache finds by content. Duplicates are searched among `--many` different
layouts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.cleaning.duplicates import GRID, link_layouts
from data.folders import Pair, find_pairs
from data.labels import read_label
from data.synthetic.dataset import make_demo_dataset
from data.transforms import resize_layout
from options.errors import UserError
from runtime import ROOT

# Runs in a separate process, so that its peak memory is that of the cleaning.
_PROGRAM = """
import json, resource, sys, time
start = time.perf_counter()
from data.cleaning.pipeline import make_selections
make_selections(sys.argv[1], workers=int(sys.argv[2]), progress=False,
                thresholds_path=sys.argv[3] if len(sys.argv) > 3 else None)
who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
own, child = (resource.getrusage(one).ru_maxrss / 1024 for one in who)
print(json.dumps({"seconds": time.perf_counter() - start, "own": own, "child": child}))
"""

Row = dict[str, Any]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this measurement."""
    add = parser.add_argument
    add("--count", type=int, default=200, metavar="N", help="rendered pairs (200)")
    add(
        "--size", type=int, nargs=2, default=(768, 1024), metavar=("H", "W"),
        help="of the pairs (768 1024)",
    )  # fmt: skip
    add("--workers", type=int, default=2, metavar="N", help="processes (2)")
    add("--many", type=int, default=10_000, metavar="N", help="links to them (10000)")


def measure_cleaning(arguments: argparse.Namespace) -> list[Row]:
    """Measure, print a line per row, and return the rows."""
    count, many, workers = arguments.count, arguments.many, arguments.workers
    height, width = arguments.size
    with tempfile.TemporaryDirectory() as folder:
        rendered, linked = Path(folder) / "rendered", Path(folder) / "linked"
        make_demo_dataset(rendered, count, 1, height, width, workers=workers)
        pairs = find_pairs(rendered).pairs
        row = _clean("measure", rendered, workers, count)
        rate = count / row["seconds"]
        rows = [row | {"height": height, "width": width, "pairs_a_second": rate}]
        print(
            f"measure     {count} pairs of {height} x {width}, {workers} processes: "
            f"{rate:.1f} pairs/s, {row['peak_mb']:.0f} MB in all processes",
            flush=True,
        )
        _link(pairs, linked, many)
        (linked / "selections").mkdir()
        shutil.copy(rendered / "selections/.measures.sqlite", linked / "selections")
        row = _clean("compare", linked, workers, many)
        rows.append(row)
        minutes = (many / rate + row["seconds"]) / 60
        print(
            f"compare     {many} measured pairs: {row['seconds']:.1f} s, {row['peak_mb']:.0f} MB; "
            f"extrapolated with measuring: {minutes:.1f} minutes",
            flush=True,
        )
        changed = linked / "mine.json"
        changed.write_text('{"measures": {"colorfulness": 20}}')
        rows.append(_clean("rerun", linked, workers, many, changed))
        print(
            f"rerun       {many} pairs with another threshold: {rows[-1]['seconds']:.1f} s",
            flush=True,
        )
        grids = _layouts(pairs, many)
    start = time.perf_counter()
    link_layouts(grids)
    seconds = time.perf_counter() - start
    rows.append({"what": "duplicates", "pairs": many, "seconds": seconds})
    print(f"duplicates  among {many} layouts: {seconds:.1f} s", flush=True)
    return rows


def _link(pairs: list[Pair], root: Path, count: int) -> None:
    """Make a dataset of `count` links to the pairs."""
    for index in range(count):
        pair = pairs[index % len(pairs)]
        for path, part in ((pair.image_path, "imgs"), (pair.label_path, "labels")):
            place = root / "train" / part / f"link_{index:06d}{path.suffix}"
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)


def _clean(what: str, root: Path, workers: int, count: int, thresholds: Path | None = None) -> Row:
    command = [sys.executable, "-c", _PROGRAM, str(root), str(workers)]
    if thresholds is not None:
        command.append(str(thresholds))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise UserError(f"the cleaning failed: {result.stderr.strip()[-300:]}")
    measured = json.loads(result.stdout.splitlines()[-1])
    # an upper bound: pages that processes share count once per process
    peak = measured["own"] + workers * measured["child"]
    return {"what": what, "pairs": count, "seconds": measured["seconds"], "peak_mb": peak}


def _layouts(pairs: list[Pair], count: int) -> NDArray[np.uint16]:
    """`count` different grids: those of the pairs, shifted and mirrored."""
    rng = np.random.default_rng(0)
    originals = [resize_layout(read_label(pair.label_path), *GRID) for pair in pairs]
    grids = np.empty((count, GRID[0] * GRID[1]), np.uint16)
    for index in range(count):
        rows = np.clip(np.arange(GRID[0]) + rng.integers(-8, 9), 0, GRID[0] - 1)
        columns = np.clip(np.arange(GRID[1]) + rng.integers(-12, 13), 0, GRID[1] - 1)
        columns = columns[:: int(rng.choice((-1, 1)))]
        grids[index] = originals[index % len(originals)][rows[:, None], columns].ravel()
    return grids
