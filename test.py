"""Generate images of test layouts with a trained generator: images, submission.zip, overview.png.

bash test.sh --name RUN
python test.py --input_path LABELS --img_path STYLES --output_path DIR --checkpoint FILE
bash test.sh --name RUN --style a.jpg --style-to b.jpg --steps 8
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from options.command_line import parse_test
from options.test import TestOptions
from runtime.program import exit_codes
from runtime.supervise import supervise

if TYPE_CHECKING:
    from inference.plan import SynthesisPlan


@exit_codes(stopped="stopped: no file was written")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 for a user error, 1 for a failure, 130 or 143 after a signal."""
    from runtime.checks import check_machine

    options = parse_test(sys.argv[1:] if argv is None else argv)
    check_machine()
    return interpolate(options) if options.style_to is not None else generate(options)


def generate(options: TestOptions) -> int:
    """Make the submission; returns the exit code."""
    from inference.submission import plan_submission, submit
    from runtime.start import start_jittor

    plan = plan_submission(options)
    describe(plan)
    start_jittor(options.device)
    return submit(plan)


def interpolate(options: TestOptions) -> int:
    """Write the interpolations between two styles; returns the exit code."""
    from inference.interpolation import make_interpolations, plan_interpolations
    from runtime.start import start_jittor
    from runtime.stop import Stopped

    interpolation = plan_interpolations(options)
    describe(interpolation.plan)
    start_jittor(options.device)
    try:
        print(f"interpolations: {make_interpolations(interpolation)}")
    except Stopped as stopped:
        return stopped.exit_code
    return 0


def describe(plan: SynthesisPlan) -> None:
    """Print the plan before the work."""
    noun = plan.conditioner.noun + "s" * (len(plan.jobs) != 1)
    print(f"{len(plan.jobs)} {noun}, generator {plan.snapshot.path}")
    print(*plan.notes, sep="\n", end="\n" if plan.notes else "", flush=True)


if __name__ == "__main__":
    sys.exit(supervise(main))
