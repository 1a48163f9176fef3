"""Strips of pictures that go from one style to another, a PNG for each layout.

    plan = plan_strips(options)     # what is wrong is said here, before Jittor is imported
    folder = make_strips(plan)

A style is a photograph, or noise of the seed and, at the other end, of the next seed. The first and
the last picture of a strip are those of a submission with that style.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from tqdm import tqdm

from options.errors import UserError
from options.run import TestOptions
from tools.submission import (
    Job,
    SubmissionPlan,
    check_noise,
    find_style,
    fit_picture,
    plan_submission,
    read_planes,
    read_style,
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
    folder: Path


def plan_strips(options: TestOptions) -> StripPlan:
    """Find generator, layouts and styles. Raises UserError where one is missing or bad."""
    plan = plan_submission(options)
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
    folder = plan.output_path.with_name(FOLDER) if plan.own_folder else plan.output_path
    return StripPlan(plan, end, folder)


def make_strips(strips: StripPlan, painter: Painter | None = None) -> Path:
    """Draw `<layout>.png` for every layout and return their folder.

    Raises UserError where the folder cannot be written.
    """
    plan = strips.plan
    if painter is None:
        from training.painter import load_painter  # Jittor only now

        painter = load_painter(plan.snapshot, plan.options.weights)
    check_noise(plan.options.style, "--style", painter)
    check_noise(str(plan.options.style_to), "--style-to", painter)
    folder = strips.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".strips-", dir=folder) as name:
            bar = tqdm(plan.jobs, desc="drawing", unit=" strips", disable=not sys.stderr.isatty())
            for job in bar:
                sheet = draw_strip(strips, job, painter)
                sheet.save(Path(name) / f"{job.source_path.stem}.png")
            for path in sorted(Path(name).iterdir()):
                os.replace(path, folder / path.name)
    except OSError as error:
        raise UserError(
            f"the strips must be written: {folder}: {error.strerror}; see --output-path"
        ) from None
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
