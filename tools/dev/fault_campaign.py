"""Injects faults, such as kills, full disks and damaged inputs, and tabulates the failures.

    python -m tools.dev.fault_campaign kills   --output_path DIR --count 50
    python -m tools.dev.fault_campaign points  --output_path DIR --count 40
    python -m tools.dev.fault_campaign inputs  --output_path DIR --count 1000
    python -m tools.dev.fault_campaign inputs  --output_path DIR --case 17 --kind lists

kills: SIGKILL at random moments of a training. The resumed run must end with the weights of an
unbroken run. points: SIGKILL before and during changes of the file system, a disk that is full from
one change on, and single disk errors. The resumed run must end with the same weights. inputs:
programs on files and flags that a seed damages. All output is in DIR: one JSON file per part, and
the files of each failed case. docs/reliability.md has the last table.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from data.files import write_text
from options.errors import UserError
from runtime.program import ToolParser, exit_codes
from tools.dev.faults import inputs
from tools.dev.faults.cases import KINDS, Case
from tools.dev.faults.shim import FaultKind
from tools.dev.faults.training import Row, fault_points, kill_at_random

FAULTS: tuple[FaultKind, ...] = ("kill", "tear", "full", "error")
PARTS = ("kills", "points", "inputs")


@exit_codes(stopped="stopped; finished cases are in the JSON files")
def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 1 if a case failed, 2 for a user error."""
    arguments = _parser().parse_args(argv)
    output = Path(arguments.output_path).expanduser()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--output_path: expected a folder, got {output}: {error.strerror}."
        ) from None
    started = time.monotonic()
    if arguments.part == "inputs":
        rows = _run_inputs(output / "inputs", arguments)
    else:
        work = output.resolve() / arguments.part
        shutil.rmtree(work, ignore_errors=True)
        if arguments.part == "kills":
            rows = [kill_at_random(work, arguments.count or 50, arguments.seed)]
        else:
            rows = [fault_points(work, arguments.count or 40, kind) for kind in FAULTS]
    minutes = (time.monotonic() - started) / 60
    for row in rows:
        print(f"| {row.what} | {row.tried} | {len(row.failures)} | {row.note} |")
    failures = [failure for row in rows for failure in row.failures]
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{arguments.part}: {len(failures)} failures, {minutes:.0f} minutes")
    content = {"seed": arguments.seed, "rows": [row.to_dict() for row in rows]}
    write_text(output / f"{arguments.part}.json", json.dumps(content, indent=2) + "\n")
    return int(bool(failures))


def _run_inputs(work: Path, arguments: argparse.Namespace) -> list[Row]:
    work.mkdir(parents=True, exist_ok=True)
    work = work.resolve()
    numbers: Sequence[int] = range(arguments.start, arguments.start + (arguments.count or 1000))
    if arguments.case is not None:
        numbers = [arguments.case]
    cases: list[Case] = []
    for case in inputs.campaign(work, numbers, arguments.seed, arguments.kind):
        cases.append(case)
        if case.fault or arguments.case is not None:
            print(describe(case), flush=True)
        if len(cases) % 100 == 0:
            print(f"{len(cases)} of {len(numbers)} cases", flush=True)
    rows = []
    for kind, counter in sorted(inputs.count(cases).items()):
        failed = [describe(case) for case in cases if case.kind == kind and case.fault]
        note = ", ".join(f"{number} {name}" for name, number in sorted(counter.items())[:-1])
        rows.append(Row(f"damaged inputs: {kind}", counter["tried"], failed, note))
    return rows


def describe(case: Case) -> str:
    """A few lines about a case: number, command, damage and result."""
    return (
        f"case {case.number} ({case.kind}): {case.program} {' '.join(map(ascii, case.arguments))}\n"
        f"  damaged: {'; '.join(map(ascii, case.damages)) or 'flags'}\n"
        f"  exit {case.code} after {case.seconds:.1f} s. {case.fault}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser("tools.dev.fault_campaign", __doc__)
    add = parser.add_argument
    add("part", choices=PARTS, help="the faults to inject")
    add("--output_path", "--output-path", required=True, metavar="DIR", help="output folder")
    add("--count", type=int, metavar="N", help="kills (50), points per kind (40) or cases (1000)")
    add("--seed", type=int, default=0, metavar="N", help="chooses the faults (0)")
    add("--start", type=int, default=0, metavar="N", help="inputs: the first case (0)")
    add("--case", type=int, metavar="N", help="inputs: only this case")
    kinds = sorted(KINDS)
    add("--kind", choices=kinds, metavar="KIND", help=f"inputs: only one of {', '.join(kinds)}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
