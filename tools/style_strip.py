"""Strips of pictures that go from one style to another, a PNG for each layout.

    plan = plan_strips(options)     # raises UserError before Jittor is imported
    folder = make_strips(plan)

A style is a photograph, or noise of the seed and, at the other end, of the next seed. The first and
the last picture of a strip are those of a submission with that style.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from data.ownership import OutputFolder, Partial, stamp_of
from options.errors import UserError
from options.run import TestOptions
from tools.submission import (
    BYTES_PER_PIXEL,
    FIX,
    Job,
    SubmissionPlan,
    check_noise,
    check_photographs,
    draw_jobs,
    drawing_key,
    find_style,
    fit_picture,
    keep_finished,
    plan_drawing,
    read_planes,
    read_style,
    say_partials,
)
from training.sample_sheet import draw_sheet

if TYPE_CHECKING:
    from training.painter import Painter

FOLDER = "strips"


@dataclass(frozen=True)
class StripPlan:
    """A submission's plan, and the photograph at the other end; None where that is noise."""

    plan: SubmissionPlan
    end_path: Path | None

    @property
    def names(self) -> list[str]:
        """The strips' file names."""
        return [f"{job.source_path.stem}.png" for job in self.plan.jobs]

    def partial(self) -> Partial:
        """Where finished strips are kept until all are."""
        end = None if self.end_path is None else (self.end_path.name, stamp_of(self.end_path))
        key = drawing_key(self.plan, "strip", end, self.plan.options.steps)
        return Partial(self.plan.output_path, "strips", key)


def plan_strips(options: TestOptions) -> StripPlan:
    """Find generator, layouts and styles, and check them, and the place for the strips.

    Raises UserError if one is missing or bad, or a person's file is in the way.
    """
    plan = plan_drawing(options, FOLDER, ".png")
    generator = plan.snapshot.options.generator
    if not (plan.snapshot.takes_photograph or generator.vae):
        raise UserError(
            "--style-to needs a generator with a style (--vae, or tsit's style stream): "
            f"{plan.snapshot.path} has none; leave it out"
        )
    assert options.style_to is not None
    end = None
    if options.style_to != "noise":
        end = find_style(options.style_to, "--style-to", plan.snapshot)
        check_photographs([end], plan.snapshot)
    strips = StripPlan(plan, end)
    height, width = plan.size
    size = int(len(plan.jobs) * options.steps * height * width * BYTES_PER_PIXEL)
    replaced = OutputFolder(plan.output_path, FIX).check(strips.names, size)
    if replaced:
        plan.notes.append(f"replaces {len(replaced)} earlier strips in {plan.output_path}")
    plan.notes.extend(say_partials(strips.partial()))
    return strips


def make_strips(strips: StripPlan, painter: Painter | None = None) -> Path:
    """Draw `<layout>.png` for every layout and return their folder.

    Resumes, and raises, as `make_submission` does.
    """
    plan = strips.plan
    if painter is None:
        from training.painter import load_painter  # Jittor only now

        painter = load_painter(plan.snapshot, plan.options.weights)
    check_noise(plan.options.style, "--style", painter)
    check_noise(str(plan.options.style_to), "--style-to", painter)
    folder = plan.output_path
    with keep_finished(strips.partial(), plan) as (part, stop):
        draw_jobs(
            plan, part, stop, strips.names, lambda job: draw_strip(strips, job, painter), "PNG"
        )
        OutputFolder(folder, FIX).place(part.path, strips.names)
        part.remove()
    return folder


def draw_strip(strips: StripPlan, job: Job, painter: Painter) -> Image.Image:
    """One job's strip: pictures of the size asked for side by side, under what they are."""
    options = strips.plan.options
    layout, planes = read_planes(job, painter)
    start = read_style(job.style_path, job, options.seed, painter)
    # Noise at both ends would be the same noise; beside a style stream it is to be the same.
    seed = options.seed + (strips.end_path is None)
    end = read_style(strips.end_path, job, seed, painter)
    pictures = painter.paint_between(layout, start, end, options.steps, **planes)
    row = [np.asarray(fit_picture(picture, strips.plan.size)) for picture in pictures]
    ends = [_title(job.style_path, options.seed), _title(strips.end_path, seed)]
    between = [f"{step} of {options.steps - 1}" for step in range(1, options.steps - 1)]
    titles = [ends[0], *between, ends[1]]
    return draw_sheet([row], titles, cell=strips.plan.size)


def _title(path: Path | None, seed: int) -> str:
    return f"noise, seed {seed}" if path is None else path.name
