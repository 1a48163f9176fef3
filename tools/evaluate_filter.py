"""How well tools.filter_dataset finds what is wrong: plant known faults and count.

    python -m tools.evaluate_filter                                    drawn landscapes
    python -m tools.evaluate_filter --input_path DIR --classes 11 --unknown_label 11

In each round a fifth of the pairs get one kind of fault, and the whole dataset, faults and all, is
measured and judged at the default thresholds. The dataset's own pairs are taken to be clean.
Reported a fault: AUC of the measure made for it and of the verdict (the highest severity of all
measures), precision and recall of what is left out, and the share of clean pairs left out with it.
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
from tools.arguments import ToolParser, exit_codes
from tools.make_demo_data import make
from tools.progress import ProgressBar


@exit_codes(stopped="stopped")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 for what the user must mend, 130 for Ctrl-C."""
    given = _parser().parse_args(argv)
    workers = len(os.sched_getaffinity(0)) if given.workers is None else given.workers
    with tempfile.TemporaryDirectory() as folder:
        path = given.input_path
        if path is None:
            path = Path(folder) / "drawn landscapes"
            height, width = given.size
            make(path, given.count, 1, height, width, given.seed, workers)
        with ProgressBar("measuring", "pairs") as show:
            result = evaluate(
                path,
                classes=given.classes,
                unknown_label=given.unknown_label,
                count=given.count,
                share=given.share,
                rounds=given.rounds,
                seed=given.seed,
                workers=workers,
                faults=given.faults,
                progress=show,
            )
    print(json.dumps(asdict(result), indent=1) if given.json else result.text())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser("evaluate_filter", __doc__)
    add = parser.add_argument
    add("--input_path", "--input-path", metavar="DIR", help="else landscapes are drawn")
    add("--classes", type=int, default=29, metavar="K", help="ids are 0..K-1 (29)")
    add("--unknown_label", "--unknown-label", type=int, metavar="ID", help="id of unknown pixels")
    add("--count", type=int, default=150, metavar="N", help="pairs looked at (150)")
    add(
        "--size", type=int, nargs=2, default=(192, 256), metavar=("HEIGHT", "WIDTH"),
        help="of drawn landscapes (192 256)",
    )  # fmt: skip
    add("--share", type=float, default=0.2, help="of pairs with a fault in a round (0.2)")
    add("--rounds", type=int, default=2, metavar="N", help="rounds a fault (2)")
    add("--faults", nargs="+", metavar="FAULT", help=f"some of {', '.join(MEASURE_OF)}")
    add("--seed", type=int, default=0, help="what is planted where (0)")
    add("--workers", type=int, metavar="N", help="processes (one a core)")
    add("--json", action="store_true", help="print the numbers as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
