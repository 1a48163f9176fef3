"""Everything that is checked before the first step, in the order of what it costs.

No Jittor here: what the user must mend is said before it is imported.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from data.check import check_pairs
from data.folders import Pair, find_pairs
from data.selections import read_selection, selections_folder, subsets_to_make
from options.errors import UserError
from options.run import RunOptions
from options.schedule import Schedule
from training.checkpoint import State, clean, find_state
from training.log import Log
from training.phases import (
    PlannedPhase,
    Progress,
    check_batch_sizes,
    check_schedule,
    describe_plan,
    phases_to_run,
    plan_phases,
)
from training.run_folder import RunFolder, compare_options


@dataclass(frozen=True)
class Preparation:
    """What a run starts from: its options, its place in the schedule, its pairs, its folder."""

    options: RunOptions
    schedule: Schedule
    folder: RunFolder
    plan: list[PlannedPhase]
    progress: Progress
    state: State | None
    pairs: list[Pair]


def find_progress(
    options: RunOptions, schedule: Schedule
) -> tuple[RunFolder, State | None, list[str]]:
    """The run's folder, the state that it goes on from, and the options that changed since.

    Nothing is written.

    Raises UserError where options or schedule do not go with the run as it began.
    """
    folder = RunFolder(options.training.results_path, str(options.training.name))
    state = find_state(folder.checkpoints)
    changes: list[str] = []
    if state is not None:
        check_schedule(schedule, state.progress)
        saved = folder.saved_options()
        if saved is not None:
            changes = compare_options(saved, options)
    return folder, state, changes


def check_cheaply(options: RunOptions, schedule: Schedule, processes: int) -> list[str]:
    """Everything that needs neither the pictures nor Jittor; raises UserError.

    Returns the subsets that have to be made first.
    """
    folder, state, _ = find_progress(options, schedule)
    progress = state.progress if state else Progress()
    phases = phases_to_run(schedule, progress, options.training.phase)
    check_batch_sizes(phases, processes)
    loss = options.loss
    if not (loss.lambda_gan or loss.lambda_feature or loss.lambda_vgg or loss.lambda_l1):
        raise UserError(
            "the generator learns from a loss: --lambda-gan, --lambda-feature, --lambda-vgg and "
            "--lambda-l1 are all 0; leave one of them out"
        )
    input_path = Path(str(options.data.input_path))
    find_pairs(input_path)
    selections = selections_folder(input_path, folder.selections)
    missing = subsets_to_make(selections, [phase.subset for phase in phases])
    for phase in phases:
        if phase.subset not in missing:
            read_selection(selections, phase.subset)
    return missing


def prepare_run(
    options: RunOptions, schedule: Schedule, log: Log, *, writer: bool = True
) -> Preparation:
    """Open the run's folder, check every pair, and plan the phases.

    The report on the pairs is saved in the folder. Where there is no phase left to run, nothing is
    checked. Of several processes one is the `writer`; it goes first, the others find its answers.
    Raises UserError for whatever the user must mend.
    """
    folder, state, changes = find_progress(options, schedule)
    progress = state.progress if state else Progress()
    if writer:
        folder.open()
        clean(folder.checkpoints)
        for change in changes:
            log.say(f"from step {progress.step + 1} on  {change}")
    if not phases_to_run(schedule, progress, options.training.phase):
        return Preparation(options, schedule, folder, [], progress, state, [])
    pairs = _check(options, folder, log, writer)
    plan = plan_phases(
        schedule,
        pairs,
        selections_folder(str(options.data.input_path), folder.selections),
        progress,
        options.training.phase,
        options.data.epoch_images,
    )
    return Preparation(options, schedule, folder, plan, progress, state, pairs)


def describe_run(options: RunOptions, schedule: Schedule) -> str:
    """What a start with these options would do, without doing it; for --dry-run."""
    folder, state, _ = find_progress(options, schedule)
    progress = state.progress if state else Progress()
    input_path = Path(str(options.data.input_path))
    found = find_pairs(input_path)
    lines = [f"would check {len(found.pairs)} pairs of {input_path}, {found.form}"]
    start = f"go on after step {progress.step}" if state else "start anew"
    phases = phases_to_run(schedule, progress, options.training.phase)
    selections = selections_folder(input_path, folder.selections)
    missing = subsets_to_make(selections, [phase.subset for phase in phases])
    if missing:
        lines.insert(0, f"would make {' and '.join(missing)} as tools.filter_dataset does")
        lines += [f"would {start} in {folder.path}:", schedule.describe()]
        return "\n".join(lines)
    plan = plan_phases(
        schedule,
        found.pairs,
        selections,
        progress,
        options.training.phase,
        options.data.epoch_images,
    )
    if not plan:
        lines.append("every phase is done: nothing to train")
    else:
        lines += [f"would {start} in {folder.path}, with all pairs good:", describe_plan(plan)]
    return "\n".join(lines)


def _check(options: RunOptions, folder: RunFolder, log: Log, writer: bool) -> list[Pair]:
    data = options.data
    found = find_pairs(Path(str(data.input_path)))
    with tqdm(
        total=len(found.pairs),
        desc="checking pairs",
        unit=" pairs",
        disable=not sys.stderr.isatty(),
    ) as bar:
        report = check_pairs(
            found,
            data.classes,
            data.unknown_label,
            data.workers,
            lambda done, total: _show(bar, done, total),
            instances=data.instances,
            size=(data.height, data.width),
            cache_path=folder.check_cache_path,
        )
    if writer:
        report.save(folder.report_path)
        log.say(report.text().splitlines()[0] + ": " + report.text().splitlines()[1])
        for fault in report.faults[:5]:
            log.say(f"  left out: {fault}")
        if len(report.faults) > 5:
            log.say(f"  and {len(report.faults) - 5} more faults, all in {folder.report_path}")
    report.require(data.bad_pair_limit, folder.report_path)
    return report.good


def _show(bar: tqdm, done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)
