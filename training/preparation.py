"""Everything that is checked before the first step, in the order of what it costs.

No Jittor here: what the user must mend is said before it is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from data.check import (
    Report,
    check_pairs,
    check_photographs,
    recognize_first_id,
    save_reports,
)
from data.folders import (
    Pair,
    Photograph,
    describe_unused,
    find_pairs,
    find_unpaired,
)
from data.selections import (
    Missed,
    find_misses,
    require_matches,
    selections_folder,
    subsets_to_make,
)
from data.workers import Progress as ShowProgress
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
    """What a run starts from: its options, its place in the schedule, its pairs, its folder.

    In translation the pairs are photographs as content, and `styles` are those of the style.
    """

    options: RunOptions
    schedule: Schedule
    folder: RunFolder
    plan: list[PlannedPhase]
    progress: Progress
    state: State | None
    pairs: Sequence[Pair | Photograph]
    styles: Sequence[Photograph] = field(default_factory=list)


def find_progress(
    options: RunOptions, schedule: Schedule
) -> tuple[RunFolder, State | None, list[str]]:
    """The run's folder, the state that it goes on from, and the options that changed since.

    Nothing is written.

    Raises UserError if the folder is no run's, or options or schedule do not go with the run as it
    began.
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


def with_first_id(options: RunOptions, *, silent: bool = False) -> RunOptions:
    """Return the options with --first-id as the labels tell it, if they do and it is not given.

    Raises UserError if the dataset is not there.
    """
    data = options.data
    if data.task == "translation" or data.first_id is not None:
        return options
    found = find_pairs(Path(str(data.input_path)))
    if not recognize_first_id(found, data.classes, data.unknown_label, data.workers):
        return options
    if not silent:
        print(
            f"{found.root}: ids 1..{data.classes} are read as classes 0..{data.classes - 1}, "
            "as with --first-id 1",
            flush=True,
        )
    return replace(options, data=replace(data, first_id=1))


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
    if options.data.task == "translation":
        find_unpaired(input_path)
        return []
    found = find_pairs(input_path)
    selections = selections_folder(input_path, folder.selections)
    missing = subsets_to_make(selections, [phase.subset for phase in phases])
    subsets = [phase.subset for phase in phases if phase.subset not in missing]
    _check_lists(options, subsets, found.pairs, selections, found.stems_without_pair)
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
    phases = phases_to_run(schedule, progress, options.training.phase)
    if not phases:
        return Preparation(options, schedule, folder, [], progress, state, [])
    pairs: Sequence[Pair | Photograph]
    styles: list[Photograph] = []
    if options.data.task == "translation":
        pairs, styles = _check_unpaired(options, folder, log, writer)
    else:
        report = _check(options, folder, log, writer)
        pairs = report.good
    selections = selections_folder(str(options.data.input_path), folder.selections)
    if options.data.task == "synthesis":
        subsets = [phase.subset for phase in phases]
        bad = {fault.stem for fault in report.faults}
        for missed in _check_lists(options, subsets, pairs, selections, bad):
            log.say(f"  not trained on: {missed}")
    plan = plan_phases(
        schedule,
        pairs,
        selections,
        progress,
        options.training.phase,
        options.data.epoch_images,
        styles,
    )
    return Preparation(options, schedule, folder, plan, progress, state, pairs, styles)


def describe_run(options: RunOptions, schedule: Schedule) -> str:
    """What a start with these options would do, without doing it; for --dry-run."""
    folder, state, _ = find_progress(options, schedule)
    progress = state.progress if state else Progress()
    input_path = Path(str(options.data.input_path))
    pairs: Sequence[Pair | Photograph]
    styles: list[Photograph] = []
    if options.data.task == "translation":
        unpaired = find_unpaired(input_path)
        pairs, styles = unpaired.content.photographs, unpaired.style.photographs
        lines = [
            f"would check {len(pairs)} photographs of {unpaired.content.root} and {len(styles)} "
            f"of {unpaired.style.root}"
        ]
        unused = unpaired.content.unused + unpaired.style.unused
    else:
        found = find_pairs(input_path)
        pairs = found.pairs
        lines = [f"would check {len(pairs)} pairs of {input_path}, {found.form}"]
        alone = len(found.stems_without_pair)
        if alone:
            lines.append(f"note: {alone} stems are in no pair; check.txt will name them")
        unused = found.unused
    lines += [f"note: {line}" for line in describe_unused(unused)]
    start = f"go on after step {progress.step}" if state else "start anew"
    phases = phases_to_run(schedule, progress, options.training.phase)
    selections = selections_folder(input_path, folder.selections)
    missing = subsets_to_make(selections, [phase.subset for phase in phases])
    if missing:
        lines.insert(0, f"would make {' and '.join(missing)} as tools.filter_dataset does")
        lines += [f"would {start} in {folder.path}:", schedule.describe()]
        return "\n".join(lines)
    if options.data.task == "synthesis":
        subsets = [phase.subset for phase in phases]
        missed = _check_lists(options, subsets, pairs, selections, found.stems_without_pair)
        lines += [f"note: {one}" for one in missed]
    plan = plan_phases(
        schedule,
        pairs,
        selections,
        progress,
        options.training.phase,
        options.data.epoch_images,
        styles,
    )
    if not plan:
        lines.append("every phase is done: nothing to train")
    else:
        lines += [f"would {start} in {folder.path}, with all pairs good:", describe_plan(plan)]
    return "\n".join(lines)


def _check_lists(
    options: RunOptions,
    subsets: Sequence[str],
    pairs: Sequence[Pair | Photograph],
    selections: Path,
    bad: Collection[str] = (),
) -> list[Missed]:
    """Return what the lists of these subsets name in vain; UserError above --list-miss-limit.

    Names of bad pairs do not count towards the limit: --bad-pair-limit is theirs.
    """
    found = []
    for subset in dict.fromkeys(subsets):
        missed = find_misses(pairs, selections, subset, bad)
        if missed is not None:
            require_matches(missed, options.data.list_miss_limit)
            found.append(missed)
    return found


def _check(options: RunOptions, folder: RunFolder, log: Log, writer: bool) -> Report[Pair]:
    data = options.data
    found = find_pairs(Path(str(data.input_path)))
    with _progress("pairs", len(found.pairs)) as show:
        report = check_pairs(
            found,
            data.classes,
            data.unknown_label,
            data.workers,
            show,
            first_id=data.first_id or 0,
            instances=data.instances,
            size=(data.height, data.width),
            cache_path=folder.check_cache_path,
        )
    if writer:
        _save_report(folder, log, [report])
        _say_report(report, folder, log)
    report.require(data.bad_pair_limit, folder.report_path)
    return report


def _check_unpaired(
    options: RunOptions, folder: RunFolder, log: Log, writer: bool
) -> tuple[list[Photograph], list[Photograph]]:
    """The good photographs of content and style, each folder held to the limit by itself."""
    data = options.data
    found = find_unpaired(Path(str(data.input_path)))
    reports = []
    for part, name in ((found.content, "content"), (found.style, "style")):
        with _progress(f"{name} photographs", len(part.photographs)) as show:
            report = check_photographs(
                part,
                data.workers,
                show,
                size=(data.height, data.width),
                cache_path=folder.check_cache_path.with_stem(f"check_cache_{name}"),
            )
        reports.append(report)
    if writer:
        _save_report(folder, log, reports)
        for report in reports:
            _say_report(report, folder, log)
    for report in reports:
        report.require(data.bad_pair_limit, folder.report_path)
    content, style = reports
    return content.good, style.good


def _save_report(folder: RunFolder, log: Log, reports: Sequence[Report]) -> None:
    """Write check.txt; a run can do without it."""
    try:
        save_reports(folder.report_path, reports)
    except OSError as error:
        log.say(f"{folder.report_path} could not be written: {error.strerror or error}")


def _say_report(report: Report, folder: RunFolder, log: Log) -> None:
    log.say(report.text().splitlines()[0] + ": " + report.text().splitlines()[1])
    for fault in report.faults[:5]:
        log.say(f"  left out: {fault}")
    if len(report.faults) > 5:
        log.say(f"  and {len(report.faults) - 5} more faults, all in {folder.report_path}")
    for line in report.describe_unused():
        log.say(f"  {line}")


@contextmanager
def _progress(what: str, total: int) -> Iterator[ShowProgress]:
    quiet = not sys.stderr.isatty()
    with tqdm(total=total, desc=f"checking {what}", unit="", disable=quiet) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
