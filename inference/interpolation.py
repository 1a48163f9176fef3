"""Interpolation between two styles: a PNG per layout, with the images side by side.

    interpolation = plan_interpolations(options)     # raises UserError before Jittor is imported
    folder = make_interpolations(interpolation)

A style is a photo, or noise: of the seed at the start, of the next seed at the end. The first and
the last image are those of a submission with that style.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from data.ownership import OutputFolder, Partial, stamp_of
from inference.conditioning import check_photos
from inference.contact_sheet import render_sheet
from inference.jobs import (
    describe_partials,
    fit_image,
    keep_finished,
    plan_key,
    read_content,
    read_style,
    run_jobs,
)
from inference.plan import BYTES_PER_PIXEL, FIX, Job, SynthesisPlan, plan_synthesis
from inference.styles import check_noise, find_style
from options.errors import UserError
from options.test import TestOptions

if TYPE_CHECKING:
    from inference.synthesizer import Synthesizer

FOLDER = "interpolations"


@dataclass(frozen=True)
class InterpolationPlan:
    """A plan, and the photo at the end of each interpolation; None if that is noise."""

    plan: SynthesisPlan
    end_path: Path | None

    @property
    def names(self) -> list[str]:
        """The file names."""
        return [f"{job.source_path.stem}.png" for job in self.plan.jobs]

    def partial(self) -> Partial:
        """The hidden folder of finished files."""
        end = None if self.end_path is None else (self.end_path.name, stamp_of(self.end_path))
        key = plan_key(self.plan, "interpolation", end, self.plan.options.steps)
        return Partial(self.plan.output_path, "interpolations", key)


def plan_interpolations(options: TestOptions) -> InterpolationPlan:
    """Find and check generator, layouts, styles and the place for the files.

    Raises UserError if one of them is missing or bad, or a user's file is in the way.
    """
    plan = plan_synthesis(options, FOLDER, ".png")
    if not (plan.snapshot.takes_photo or plan.snapshot.options.generator.vae):
        raise UserError(
            "--style-to: expected a generator with a style (--vae, or tsit's style stream), got "
            f"{plan.snapshot.path}. Remove it"
        )
    assert options.style_to is not None
    end = None
    if options.style_to != "noise":
        end = find_style(options.style_to, "--style-to", plan.snapshot)
        check_photos([end], plan.snapshot.options.data.workers)
    interpolation = InterpolationPlan(plan, end)
    height, width = plan.size
    size = int(len(plan.jobs) * options.steps * height * width * BYTES_PER_PIXEL)
    replaced = OutputFolder(plan.output_path, FIX).check(interpolation.names, size)
    if replaced:
        plan.notes.append(f"replaces {len(replaced)} earlier interpolations in {plan.output_path}")
    plan.notes.extend(describe_partials(interpolation.partial()))
    return interpolation


def make_interpolations(
    interpolation: InterpolationPlan, synthesizer: Synthesizer | None = None
) -> Path:
    """Write `<layout>.png` for every layout and return their folder.

    Resumes, and raises, like `make_submission`.
    """
    plan = interpolation.plan
    if synthesizer is None:
        from inference.synthesizer import load_synthesizer  # imports Jittor

        synthesizer = load_synthesizer(plan.snapshot, plan.options.weights)
    check_noise(plan.options.style, "--style", synthesizer)
    check_noise(str(plan.options.style_to), "--style-to", synthesizer)
    with keep_finished(interpolation.partial(), plan) as (part, stop):
        run_jobs(
            plan,
            part,
            stop,
            interpolation.names,
            lambda job: render_interpolation(interpolation, job, synthesizer),
            "PNG",
        )
        OutputFolder(plan.output_path, FIX).place(part.path, interpolation.names)
        part.remove()
    return plan.output_path


def render_interpolation(
    interpolation: InterpolationPlan, job: Job, synthesizer: Synthesizer
) -> Image.Image:
    """The images of one job side by side, under the names of their styles."""
    plan = interpolation.plan
    options = plan.options
    content, planes = read_content(job, synthesizer)
    start = read_style(job.style_path, job, options.seed, synthesizer)
    # Two different noises at the two ends; with a photo at the end, the same noise.
    seed = options.seed + (interpolation.end_path is None)
    end = read_style(interpolation.end_path, job, seed, synthesizer)
    images = synthesizer.interpolate(content, start, end, options.steps, **planes)
    row = [np.asarray(fit_image(image, plan.size)) for image in images]
    ends = [_title(job.style_path, options.seed), _title(interpolation.end_path, seed)]
    between = [f"{step} of {options.steps - 1}" for step in range(1, options.steps - 1)]
    titles = [ends[0], *between, ends[1]]
    return render_sheet([row], titles, cell=plan.size)


def _title(path: Path | None, seed: int) -> str:
    return f"noise, seed {seed}" if path is None else path.name
