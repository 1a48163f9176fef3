"""Train a generator of landscapes from layouts, then draw the test layouts.

    bash train.sh                                               the demo dataset, schedule quick
    bash train.sh --data DIR --schedule main --name RUN         the contest's run
    python train.py --input_path DIR --dry-run                  says what would happen

The same command again goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from options.command_line import parse_train
from options.errors import UserError
from options.paths import exists, expand
from options.run import RunOptions, TestOptions
from options.schedule import Schedule, load_schedule
from tools.arguments import exit_codes
from tools.supervise import supervise

DEMO_PAIRS = 240
DEMO_TEST_LAYOUTS = 12
DEMO_SIZE = (192, 256)  # height, width: twice that of schedule quick


@exit_codes(stopped="stopped; the same command goes on from what is saved")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 what the user must mend, 1 a failed training, 130 or 143 a stopped one."""
    notes: list[str] = []
    options = parse_train(sys.argv[1:] if argv is None else argv, say=notes.append)
    schedule = load_schedule(options.training.schedule, options.data.task)
    if options.training.dry_run:
        print(*notes, sep="\n", end="\n" * bool(notes))
        return say_what_would_happen(options, schedule)
    return run(options, schedule, notes)


def run(options: RunOptions, schedule: Schedule, notes: Sequence[str] = ()) -> int:
    """Draw the demo dataset where none is given, clean, check, train, make the submission."""
    from tools.set_up import check_machine
    from tools.start import check_precision, least_capability, rank_in_job, start_jittor
    from training.preparation import check_cheaply, with_first_id
    from training.run_folder import RunFolder

    check_machine()
    rank, processes = rank_in_job()
    if rank == 0:
        print(options.describe(), schedule.describe(), *notes, sep="\n\n", end="\n\n", flush=True)
        RunFolder(options.training.results_path, str(options.training.name)).check()
        if options.data.input_path is None:
            draw_demo_data(demo_path(options))
    if options.data.input_path is None:
        options = replace(options, data=replace(options.data, input_path=str(demo_path(options))))
    # Recorded in snapshots and options.json, which may be read from another folder.
    place = str(expand(str(options.data.input_path)).absolute())
    options = replace(options, data=replace(options.data, input_path=place))
    if rank == 0:
        options = with_first_id(options)
        missing = check_cheaply(options, schedule, processes)
        if missing:
            make_missing_selections(options, missing)
    route = start_jittor(options.training.device)
    check_precision(options.training.precision, route, least_capability())
    outcome = train_run(options, schedule, route.device)
    if outcome == 0 and rank == 0:
        return finish(options, schedule)
    return outcome


def make_missing_selections(options: RunOptions, missing: Sequence[str]) -> None:
    """Clean the dataset, so that the subsets that the schedule needs are there.

    They are written into the run's folder where the dataset's is read-only.
    """
    from tools.filter_dataset import make_selections, why_not_writable
    from training.run_folder import RunFolder

    data = options.data
    place = expand(str(data.input_path)) / "selections"
    # What a person has put there already, such as keep.txt, is never passed over.
    if not exists(place) and why_not_writable(place):
        place = RunFolder(options.training.results_path, str(options.training.name)).selections
        print(f"the dataset is read-only: its selections are written into {place}")
    print(f"cleaning the dataset for {' and '.join(missing)}: {data.input_path}", flush=True)
    made = make_selections(
        str(data.input_path),
        place,
        classes=data.classes,
        unknown_label=data.unknown_label,
        first_id=data.first_id,
        workers=data.workers,
    )
    print(*made.lines, f"why: {made.output_path / 'report.html'}", sep="\n", end="\n\n", flush=True)


def train_run(options: RunOptions, schedule: Schedule, device: str) -> int:
    """Check the pairs, then run the phases; the exit code."""
    from training import processes
    from training.log import Log
    from training.loop import TrainingFailed, train
    from training.preparation import prepare_run, with_first_id
    from training.run_folder import RunFolder
    from training.stop import Stopped

    rank = processes.rank()
    folder = RunFolder(options.training.results_path, str(options.training.name))
    log = Log(folder, silent=rank > 0)
    # The first process checks the pairs; the others wait for its answers.
    preparation = prepare_run(options, schedule, log) if rank == 0 else None
    processes.wait_for_all()
    if preparation is None:
        options = with_first_id(options, silent=True)
        preparation = prepare_run(options, schedule, log, writer=False)
    try:
        if preparation.plan:
            train(preparation, log, device)
        else:
            log.say(f"run {folder.name}: every phase is done, nothing to train")
    except Stopped as stopped:
        return stopped.exit_code
    except TrainingFailed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    finally:
        log.close()
        preparation.folder.close()
    return 0


def finish(options: RunOptions, schedule: Schedule) -> int:
    """Make the submission where the run is complete and its dataset has test layouts."""
    from tools.submission import plan_submission, submit
    from training.preparation import find_progress

    training = options.training
    _, state, _ = find_progress(options, schedule)
    command = f"bash test.sh --name {training.name}"
    print(f"sample sheets: {Path(training.results_path, str(training.name), 'samples')}")
    if state is None or state.progress.epoch <= schedule.last_epoch:
        print(f"phases are left to train; pictures so far: {command}")
        return 0
    missing, folder = _find_missing_test_data(options)
    if missing:
        print(f"the dataset has no {missing}; for a submission: {command} --input_path {folder}")
        return 0
    wanted = TestOptions(
        name=training.name, results_path=training.results_path, device=training.device
    )
    plan = plan_submission(wanted)
    print(*plan.notes, sep="\n", end="\n" if plan.notes else "", flush=True)
    return submit(plan)


def _find_missing_test_data(options: RunOptions) -> tuple[str, str]:
    """What the dataset lacks to draw pictures for, and the folder to name; empty if nothing."""
    from data.folders import CONTENT, find_content
    from tools.submission import find_run_layouts

    dataset = str(options.data.input_path)
    try:
        if options.data.task == "translation":
            missing = (f"test/{CONTENT}", "CONTENT")
            find_content(Path(dataset) / "test" / CONTENT)
        else:
            missing = ("test layouts", "LABELS")
            find_run_layouts(dataset)
    except UserError:
        return missing
    return "", ""


def say_what_would_happen(options: RunOptions, schedule: Schedule) -> int:
    """Print options, schedule and what a start would do, and write nothing."""
    print(options.describe(), end="\n\n")
    path = demo_path(options)
    if options.data.input_path is None and not path.is_dir():
        print(schedule.describe(), end="\n\n")
        print(f"would draw the demo dataset in {path}: {DEMO_PAIRS} pairs")
        return 0
    if options.data.input_path is None:
        options = replace(options, data=replace(options.data, input_path=str(path)))
    from training.preparation import describe_run, with_first_id
    from training.run_folder import RunFolder

    RunFolder(options.training.results_path, str(options.training.name)).check()
    print(describe_run(with_first_id(options), schedule))
    return 0


def demo_path(options: RunOptions) -> Path:
    """Where the built-in dataset is drawn."""
    return Path(options.training.results_path) / "demo_dataset"


def draw_demo_data(path: Path) -> None:
    """Draw the built-in dataset, or what is missing of it."""
    from tools.make_demo_data import make

    if not path.is_dir():
        print(f"drawing the demo dataset: {path}", flush=True)
    make(
        path,
        count=DEMO_PAIRS,
        test_count=DEMO_TEST_LAYOUTS,
        height=DEMO_SIZE[0],
        width=DEMO_SIZE[1],
    )


if __name__ == "__main__":
    sys.exit(supervise(main))
