"""Train a generator of landscapes from layouts, then generate the images of the test layouts.

    bash train.sh                                               the demo dataset, schedule quick
    bash train.sh --data DIR --schedule main --name RUN         the contest's run
    bash train.sh --data DIR --task segmentation --name RUN     a segmenter, to measure images with
    python train.py --input_path DIR --dry-run                  prints the plan and stops

The same command again resumes where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from options.command_line import parse_train
from options.paths import exists, expand
from options.schedule import Schedule, load_schedule
from options.test import TestOptions
from options.train import RunOptions
from runtime.program import exit_codes
from runtime.supervise import supervise

DEMO_PAIRS = 240
DEMO_TEST_LAYOUTS = 12
DEMO_SIZE = (192, 256)  # height, width: twice that of schedule quick


@exit_codes(stopped="stopped; the same command resumes from the last checkpoint")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 for a user error, 1 for a failed training, 130 or 143 after a signal."""
    notes: list[str] = []
    options = parse_train(sys.argv[1:] if argv is None else argv, log=notes.append)
    schedule = load_schedule(options.training.schedule, options.data.task)
    if options.training.dry_run:
        print(*notes, sep="\n", end="\n" * bool(notes))
        return dry_run(options, schedule)
    return run(options, schedule, notes)


def run(options: RunOptions, schedule: Schedule, notes: Sequence[str] = ()) -> int:
    """Generate the demo dataset if none is given, clean, check, train, make the submission."""
    from runtime.checks import check_machine
    from runtime.start import check_precision, least_capability, rank_in_job, start_jittor
    from training.preflight import check_inputs, complete_options
    from training.run_folder import RunFolder

    check_machine()
    rank, processes = rank_in_job()
    if rank == 0:
        print(options.describe(), schedule.describe(), *notes, sep="\n\n", end="\n\n", flush=True)
        RunFolder(options.training.results_path, str(options.training.name)).check()
        if options.data.input_path is None:
            make_demo_data(demo_path(options))
    options = with_absolute_input(options)
    if rank == 0:
        options = complete_options(options)
        missing = check_inputs(options, schedule, processes)
        if missing:
            make_missing_selections(options, missing)
    backend = start_jittor(options.training.device)
    check_precision(options.training.precision, backend, least_capability())
    outcome = train_run(options, schedule, backend.device)
    if outcome == 0 and rank == 0:
        return FINISH.get(options.data.task, finish_images)(options, schedule)
    return outcome


def with_absolute_input(options: RunOptions) -> RunOptions:
    """The options with an absolute input path, the demo dataset's by default.

    Snapshots and options.json record it, and may be read from another folder.
    """
    given = options.data.input_path
    path = expand(str(demo_path(options) if given is None else given)).absolute()
    return replace(options, data=replace(options.data, input_path=str(path)))


def make_missing_selections(options: RunOptions, missing: Sequence[str]) -> None:
    """Clean the dataset to make the subsets that the schedule needs.

    They go into the run's folder if the dataset's is read-only.
    """
    from data.cleaning.pipeline import make_selections, why_not_writable
    from training.run_folder import RunFolder

    data = options.data
    place = expand(str(data.input_path)) / "selections"
    # An existing folder may hold the user's own lists, such as keep.txt, and is used.
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
    report = f"reasons: {made.output_path / 'report.html'}"
    print(*made.lines, report, sep="\n", end="\n\n", flush=True)


def train_run(options: RunOptions, schedule: Schedule, device: str) -> int:
    """Check the dataset, then run the phases; returns the exit code."""
    from runtime.stop import Stopped
    from training import distributed
    from training.log import Log
    from training.loop import TrainingFailed, train
    from training.preflight import complete_options, prepare_run
    from training.run_folder import RunFolder

    rank = distributed.rank()
    folder = RunFolder(options.training.results_path, str(options.training.name))
    log = Log(folder, silent=rank > 0)
    # The first process checks the files; the others then read its cached answers.
    preparation = prepare_run(options, schedule, log) if rank == 0 else None
    distributed.barrier()
    if preparation is None:
        options = complete_options(options, silent=True)
        preparation = prepare_run(options, schedule, log, writer=False)
    try:
        if preparation.plan:
            train(preparation, log, device)
        else:
            log.info(f"run {folder.name}: all phases are done")
    except Stopped as stopped:
        return stopped.exit_code
    except TrainingFailed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    finally:
        log.close()
        preparation.folder.close()
    return 0


def finish_segmenter(options: RunOptions, schedule: Schedule) -> int:
    """Print where the segmenter is, and what it is for."""
    from training.run_folder import RunFolder

    folder = RunFolder(options.training.results_path, str(options.training.name))
    print(f"sample sheets: {folder.samples}")
    print(
        f"segmenter: {folder.segmenter_path}; to measure images with it: .venv/bin/python -m "
        f"tools.evaluate --name RUN --segmenter {folder.segmenter_path}"
    )
    return 0


def finish_images(options: RunOptions, schedule: Schedule) -> int:
    """Make the submission if the run is complete and its dataset has test data."""
    from data.content import find_dataset
    from inference.submission import plan_submission, submit
    from training.preflight import find_progress

    training = options.training
    _, state, _ = find_progress(options, schedule)
    command = f"bash test.sh --name {training.name}"
    print(f"sample sheets: {Path(training.results_path, str(training.name), 'samples')}")
    if state is None or state.progress.epoch <= schedule.last_epoch:
        print(f"more phases are left to train; images so far: {command}")
        return 0
    missing = find_dataset(options.data).missing_test_data()
    if missing is not None:
        print(f"the dataset has no {missing}; for a submission: {command} --input_path DIR")
        return 0
    plan = plan_submission(
        TestOptions(name=training.name, results_path=training.results_path, device=training.device)
    )
    print(*plan.notes, sep="\n", end="\n" if plan.notes else "", flush=True)
    return submit(plan)


# What follows the training, unless it is images.
FINISH = {"segmentation": finish_segmenter}


def dry_run(options: RunOptions, schedule: Schedule) -> int:
    """Print options, schedule and the plan of a start, and write nothing."""
    from training.preflight import complete_options, describe_run
    from training.run_folder import RunFolder

    print(options.describe(), end="\n\n")
    path = demo_path(options)
    if options.data.input_path is None and not path.is_dir():
        print(schedule.describe(), end="\n\n")
        print(f"would generate the demo dataset in {path}: {DEMO_PAIRS} pairs")
        return 0
    if options.data.input_path is None:
        options = replace(options, data=replace(options.data, input_path=str(path)))
    RunFolder(options.training.results_path, str(options.training.name)).check()
    print(describe_run(complete_options(options), schedule))
    return 0


def demo_path(options: RunOptions) -> Path:
    """The folder of the built-in dataset."""
    return Path(options.training.results_path) / "demo_dataset"


def make_demo_data(path: Path) -> None:
    """Generate the built-in dataset, or the missing part of it."""
    from data.synthetic.dataset import make_demo_dataset

    if not path.is_dir():
        print(f"generating the demo dataset: {path}", flush=True)
    make_demo_dataset(
        path,
        count=DEMO_PAIRS,
        test_count=DEMO_TEST_LAYOUTS,
        height=DEMO_SIZE[0],
        width=DEMO_SIZE[1],
    )


if __name__ == "__main__":
    sys.exit(supervise(main))
