"""Selects the pairs to train on: Total, Selection I and Selection II, with a reason per pair.

    python -m tools.filter_dataset --input_path DIR
    python -m tools.filter_dataset --input_path DIR --target 0.81 0.73

Writes into DIR/selections (or --output_path): total.txt, selection_1.txt and selection_2.txt, which
train.py reads; report.csv, with a row per pair; thresholds.json; report.html, a page to browse. To
override a decision, list file stems in keep.txt or drop.txt there; they persist across runs. The
dataset in DIR is never changed. Lists and reports that the user has changed are not replaced: the
program names them and stops before any work. After an interruption the same command resumes. Other
thresholds take effect at once, because measurements are cached.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from data.cleaning.pipeline import make_selections
from runtime.program import ToolParser, exit_codes


@exit_codes(stopped="stopped; the same command resumes")
def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 2 for a user error, 130 for Ctrl-C."""
    arguments = _parser().parse_args(argv)
    made = make_selections(
        arguments.input_path,
        arguments.output_path,
        classes=arguments.classes,
        unknown_label=arguments.unknown_label,
        first_id=arguments.first_id,
        target=tuple(arguments.target) if arguments.target else None,
        thresholds_path=arguments.thresholds,
        kept=arguments.kept,
        workers=arguments.workers,
    )
    print("\n".join(made.lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser("tools.filter_dataset", __doc__)
    add = parser.add_argument
    add("--input_path", "--input-path", "--data", required=True, metavar="DIR", help="the dataset")
    add("--output_path", "--output-path", metavar="DIR", help="output folder (DIR/selections)")
    add("--classes", type=int, default=29, metavar="K", help="ids are 0..K-1 (29)")
    add("--unknown_label", "--unknown-label", type=int, metavar="ID", help="id of unknown pixels")
    add("--first_id", "--first-id", type=int, metavar="ID", help="id of the first class (0)")
    add(
        "--target", type=float, nargs=2, metavar=("I", "II"),
        help="shares of the pairs to keep (the contest team's: 0.81 0.73)",
    )  # fmt: skip
    add("--thresholds", metavar="FILE", help="a thresholds.json to use")
    add("--kept", type=int, metavar="N", help="pairs kept per group of near-duplicate layouts (3)")
    add("--workers", type=int, metavar="N", help="processes (one per core)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
