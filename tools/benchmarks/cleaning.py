"""Times the cleaning of a dataset on drawn pairs: pairs a second, memory, duplicates, a rerun.

Some pairs are drawn and measured. What follows the measuring is timed on as many links to them as
are asked for, which the cache knows by their content, and duplicates on as many different layouts.
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
from data.transforms import resize_layout
from options.errors import UserError
from tools.make_demo_data import make

_ROOT = Path(__file__).resolve().parents[2]
# In a process of its own, so that the peak memory is that of the cleaning alone.
_PROGRAM = """
import json, resource, sys, time
start = time.perf_counter()
from tools.filter_dataset import make_selections
make_selections(sys.argv[1], workers=int(sys.argv[2]), progress=False,
                thresholds_path=sys.argv[3] if len(sys.argv) > 3 else None)
who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
own, child = (resource.getrusage(one).ru_maxrss / 1024 for one in who)
print(json.dumps({"seconds": time.perf_counter() - start, "own": own, "child": child}))
"""

Row = dict[str, Any]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this measurement."""
    parser.add_argument("--count", type=int, default=200, metavar="N", help="drawn pairs (200)")
    parser.add_argument("--size", type=int, nargs=2, default=(768, 1024), metavar=("H", "W"))
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes (2)")
    parser.add_argument("--many", type=int, default=10_000, metavar="N", help="links (10000)")


def measure_cleaning(arguments: argparse.Namespace) -> list[Row]:
    """Measure, print a line each, and return the rows."""
    count, many, workers = arguments.count, arguments.many, arguments.workers
    height, width = arguments.size
    with tempfile.TemporaryDirectory() as folder:
        drawn, linked = Path(folder) / "drawn", Path(folder) / "linked"
        make(drawn, count, 1, height, width, workers=workers)
        pairs = find_pairs(drawn).pairs
        row = _clean("measure", drawn, workers, count)
        rate = count / row["seconds"]
        rows = [row | {"height": height, "width": width, "pairs_a_second": rate}]
        print(
            f"measure     {count} pairs of {height} x {width}, {workers} processes: "
            f"{rate:.1f} pairs/s, {row['peak_mb']:.0f} MB in all processes together",
            flush=True,
        )
        _link(pairs, linked, many)
        (linked / "selections").mkdir()
        shutil.copy(drawn / "selections/.measures.sqlite", linked / "selections")
        row = _clean("compare", linked, workers, many)
        rows.append(row)
        minutes = (many / rate + row["seconds"]) / 60
        print(
            f"compare     {many} measured pairs: {row['seconds']:.1f} s, {row['peak_mb']:.0f} MB; "
            f"with the measuring, extrapolated: {minutes:.1f} minutes",
            flush=True,
        )
        changed = linked / "mine.json"
        changed.write_text('{"measures": {"colourfulness": 20}}')
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
    """Make a dataset of links to pairs, as many as asked for."""
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
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    result = subprocess.run(
        command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise UserError(f"the cleaning must run to its end: {result.stderr.strip()[-300:]}")
    told = json.loads(result.stdout.splitlines()[-1])
    # No more than this: pages that processes share count for each.
    peak = told["own"] + workers * told["child"]
    return {"what": what, "pairs": count, "seconds": told["seconds"], "peak_mb": peak}


def _layouts(pairs: list[Pair], count: int) -> NDArray[np.uint16]:
    """Return as many different grids as asked for: the drawn ones, moved and mirrored."""
    rng = np.random.default_rng(0)
    drawn = [resize_layout(read_label(pair.label_path), *GRID) for pair in pairs]
    grids = np.empty((count, GRID[0] * GRID[1]), np.uint16)
    for index in range(count):
        rows = np.clip(np.arange(GRID[0]) + rng.integers(-8, 9), 0, GRID[0] - 1)
        columns = np.clip(np.arange(GRID[1]) + rng.integers(-12, 13), 0, GRID[1] - 1)
        columns = columns[:: int(rng.choice((-1, 1)))]
        grids[index] = drawn[index % len(drawn)][rows[:, None], columns].ravel()
    return grids
