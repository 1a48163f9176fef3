"""Evaluates tools.filter_dataset: plants known faults and counts how many it finds.

    python -m tools.evaluate_filter                                    on synthetic landscapes
    python -m tools.evaluate_filter --input_path DIR --classes 11 --unknown_label 11

In each round a fifth of the pairs get one kind of fault. The filter then measures the whole dataset
and decides at the default thresholds. The dataset's own pairs count as clean. The report has a row
per fault: AUC of the measure made for it and of the decision (the highest severity of all
measures), precision and recall of the dropped pairs, and the share of clean pairs dropped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from data.cleaning.evaluation import MEASURE_OF, evaluate
from data.synthetic.dataset import make_demo_dataset
from runtime.program import ToolParser, exit_codes
from runtime.progress import ProgressBar


@exit_codes(stopped="stopped")
def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 2 for a user error, 130 for Ctrl-C."""
    arguments = _parser().parse_args(argv)
    workers = len(os.sched_getaffinity(0)) if arguments.workers is None else arguments.workers
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.input_path
        if path is None:
            path = Path(folder) / "synthetic landscapes"
            height, width = arguments.size
            make_demo_dataset(path, arguments.count, 1, height, width, arguments.seed, workers)
        with ProgressBar("measuring", "pairs") as show:
            result = evaluate(
                path,
                classes=arguments.classes,
                unknown_label=arguments.unknown_label,
                count=arguments.count,
                share=arguments.share,
                rounds=arguments.rounds,
                seed=arguments.seed,
                workers=workers,
                faults=arguments.faults,
                progress=show,
            )
    print(json.dumps(asdict(result), indent=1) if arguments.json else result.text())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser("tools.evaluate_filter", __doc__)
    add = parser.add_argument
    add(
        "--input_path",
        "--input-path",
        metavar="DIR",
        help="a dataset (default: synthetic landscapes)",
    )
    add("--classes", type=int, default=29, metavar="K", help="ids are 0..K-1 (29)")
    add("--unknown_label", "--unknown-label", type=int, metavar="ID", help="id of unknown pixels")
    add("--count", type=int, default=150, metavar="N", help="pairs to use (150)")
    add(
        "--size", type=int, nargs=2, default=(192, 256), metavar=("HEIGHT", "WIDTH"),
        help="of synthetic landscapes (192 256)",
    )  # fmt: skip
    add("--share", type=float, default=0.2, help="share of pairs with a fault per round (0.2)")
    add("--rounds", type=int, default=2, metavar="N", help="rounds per fault (2)")
    add("--faults", nargs="+", metavar="FAULT", help=f"a subset of {', '.join(MEASURE_OF)}")
    add("--seed", type=int, default=0, help="chooses the pairs and their faults (0)")
    add("--workers", type=int, metavar="N", help="processes (one per core)")
    add("--json", action="store_true", help="print the numbers as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
