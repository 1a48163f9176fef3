"""The phases that a run has before it, with the pairs of each, and where the run stands.

phases = plan_phases(schedule, good_pairs, selections, Progress())
print(describe_plan(phases, Progress()))
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data.folders import Pair, Photograph
from data.selections import select_pairs
from options.errors import UserError
from options.schedule import Phase, Schedule


@dataclass(frozen=True)
class Progress:
    """What is done: `step` steps since the run began, `step_in_epoch` of them in `epoch`.

    `epoch` counts from 1 through the whole run. `seconds` is the time spent in training,
    `phases` are the phases begun so far, as they were, and `pairs` names the list of pairs that the
    epoch goes through.
    """

    step: int = 0
    epoch: int = 1
    step_in_epoch: int = 0
    seconds: float = 0.0
    phases: tuple[Phase, ...] = ()
    pairs: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Progress:
        """Read back `to_dict()`; KeyError, TypeError or ValueError if it is something else."""
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
    """A phase to run: its epochs and its pairs, and how much of it is done.

    In translation the pairs are photographs as content, and `styles` are those of the style.
    """

    phase: Phase
    epochs: range
    pairs: tuple[Pair | Photograph, ...]
    epoch_images: int | None = None
    steps_done: int = 0
    styles: tuple[Photograph, ...] = ()

    @property
    def steps_per_epoch(self) -> int:
        """As data.loader counts them: an incomplete last batch is dropped."""
        return max(1, (self.epoch_images or len(self.pairs)) // self.phase.batch_size)

    @property
    def steps(self) -> int:
        """Steps of the whole phase."""
        return len(self.epochs) * self.steps_per_epoch

    @property
    def digest(self) -> str:
        """A name for the list of pairs, from which their order in an epoch follows."""
        stems = "\n".join(item.stem for item in (*self.pairs, *self.styles))
        return hashlib.sha256(stems.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def phases_to_run(schedule: Schedule, progress: Progress, only: str | None) -> list[Phase]:
    """The phases that are not complete; of these `only` alone, where it is given.

    Raises UserError where a phase before `only` is not complete.
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
            f"--phase {only} continues the weights of the phase before it: phase {first.name} is "
            f"not done (it stands in epoch {progress.epoch} of {first.last_epoch}); write "
            f"--phase {first.name} first, or leave --phase out to run all"
        )
    return [chosen]


def plan_phases(
    schedule: Schedule,
    pairs: Sequence[Pair | Photograph],
    selections: Path,
    progress: Progress,
    only: str | None = None,
    epoch_images: int | None = None,
    styles: Sequence[Photograph] = (),
) -> list[PlannedPhase]:
    """Give each phase to run its pairs: those of its subset among `pairs`, and all of `styles`.

    selections: the folder with the lists of stems.

    Raises UserError where a subset's list of stems is missing or names none of the pairs, and
    where the pairs of the epoch under way are not what they were when it began.
    """
    plan: list[PlannedPhase] = []
    chosen: dict[str, tuple[Pair | Photograph, ...]] = {}
    for phase in phases_to_run(schedule, progress, only):
        if phase.subset not in chosen:
            chosen[phase.subset] = tuple(select_pairs(pairs, selections, phase.subset))
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
            f"an epoch goes on with the pairs that it began with: those of phase "
            f"{first.phase.name} have changed since epoch {progress.epoch} began "
            f"({len(first.pairs)} now); restore them, or start a new run with another --name"
        )
    return plan


def check_schedule(schedule: Schedule, progress: Progress) -> None:
    """Check that the phases begun so far are still what they were; later ones may be anything.

    The phase under way may also be given more epochs. Raises UserError that names the change.
    """
    for index, was in enumerate(progress.phases):
        now = schedule.phases[index] if index < len(schedule.phases) else None
        current = index == len(progress.phases) - 1
        last_begun = progress.epoch if progress.step_in_epoch else progress.epoch - 1
        longer = current and now is not None and now.last_epoch >= last_begun
        if now == was or (longer and _without_end(now) == _without_end(was)):
            continue
        raise UserError(
            f"a phase that has begun stays as it was: {was.name} began as {_describe(was)}, "
            f"and the schedule now has {_describe(now) if now else 'no such phase'}; restore it "
            "and put the change into a phase after it, or start a new run with another --name"
        )


def check_batch_sizes(phases: Sequence[Phase], processes: int) -> None:
    """Check that the processes can share each batch evenly; UserError names the phase."""
    for phase in phases:
        if phase.batch_size % processes:
            lower = phase.batch_size // processes * processes
            near = f"{lower} or {lower + processes}" if lower else str(processes)
            raise UserError(
                f"the processes share each batch evenly: phase {phase.name} has a batch of "
                f"{phase.batch_size} for {processes} of them; start another number, or write a "
                f"schedule with {near}"
            )


def describe_plan(plan: Sequence[PlannedPhase]) -> str:
    """The table of the phases to run, with the pairs and steps of each."""
    rows = [("phase", "epochs", "batch", "subset", "pairs", "steps", "done", "learning rate")]
    for planned in plan:
        phase = planned.phase
        rows.append(
            (
                phase.name,
                f"{planned.epochs[0]}-{planned.epochs[-1]}",
                str(phase.batch_size),
                phase.subset,
                str(len(planned.pairs)),
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
