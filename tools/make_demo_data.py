"""Renders a dataset of synthetic landscapes in the contest's format.

    python -m tools.make_demo_data --output_path DIR --count 300 --size 384 512 --seed 0

After an interruption the same command renders the missing files. It has no effect on a complete
dataset.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from data.synthetic.dataset import make_demo_dataset
from runtime.program import ToolParser, exit_codes


@exit_codes(stopped="stopped; the same command renders the missing files")
def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 2 for a user error, 130 for Ctrl-C."""
    arguments = _parser().parse_args(argv)
    height, width = arguments.size
    rendered = make_demo_dataset(
        arguments.output_path,
        count=arguments.count,
        test_count=arguments.test_count,
        height=height,
        width=width,
        seed=arguments.seed,
        workers=arguments.workers,
    )
    if rendered:
        print(f"rendered: {rendered} pairs and test layouts in {arguments.output_path}")
    else:
        print(f"already complete: {arguments.output_path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser("tools.make_demo_data", __doc__)
    add = parser.add_argument
    add("--output_path", "--output-path", required=True, metavar="DIR", help="a new folder")
    add("--count", type=int, default=300, metavar="N", help="training pairs (300)")
    add("--test_count", "--test-count", type=int, metavar="M", help="test layouts (a tenth of N)")
    add(
        "--size", type=int, nargs=2, default=(384, 512), metavar=("HEIGHT", "WIDTH"),
        help="of the images, in pixels (384 512)",
    )  # fmt: skip
    add("--seed", type=int, default=0, help="0 or more; each seed renders different landscapes (0)")
    add("--workers", type=int, metavar="W", help="processes (one per core)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
