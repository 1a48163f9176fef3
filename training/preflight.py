"""All checks before the first step, the cheap ones first.

Jittor is not imported here: a user's error is reported before that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tqdm import tqdm

from data.check import Report, save_reports
from data.content import CheckedItems, Dataset, find_dataset
from data.evaluation_layouts import find_evaluation_layouts
from data.reading import LayoutClasses
from data.workers import Progress as ShowProgress
from metrics.predictions import require_classes
from options.errors import UserError
from options.paths import expand
from options.schedule import Schedule
from options.train import RunOptions
from training.checkpoint import State, clean, find_state
from training.log import Log
from training.plan import (
    PlannedPhase,
    Progress,
    check_batch_sizes,
    check_schedule,
    describe_plan,
    phases_to_run,
    plan_phases,
)
from training.run_folder import RunFolder, compare_options
from weights.segmenters import read_classes

SHOWN_FAULTS = 5


@dataclass(frozen=True)
class Preparation:
    """The start of a run: its options, the phases to run, its data, its folder, its last state.

    `dataset` and `checked` are None if no phase is left to run.
    """

    options: RunOptions
    schedule: Schedule
    folder: RunFolder
    plan: list[PlannedPhase]
    progress: Progress
    state: State | None
    dataset: Dataset | None = None
    checked: CheckedItems | None = None


def find_progress(
    options: RunOptions, schedule: Schedule
) -> tuple[RunFolder, State | None, list[str]]:
    """The run's folder, the state to resume from, and the options that changed since.

    Writes nothing. Raises UserError if the folder belongs to no run, or if options or schedule
    differ from those of the run in a way that it cannot resume with.
    """
    folder = RunFolder(options.training.results_path, str(options.training.name))
    folder.check()
    state = find_state(folder.checkpoints)
    changes: list[str] = []
    if state is not None:
        check_schedule(schedule, state.progress)
        saved = folder.saved_options()
        if saved is not None:
            changes = compare_options(saved, options)
    return folder, state, changes


def complete_options(options: RunOptions, *, silent: bool = False) -> RunOptions:
    """The options, with data options that the user left out inferred from the files.

    Raises UserError if the dataset does not exist.
    """
    data, note = find_dataset(options.data).infer_options()
    if note is not None and not silent:
        print(note, flush=True)
    return replace(options, data=data)


def check_inputs(options: RunOptions, schedule: Schedule, processes: int) -> list[str]:
    """Check everything that needs neither decoded images nor Jittor; raises UserError.

    Returns the subsets whose lists must be made first.
    """
    folder, state, _ = find_progress(options, schedule)
    progress = state.progress if state else Progress()
    phases = phases_to_run(schedule, progress, options.training.phase)
    check_batch_sizes(phases, processes)
    loss = options.loss
    weights = (loss.lambda_gan, loss.lambda_feature, loss.lambda_vgg, loss.lambda_l1)
    if "lambda_gan" not in options.unused() and not any((*weights, loss.lambda_segmentation)):
        raise UserError(
            "--lambda-gan, --lambda-feature, --lambda-vgg, --lambda-segmentation and --lambda-l1: "
            "expected at least one above 0, got 0 for all. Set one of them above 0"
        )
    check_segmenters(options)
    dataset = find_dataset(options.data)
    if options.training.evaluate_every is not None:
        find_evaluation_layouts(dataset, options.training.evaluate_layouts)
    missing = dataset.missing_subsets(folder.selections, [phase.subset for phase in phases])
    subsets = [phase.subset for phase in phases if phase.subset not in missing]
    dataset.check_lists(folder.selections, subsets)
    return missing


def check_segmenters(options: RunOptions) -> None:
    """Check that the segmenters exist and have the classes of the layouts; raises UserError."""
    data = options.data
    classes = LayoutClasses(data.classes, data.unknown_label)
    for file in (options.loss.segmenter, options.loss.second_segmenter):
        if file is not None:
            require_classes(read_classes(expand(file)), classes, file)


def prepare_run(
    options: RunOptions, schedule: Schedule, log: Log, *, writer: bool = True
) -> Preparation:
    """Open the run's folder, check every file of the dataset, and plan the phases.

    The report on the files is saved in the folder. If no phase is left, no file is checked. One of
    several processes is the `writer`; it runs first, and the others read its cached answers.
    Raises UserError for every error of the user.
    """
    folder, state, changes = find_progress(options, schedule)
    progress = state.progress if state else Progress()
    if writer:
        folder.open()
        clean(folder.checkpoints)
        for change in changes:
            log.info(f"from step {progress.step + 1} on  {change}")
    phases = phases_to_run(schedule, progress, options.training.phase)
    if not phases:
        return Preparation(options, schedule, folder, [], progress, state)
    dataset = find_dataset(options.data)
    checked = dataset.check(folder.check_cache_path, _progress)
    if writer:
        _save_reports(folder, log, checked.reports)
    checked.require(options.data.bad_pair_limit, folder.report_path)
    subsets = [phase.subset for phase in phases]
    for missed in dataset.check_lists(folder.selections, subsets, checked.items, checked.bad_stems):
        log.info(f"  not trained on: {missed}")
    plan = plan_phases(
        schedule,
        lambda subset: dataset.select(checked.items, folder.selections, subset),
        progress,
        options.training.phase,
        options.data.epoch_images,
        checked.styles,
    )
    return Preparation(options, schedule, folder, plan, progress, state, dataset, checked)


def describe_run(options: RunOptions, schedule: Schedule) -> str:
    """What a start with these options would do, for --dry-run. Writes nothing."""
    folder, state, _ = find_progress(options, schedule)
    check_segmenters(options)
    progress = state.progress if state else Progress()
    dataset = find_dataset(options.data)
    lines = dataset.describe()
    start = f"resume after step {progress.step}" if state else "start a new run"
    phases = phases_to_run(schedule, progress, options.training.phase)
    subsets = [phase.subset for phase in phases]
    missing = dataset.missing_subsets(folder.selections, subsets)
    if missing:
        lines.insert(0, f"would make {' and '.join(missing)} as tools.filter_dataset does")
        lines += [f"would {start} in {folder.path}:", schedule.describe()]
        return "\n".join(lines)
    lines += [f"note: {missed}" for missed in dataset.check_lists(folder.selections, subsets)]
    plan = plan_phases(
        schedule,
        lambda subset: dataset.select(dataset.items, folder.selections, subset),
        progress,
        options.training.phase,
        options.data.epoch_images,
        dataset.styles,
    )
    if not plan:
        lines.append("all phases are done: no step is left")
    else:
        lines += [
            f"would {start} in {folder.path}, if no file is bad:",
            describe_plan(plan, dataset.noun),
        ]
    return "\n".join(lines)


def _save_reports(folder: RunFolder, log: Log, reports: Sequence[Report]) -> None:
    """Write check.txt, without which a run can continue, and log a summary."""
    try:
        save_reports(folder.report_path, reports)
    except OSError as error:
        log.info(f"{folder.report_path} could not be written: {error.strerror or error}")
    for report in reports:
        title, counts = report.text().splitlines()[:2]
        log.info(f"{title}: {counts}")
        for fault in report.faults[:SHOWN_FAULTS]:
            log.info(f"  left out: {fault}")
        if len(report.faults) > SHOWN_FAULTS:
            more = len(report.faults) - SHOWN_FAULTS
            log.info(f"  and {more} more faults, all in {folder.report_path}")
        for line in report.describe_unused():
            log.info(f"  {line}")


@contextmanager
def _progress(noun: str, total: int) -> Iterator[ShowProgress]:
    quiet = not sys.stderr.isatty()
    with tqdm(total=total, desc=f"checking {noun}", unit="", disable=quiet) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
