"""The plan of a selection: runs, layouts, photos, table and split, all checked.

A plan is made before Jittor is imported: a user's error is reported at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.content import find_dataset
from data.folders import Pair
from data.held_out import pairs_for_ceiling
from data.listing import stem_of
from data.reading import LayoutClasses
from inference.plan import SynthesisPlan, plan_synthesis
from inference.selection.generators import Generator, find_generators
from inference.selection.table import ImageTable, read_table
from inference.styles import require_dataset
from inference.submission import FOLDER
from metrics.selection import choosing_half
from options.errors import UserError
from options.groups import DataOptions
from options.paths import expand, is_folder, show_path
from options.rules import check_name
from options.test import TestOptions

CACHE = ".cache"
LEAST_LAYOUTS = 2  # on each side of a split


@dataclass(frozen=True)
class Settings:
    """What a selection is asked for.

    options: those of test.sh for the main run. others: further runs. judged: whether a second
    segmenter reports. average: how many checkpoints of a run are averaged at most. seeds: tried per
    layout. output_path: the folder of all files.
    """

    options: TestOptions
    output_path: Path
    others: tuple[str, ...] = ()
    judged: bool = False
    average: int = 3
    batches: int = 50
    seeds: int = 1
    regions: bool = False
    feather: float = 4.0
    table: Path | None = None

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of all runs, the main one first."""
        return (str(self.options.name), *self.others)


@dataclass(frozen=True, eq=False)
class SelectionPlan:
    """A checked selection.

    plans, generators: of each run; the latest snapshot is the last. choosing, reporting: indices of
    the layouts that choices see, and of those that are reported; without a judge they are disjoint.
    held_out: pairs that no segmenter of this dataset was trained on, for its ceiling.
    """

    settings: Settings
    plans: dict[str, SynthesisPlan]
    generators: dict[str, list[Generator]]
    layouts: list[Path]
    pairs: list[Pair]
    held_out: list[Pair]
    classes: LayoutClasses
    choosing: NDArray[np.int64]
    reporting: NDArray[np.int64]
    table: ImageTable | None

    @property
    def cache(self) -> Path:
        """The folder of images and numbers that the next start reuses."""
        return self.settings.output_path / CACHE


def plan_selection(settings: Settings) -> SelectionPlan:
    """Find and check runs, layouts, photos and table.

    Raises UserError if one of them is missing or bad, or if the runs do not fit together.
    """
    main, *others = settings.runs
    options = replace(settings.options, output_path=str(settings.output_path / FOLDER))
    _check_runs(settings)
    plans = {main: _plan_images(options)}
    data = _data(plans[main])
    if data.content_kind != "layout":
        raise UserError(
            f"--name: expected a run with layouts, got --task {data.task}. Name another run"
        )
    layouts = [job.source_path for job in plans[main].jobs]
    if len(layouts) < 2:
        raise UserError(
            f"{show_path(layouts[0].parent)}: expected two layouts or more, got one. Name another "
            "folder with --input-path"
        )
    for run in others:
        given = replace(options, name=run, input_path=str(layouts[0].parent))
        plans[run] = _plan_images(given)
        _check_fit(main, data, run, _data(plans[run]))
    pairs = _find_pairs(plans[main])
    stems = [stem_of(path) for path in layouts]
    table = None if settings.table is None else read_table(settings.table, stems, settings.runs)
    choosing, reporting = _split(stems, settings)
    classes = LayoutClasses(data.classes, data.unknown_label, data.first_id or 0)
    results = expand(options.results_path)
    return SelectionPlan(
        settings,
        plans,
        {run: find_generators(run, results / run / "checkpoints") for run in plans},
        layouts,
        pairs,
        pairs_for_ceiling(Path(str(data.input_path)), pairs)[0],
        classes,
        choosing,
        reporting,
        table,
    )


def _plan_images(options: TestOptions) -> SynthesisPlan:
    """The plan of a run's images, without the weights, which are read per candidate."""
    plan = plan_synthesis(options, FOLDER, ".jpg")
    return replace(plan, snapshot=replace(plan.snapshot, arrays={}))


def _split(stems: Sequence[str], settings: Settings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the choosing and of the reporting layouts; all for both if there is a judge."""
    every = np.arange(len(stems))
    if settings.judged:
        return every, every
    first = choosing_half(stems)
    choosing, reporting = every[first], every[~first]
    if min(len(choosing), len(reporting)) < LEAST_LAYOUTS:
        raise UserError(
            f"--segmenter: expected {LEAST_LAYOUTS} layouts or more that choose and as many that "
            f"report, got {len(choosing)} and {len(reporting)} of {len(stems)}. Add layouts, or "
            "name a second segmenter with --judge"
        )
    return choosing, reporting


def _check_runs(settings: Settings) -> None:
    """Check the names of the other runs."""
    results = expand(settings.options.results_path)
    for run in settings.others:
        check_name(run)
        if settings.runs.count(run) > 1:
            raise UserError(f"--with: expected other runs, got {run} twice. Name it once")
        if not is_folder(results / run):
            raise UserError(
                f"--with: expected a run in {results}, got {run}, which does not exist. Correct it"
            )


def _check_fit(main: str, data: DataOptions, run: str, other: DataOptions) -> None:
    """Check that the images of another run can be mixed with those of the main run."""
    expected = (data.classes, data.unknown_label, data.first_id or 0)
    found = (other.classes, other.unknown_label, other.first_id or 0)
    if other.content_kind != "layout" or expected != found:
        raise UserError(
            f"--with {run}: expected the classes of {main}, {_show_classes(data)}, got "
            f"{_show_classes(other)}. Name another run"
        )
    if (data.height, data.width) != (other.height, other.width):
        raise UserError(
            f"--with {run}: expected the size of {main}, {data.height} x {data.width}, got "
            f"{other.height} x {other.width}. Name another run"
        )


def _show_classes(data: DataOptions) -> str:
    unknown = "" if data.unknown_label is None else f", unknown id {data.unknown_label}"
    return f"{data.classes} from id {data.first_id or 0}{unknown}"


def _find_pairs(plan: SynthesisPlan) -> list[Pair]:
    """The pairs of the run's dataset, two or more."""
    require_dataset(plan.snapshot, "a run that was trained here")
    pairs = [item for item in find_dataset(_data(plan)).items if isinstance(item, Pair)]
    if len(pairs) < 2:
        raise UserError(
            f"{_data(plan).input_path}: expected two photos or more, got {len(pairs)}. Add pairs"
        )
    return pairs


def _data(plan: SynthesisPlan) -> DataOptions:
    return plan.snapshot.options.data
