"""Draw the test layouts with a trained generator: pictures, submission.zip, overview.png.

bash test.sh --name RUN
python test.py --input_path LABELS --img_path STYLES --output_path DIR --checkpoint FILE
bash test.sh --name RUN --style a.jpg --style-to b.jpg --steps 8
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from options.command_line import parse_test
from options.run import TestOptions
from tools.arguments import exit_codes
from tools.supervise import supervise

if TYPE_CHECKING:
    from tools.submission import SubmissionPlan


@exit_codes(stopped="stopped: nothing was written")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 for what the user must mend, 1 for a failure, 130 or 143 when stopped."""
    return draw(parse_test(sys.argv[1:] if argv is None else argv))


def draw(options: TestOptions) -> int:
    from tools.set_up import check_machine
    from tools.start import start_jittor
    from tools.submission import plan_submission, submit

    check_machine()
    if options.style_to is not None:
        return draw_strips(options)
    plan = plan_submission(options)
    say(plan)
    start_jittor(options.device)
    return submit(plan)


def draw_strips(options: TestOptions) -> int:
    from tools.start import start_jittor
    from tools.style_strip import make_strips, plan_strips
    from training.stop import Stopped

    strips = plan_strips(options)
    say(strips.plan)
    start_jittor(options.device)
    try:
        print(f"strips: {make_strips(strips)}")
    except Stopped as stopped:
        return stopped.exit_code
    return 0


def say(plan: SubmissionPlan) -> None:
    """Print what will be drawn, before the work."""
    print(f"{len(plan.jobs)} {plan.what}, generator {plan.snapshot.path}")
    print(*plan.notes, sep="\n", end="\n" if plan.notes else "", flush=True)


if __name__ == "__main__":
    sys.exit(supervise(main))
