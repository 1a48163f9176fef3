"""Draw a dataset of landscapes in the contest's form, for who has none at hand.

    python -m tools.make_demo_data --output_path DIR --count 300 --size 384 512 --seed 0

The same command again completes what was interrupted, and does nothing where nothing is missing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from data.synthetic.dataset import DemoSet, write_dataset
from options.errors import UserError
from tools.arguments import ToolParser, exit_codes
from tools.progress import ProgressBar


def make(
    output_path: Path | str,
    count: int = 300,
    test_count: int | None = None,
    height: int = 384,
    width: int = 512,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> int:
    """Draw the demo dataset into a folder and return how many pairs were not there yet.

    test_count: test layouts; None is a tenth of `count`, at least 1. height, width: pixels.
    workers: processes; None is one a core, and the files do not depend on it.

    Raises UserError where the folder holds something else, or an argument is out of range.
    """
    if test_count is None:
        test_count = max(1, count // 10)
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    if workers < 0:
        raise UserError(f"workers must be 0 or more: {workers}; 0 and 1 use this process alone")
    wanted = DemoSet(seed, count, test_count, height, width)
    with ProgressBar("drawing", "pairs") as show:
        place = Path(output_path).expanduser()
        return write_dataset(place, wanted, workers, show if progress else None)


@exit_codes(stopped="stopped; the same command draws what is missing")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 for what the user must mend, 130 for Ctrl-C."""
    arguments = _parser().parse_args(argv)
    height, width = arguments.size
    drawn = make(
        arguments.output_path,
        count=arguments.count,
        test_count=arguments.test_count,
        height=height,
        width=width,
        seed=arguments.seed,
        workers=arguments.workers,
    )
    if drawn:
        print(f"drawn: {drawn} pairs and test layouts in {arguments.output_path}")
    else:
        print(f"complete already, nothing to draw: {arguments.output_path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser("make_demo_data", __doc__)
    add = parser.add_argument
    add("--output_path", "--output-path", required=True, metavar="DIR", help="a new folder")
    add("--count", type=int, default=300, metavar="N", help="training pairs (300)")
    add("--test_count", "--test-count", type=int, metavar="M", help="test layouts (a tenth of N)")
    add(
        "--size", type=int, nargs=2, default=(384, 512), metavar=("HEIGHT", "WIDTH"),
        help="of the pictures, in pixels (384 512)",
    )  # fmt: skip
    add("--seed", type=int, default=0, help="0 or more; another seed draws other landscapes (0)")
    add("--workers", type=int, metavar="W", help="processes (one a core)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
