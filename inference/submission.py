"""The submission: an image per test layout, zipped and verified.

    plan = plan_submission(options)     # raises UserError before Jittor is imported
    result = make_submission(plan)      # images, submission.zip, overview.png

For a translation, content photos take the place of layouts. data.ownership decides which
files of the output folder are the user's and are never replaced.
"""

from __future__ import annotations

import itertools
import os
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.ownership import OVERVIEW, OutputFolder, Partial
from data.reading import read_photo
from inference.conditioning import Shape
from inference.contact_sheet import fit_cell, render_sheet, save_image
from inference.jobs import (
    describe_partials,
    fit_image,
    keep_finished,
    plan_key,
    run_job,
    run_jobs,
)
from inference.plan import BYTES_PER_PIXEL, FIX, Job, SynthesisPlan, plan_synthesis
from inference.styles import check_noise
from options.errors import Failure
from options.paths import show_path
from options.test import TestOptions
from runtime.stop import Stopped

if TYPE_CHECKING:
    from inference.synthesizer import Synthesizer

QUALITY = 95
OVERVIEW_ROWS = 12
FOLDER = "submission"
ZIP_NAME = "submission.zip"


class BadSubmission(Failure):
    """The written files are not a valid submission: a fault of this program."""


@dataclass(frozen=True)
class Submission:
    """The files of a submission."""

    folder: Path
    zip_path: Path
    overview_path: Path
    count: int


def plan_submission(options: TestOptions) -> SynthesisPlan:
    """Find and check generator, layouts, styles and the place for the images.

    Raises UserError if one of them is missing or bad, or a user's file is in the way.
    """
    plan = plan_synthesis(options, FOLDER, ".jpg")
    folder = OutputFolder(plan.output_path, FIX)
    height, width = plan.size
    size = int(2 * len(plan.jobs) * height * width * BYTES_PER_PIXEL)  # each is in the zip too
    names = [job.name for job in plan.jobs]
    replaced = folder.check([*names, ZIP_NAME, OVERVIEW], size)
    stale = _stale(plan, folder)
    earlier = len(stale) + len([name for name in replaced if name not in (ZIP_NAME, OVERVIEW)])
    if earlier:
        line = f"replaces {earlier} images of an earlier submission with {len(names)}"
        if _zip_to_keep(plan, folder):
            line += f"; its {ZIP_NAME} is kept under another name"
        plan.notes.append(line)
    plan.notes.extend(describe_partials(_partial(plan)))
    renamed = [job for job in plan.jobs if job.zip_name != job.name]
    if renamed:
        plan.notes.append(
            f"note: {len(renamed)} names hold characters that a zip does not carry to every "
            f"system; in {ZIP_NAME} {show_path(renamed[0].name)} is called {renamed[0].zip_name}; "
            "to choose the names, rename the layouts (convmv does it for GBK names)"
        )
    return plan


def make_submission(plan: SynthesisPlan, synthesizer: Synthesizer | None = None) -> Submission:
    """Generate every image, zip them, read the zip back, render the overview, move all in place.

    Images of the same plan that an earlier start has finished are reused. Raises UserError if the
    folder cannot be written, Failure if an image is not finite or the zip is invalid, Stopped
    after a signal; each message names the folder of the finished images.
    """
    if synthesizer is None:
        from inference.synthesizer import load_synthesizer  # imports Jittor

        synthesizer = load_synthesizer(plan.snapshot, plan.options.weights)
    check_noise(plan.options.style, "--style", synthesizer)
    names = [job.name for job in plan.jobs]
    with keep_finished(_partial(plan), plan) as (part, stop):
        run_jobs(
            plan,
            part,
            stop,
            names,
            lambda job: fit_image(run_job(job, plan.options, synthesizer), plan.size),
            "JPEG",
            quality=QUALITY,
        )
        return place_submission(plan, part)


def place_submission(plan: SynthesisPlan, part: Partial) -> Submission:
    """Zip the finished images of a plan, verify the zip, render the overview, move all in place.

    Raises as `make_submission`; the images are then still in `part`.
    """
    names = [job.name for job in plan.jobs]
    folder = OutputFolder(plan.output_path, FIX)
    try:
        _write_zip(part.path, plan.jobs)
        zip_names = [job.zip_name for job in plan.jobs]
        check_zip(part.path / ZIP_NAME, zip_names, plan.size)
        _render_overview(plan, part.path)
    except BaseException:
        # It would take space that may be scarce.
        (part.path / ZIP_NAME).unlink(missing_ok=True)
        raise
    files = [*names, ZIP_NAME, OVERVIEW]
    folder.check(files)
    kept = _zip_to_keep(plan, folder)
    if kept is not None:
        folder.rename(ZIP_NAME, kept)
    folder.place(part.path, files, _stale(plan, folder))
    part.remove()
    made = plan.output_path
    return Submission(made, made / ZIP_NAME, made / OVERVIEW, len(plan.jobs))


def submit(plan: SynthesisPlan, synthesizer: Synthesizer | None = None) -> int:
    """Make the submission and print its paths; returns the exit code."""
    try:
        made = make_submission(plan, synthesizer)
    except Stopped as stopped:
        return stopped.exit_code
    except Failure as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{made.count} images: {made.folder}")
    print(f"submission: {made.zip_path}")
    print(f"overview:   {made.overview_path}")
    return 0


def check_zip(path: Path, names: Sequence[str], size: Shape) -> None:
    """Verify a submission: a flat zip of exactly these names, RGB JPEGs of (height, width).

    Raises BadSubmission that names the first difference.
    """
    with zipfile.ZipFile(path) as archive:
        found = archive.namelist()
        if sorted(found) != sorted(names):
            wrong = sorted(set(found) ^ set(names)) or ["a name that occurs twice"]
            raise BadSubmission(
                f"{path}: expected {len(names)} images, got {len(found)}; the first difference is "
                f"{wrong[0]}"
            )
        for name in found:
            with archive.open(name) as file, Image.open(file) as image:
                image.load()
                kind = (image.format, image.mode, image.height, image.width)
            if kind != ("JPEG", "RGB", *size):
                raise BadSubmission(
                    f"{path}: expected RGB JPEGs of {size[0]} x {size[1]} (height x width), got "
                    f"{name}, {kind[0]} {kind[1]} of {kind[2]} x {kind[3]}"
                )


def _partial(plan: SynthesisPlan) -> Partial:
    """The hidden folder of finished images."""
    return Partial(plan.output_path, "submission", plan_key(plan, QUALITY))


def _stale(plan: SynthesisPlan, folder: OutputFolder) -> list[str]:
    """Images of an earlier set that this plan does not replace, in the run's own folder."""
    if not plan.own_folder:
        return []
    names = {job.name for job in plan.jobs}
    return [name for name in folder.owned() if name.endswith(".jpg") and name not in names]


def _zip_to_keep(plan: SynthesisPlan, folder: OutputFolder) -> str | None:
    """A free name for the zip of a larger set, which --limit would otherwise replace."""
    if plan.options.limit is None or ZIP_NAME not in folder.owned():
        return None
    try:
        with zipfile.ZipFile(folder.path / ZIP_NAME) as archive:
            count = len(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return None
    if count <= len(plan.jobs):
        return None
    stem = Path(ZIP_NAME).stem
    names = itertools.chain(
        [f"{stem}-{count}.zip"], (f"{stem}-{count}-{number}.zip" for number in itertools.count(2))
    )
    return next(name for name in names if not os.path.lexists(folder.path / name))


def _write_zip(folder: Path, jobs: Sequence[Job]) -> None:
    with zipfile.ZipFile(folder / ZIP_NAME, "w", zipfile.ZIP_STORED) as archive:
        for job in jobs:
            # One date for all: the same images make the same zip.
            entry = zipfile.ZipInfo(job.zip_name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, (folder / job.name).read_bytes())


def _render_overview(plan: SynthesisPlan, folder: Path) -> None:
    count = min(OVERVIEW_ROWS, len(plan.jobs))
    jobs = [plan.jobs[index * len(plan.jobs) // count] for index in range(count)]
    conditioner = plan.conditioner
    cell = fit_cell(*plan.size)
    with_style = any(job.style_path is not None for job in jobs)
    seen: set[int] = set()
    rows = []
    for job in jobs:
        source, classes_in_it = conditioner.thumbnail(job.source_path, cell)
        seen |= classes_in_it
        row: list[NDArray[np.uint8] | None] = [source]
        if with_style:
            row.append(read_photo(job.style_path, *cell) if job.style_path else None)
        with Image.open(folder / job.name) as image:
            row.append(np.array(image))
        rows.append(row)
    titles = [conditioner.title, *["style"] * with_style, "result"]
    classes = plan.snapshot.options.data.layout_classes
    sheet = render_sheet(rows, titles, cell=cell, legend=sorted(seen), classes=classes)
    save_image(sheet, folder / OVERVIEW)
