"""The execution of a plan: images one at a time, kept until all are done.

Every finished image is kept in a hidden folder next to the output until the set is complete.
After a failure or a stop the same command resumes from there. An image depends on its own job and
the seed alone, so the same seed gives the same files in any order.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.labels import read_instances
from data.listing import stem_of
from data.ownership import Partial, stamp_of
from data.reading import read_photo
from data.transforms import instance_edges, resize_layout
from inference.conditioning import Shape, conditioner_of
from inference.plan import FIX, Job, SynthesisPlan
from options.errors import Failure, UserError
from options.paths import show_path
from options.test import TestOptions
from runtime.progress import ProgressBar
from runtime.stop import Stopped, StopRequest, stop_on_signal

if TYPE_CHECKING:
    from inference.synthesizer import Style, Synthesizer


@contextmanager
def keep_finished(part: Partial, plan: SynthesisPlan) -> Iterator[tuple[Partial, StopRequest]]:
    """Write into `part`; if the block does not finish, report what is kept there.

    Signals ask to stop after the current image. Raises UserError in place of OSError.
    """

    def kept() -> str:
        count = part.count()
        if not count:
            part.remove()
            return ""
        return f"{count} finished images are kept in {part.path}: the same command resumes there"

    try:
        with part, stop_on_signal() as stop:
            try:
                yield part, stop
            except OSError as error:
                rest = f"; {kept()}" if kept() else ""
                raise UserError(
                    f"{error.filename or plan.output_path}: the images cannot be written "
                    f"({error.strerror}). Free some space, or {FIX}{rest}"
                ) from None
            except (UserError, Failure) as error:
                if not kept():
                    raise
                kind = UserError if isinstance(error, UserError) else Failure
                raise kind(f"{error}; {kept()}") from None
            except BaseException:
                print(f"stopped: {kept() or 'no file was written'}", file=sys.stderr, flush=True)
                raise
    except OSError as error:
        raise UserError(
            f"{error.filename or plan.output_path}: the images cannot be written "
            f"({error.strerror}). To fix it, {FIX}"
        ) from None


def run_jobs(
    plan: SynthesisPlan,
    part: Partial,
    stop: StopRequest,
    names: Sequence[str],
    make: Callable[[Job], Image.Image],
    format: str,
    **settings: int,
) -> None:
    """Make the image of each unfinished job and keep it under its name.

    Raises Stopped after a signal, and Failure that names the layout whose image is not finite.
    """
    count = len(plan.jobs)
    with ProgressBar("generating", "images") as show:
        for done, (job, name) in enumerate(zip(plan.jobs, names, strict=True), 1):
            if stop.number is not None:
                raise Stopped(stop.number)
            key = _job_key(job)
            if not part.has(name, key):
                try:
                    image = make(job)
                except Failure as error:
                    source, snapshot = show_path(job.source_path), plan.snapshot.path
                    raise Failure(
                        f"{source}: {error}. Try --weights raw, or a snapshot before {snapshot}"
                    ) from None
                content = io.BytesIO()
                image.save(content, format, **settings)
                part.add(name, key, content.getvalue())
            show(done, count)
    if stop.number is not None:
        raise Stopped(stop.number)


def plan_key(plan: SynthesisPlan, *more: object) -> str:
    """A digest of the settings that all images of a plan depend on, and of `more`."""
    options = plan.options
    settings = [
        stamp_of(plan.snapshot.path),
        options.weights,
        options.seed,
        options.device,
        plan.size,
        *more,
    ]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def describe_partials(part: Partial) -> list[str]:
    """Lines about images that earlier starts left unfinished."""
    count = part.count()
    lines = [f"resumes: {count} images exist already, in {part.path}"] if count else []
    lines += [
        f"note: {other.path} keeps {other.count()} images of an unfinished set with other options"
        for other in part.others()
    ]
    return lines


def run_job(job: Job, options: TestOptions, synthesizer: Synthesizer) -> NDArray[np.uint8]:
    """The image of one job at the generator's own size, uint8 (H, W, 3)."""
    style, noise = read_style(job.style_path, job, options.seed, synthesizer)
    content, planes = read_content(job, synthesizer)
    return synthesizer.synthesize(content, style=style, noise=noise, **planes)


def read_content(job: Job, synthesizer: Synthesizer) -> tuple[NDArray[np.integer], dict[str, Any]]:
    """A job's source at the generator's size, and `edges` if it has an instance map."""
    size = synthesizer.size
    content = conditioner_of(synthesizer.options.data).read(job.source_path, size)
    if job.instance_path is None:
        return content, {}
    instances = resize_layout(read_instances(job.instance_path), *size)
    return content, {"edges": instance_edges(instances)[None].astype(np.float32)}


def read_style(path: Path | None, job: Job, seed: int, synthesizer: Synthesizer) -> Style:
    """The style photo and the noise of a job's image, None if it has none."""
    style = None if path is None else read_photo(path, *synthesizer.size)
    if style is not None and synthesizer.has_encoder:
        return style, None
    return style, synthesizer.sample_noise(seed, stem_of(job.source_path))


def fit_image(image: NDArray[np.uint8], size: Shape) -> Image.Image:
    """An image resized to (height, width)."""
    fitted, wide = Image.fromarray(image), size[::-1]
    return fitted if fitted.size == wide else fitted.resize(wide, Image.Resampling.LANCZOS)


def _job_key(job: Job) -> str:
    """A digest of the files that a job's image depends on."""
    paths = (job.source_path, job.style_path, job.instance_path)
    # With their names: an interpolation shows those of its styles.
    files = [None if path is None else (path.name, stamp_of(path)) for path in paths]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:32]
