"""The plan of a run: the phases to run, the items of each, and the progress so far.

phases = plan_phases(schedule, select, Progress())
print(describe_plan(phases))
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from data.content import Item
from data.folders import Photo
from options.errors import UserError
from options.schedule import Phase, Schedule


@dataclass(frozen=True)
class Progress:
    """Progress of a run: `step` steps since its start, `step_in_epoch` of them in `epoch`.

    `epoch` counts from 1 through the whole run. `seconds` is the time spent in training, `phases`
    are the phases begun so far, and `pairs` is the digest of the list that the epoch uses.
    """

    step: int = 0
    epoch: int = 1
    step_in_epoch: int = 0
    seconds: float = 0.0
    phases: tuple[Phase, ...] = ()
    pairs: str = ""

    @property
    def last_epoch(self) -> int:
        """The epoch of the last step."""
        return self.epoch if self.step_in_epoch else self.epoch - 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Progress:
        """Read `to_dict()` back; KeyError, TypeError or ValueError if it is something else."""
        phases = tuple(Phase(**phase) for phase in tree["phases"])
        progress = cls(**{**tree, "phases": phases})
        _check_values(progress, cls())
        for phase in phases:
            _check_values(phase, Phase("I", 1, 1, "total", 1e-4))
        return progress


def _check_values(found: Progress | Phase, sound: Progress | Phase) -> None:
    """Raise TypeError or ValueError unless each field has the kind of a sound one's value."""
    for name, example in vars(sound).items():
        value = getattr(found, name)
        if isinstance(example, float):
            value = float(value) if isinstance(value, int | float) else value
        if type(value) is not type(example):
            raise TypeError(f"{name} is {value!r:.40}")
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}")


@dataclass(frozen=True)
class PlannedPhase:
    """A phase to run: its epochs, its items, and how many of its steps are done.

    `items` are pairs, or the content photos of unpaired data; `styles` are the style photos.
    """

    phase: Phase
    epochs: range
    items: tuple[Item, ...]
    epoch_images: int | None = None
    steps_done: int = 0
    styles: tuple[Photo, ...] = ()

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches, as data.loader counts them: an incomplete last one is dropped."""
        return max(1, (self.epoch_images or len(self.items)) // self.phase.batch_size)

    @property
    def steps(self) -> int:
        """Steps of the whole phase."""
        return len(self.epochs) * self.steps_per_epoch

    @property
    def digest(self) -> str:
        """A name for the list of items, which determines their order in an epoch."""
        stems = "\n".join(item.stem for item in (*self.items, *self.styles))
        return hashlib.sha256(stems.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def phases_to_run(schedule: Schedule, progress: Progress, only: str | None) -> list[Phase]:
    """The phases that are not complete, or only the one named `only`.

    Raises UserError if a phase before `only` is not complete.
    """
    left = [phase for phase in schedule.phases if phase.last_epoch >= progress.epoch]
    if only is None or not left:
        return left
    chosen = schedule.phase(only)
    if chosen not in left:
        return []
    if chosen != left[0]:
        first = left[0]
        raise UserError(
            f"--phase {only}: expected phase {first.name} to be complete, got epoch "
            f"{progress.epoch} of {first.last_epoch}. Run --phase {first.name} first, or remove "
            "--phase to run all"
        )
    return [chosen]


def plan_phases(
    schedule: Schedule,
    select: Callable[[str], Sequence[Item]],
    progress: Progress,
    only: str | None = None,
    epoch_images: int | None = None,
    styles: Sequence[Photo] = (),
) -> list[PlannedPhase]:
    """Plan the phases to run, each with the items of its subset and all of `styles`.

    select: returns the items of a subset.

    Raises UserError if the items of the epoch under way differ from those that it began with.
    """
    plan: list[PlannedPhase] = []
    chosen: dict[str, tuple[Item, ...]] = {}
    for phase in phases_to_run(schedule, progress, only):
        if phase.subset not in chosen:
            chosen[phase.subset] = tuple(select(phase.subset))
        epochs = schedule.epochs(phase.name)
        plan.append(
            PlannedPhase(phase, epochs, chosen[phase.subset], epoch_images, styles=tuple(styles))
        )
    if not plan:
        return plan
    first = plan[0]
    done = (progress.epoch - first.epochs[0]) * first.steps_per_epoch + progress.step_in_epoch
    plan[0] = replace(first, steps_done=done)
    if progress.step_in_epoch and progress.pairs != first.digest:
        raise UserError(
            f"phase {first.phase.name}: expected the files that epoch {progress.epoch} began with, "
            f"got others ({len(first.items)} now). Restore them, or start a new run with another "
            "--name"
        )
    return plan


def check_schedule(schedule: Schedule, progress: Progress) -> None:
    """Check that the phases begun so far have not changed; later ones may change freely.

    The phase under way may get more epochs. Raises UserError that names the change.
    """
    for index, was in enumerate(progress.phases):
        now = schedule.phases[index] if index < len(schedule.phases) else None
        current = index == len(progress.phases) - 1
        last_begun = progress.epoch if progress.step_in_epoch else progress.epoch - 1
        longer = current and now is not None and now.last_epoch >= last_begun
        if now == was or (longer and _without_end(now) == _without_end(was)):
            continue
        raise UserError(
            f"phase {was.name} has begun: expected {_describe(was)}, got "
            f"{_describe(now) if now else 'no such phase'}. Restore it and change a later phase, "
            "or start a new run with another --name"
        )


def check_batch_sizes(phases: Sequence[Phase], processes: int) -> None:
    """Check that each batch divides by the number of processes; UserError names the phase."""
    for phase in phases:
        if phase.batch_size % processes:
            lower = phase.batch_size // processes * processes
            near = f"{lower} or {lower + processes}" if lower else str(processes)
            raise UserError(
                f"phase {phase.name}: expected a batch size that divides by {processes} processes, "
                f"got {phase.batch_size}. Start another number of processes, or write a schedule "
                f"with {near}"
            )


def describe_plan(plan: Sequence[PlannedPhase], noun: str = "pairs") -> str:
    """A table of the phases to run; `noun` names their items."""
    rows = [("phase", "epochs", "batch", "subset", noun, "steps", "done", "learning rate")]
    for planned in plan:
        phase = planned.phase
        rows.append(
            (
                phase.name,
                f"{planned.epochs[0]}-{planned.epochs[-1]}",
                str(phase.batch_size),
                phase.subset,
                str(len(planned.items)),
                str(planned.steps),
                str(planned.steps_done),
                f"{phase.learning_rate:g}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join("  " + line.rstrip() for line in lines)


def _without_end(phase: Phase | None) -> Any:
    return phase and replace(phase, last_epoch=0)


def _describe(phase: Phase) -> str:
    stage = "" if phase.stage == "all" else f", stage {phase.stage}"
    return (
        f"{phase.name} (to epoch {phase.last_epoch}, batch {phase.batch_size}, {phase.subset}, "
        f"learning rate {phase.learning_rate:g}{stage})"
    )
