"""The images of candidates: generated as test.sh does, and kept for the next start."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.ownership import Partial, stamp_of
from inference.jobs import fit_image, keep_finished, plan_key, run_job, run_jobs
from inference.plan import Job, SynthesisPlan
from inference.selection.generators import WEIGHTS, Generator, Load
from inference.styles import check_noise
from inference.submission import QUALITY
from weights.snapshots import Snapshot, read_snapshot

if TYPE_CHECKING:
    from inference.synthesizer import Synthesizer

KIND = "candidate"


class Gallery:
    """Images of the layouts of a selection, per run, generator and seed.

    plans: the plan of each run; all have the same layouts, in the same order. cache: the folder
    that keeps the images, each set in a hidden folder of its own. load: `load_synthesizer`.
    """

    def __init__(self, plans: Mapping[str, SynthesisPlan], cache: Path, load: Load) -> None:
        self.plans = plans
        self.cache = cache
        self.load = load

    def generate(
        self, generator: Generator, seed: int, rows: Sequence[int] | None = None
    ) -> list[Path]:
        """Return the paths of the images of all layouts, or of those of some indices.

        Images that an earlier start has finished are reused. Raises as `run_jobs`.
        """
        plan = self._plan(generator, seed, rows)
        names = [job.name for job in plan.jobs]
        part = Partial(self.cache, KIND, plan_key(plan, QUALITY))
        synthesizer: Synthesizer | None = None

        def make(job: Job) -> Image.Image:
            nonlocal synthesizer
            if synthesizer is None:
                synthesizer = self.load(read_snapshot(generator.path), WEIGHTS)
                check_noise(plan.options.style, "--style", synthesizer)
            return fit_image(run_job(job, plan.options, synthesizer), plan.size)

        with keep_finished(part, plan) as (part, stop):
            run_jobs(plan, part, stop, names, make, "JPEG", quality=QUALITY)
        return [part.path / name for name in names]

    def takes_noise(self, generator: Generator) -> bool:
        """Whether another seed gives other images: noise, and no photo that replaces it."""
        synthesizer = self.load(read_snapshot(generator.path), WEIGHTS)
        jobs = self.plans[generator.run].jobs
        replaced = synthesizer.has_encoder and all(job.style_path is not None for job in jobs)
        return synthesizer.takes_noise and not replaced

    def mix(
        self,
        recipe: object,
        sources: Sequence[Sequence[Path]],
        blend: Callable[[int, list[NDArray[np.uint8]]], NDArray[np.uint8]],
    ) -> list[Path]:
        """Return the paths of images that are mixed from others, in the order of the layouts.

        sources: the files of each image's parts; of a single one a copy is made. `blend` mixes the
        decoded parts of an index. recipe: all else that the images depend on.
        """
        plan = next(iter(self.plans.values()))
        stamps = [[stamp_of(path) for path in parts] for parts in sources]
        key = hashlib.sha256(json.dumps([stamps, recipe, QUALITY]).encode()).hexdigest()
        with keep_finished(Partial(self.cache, KIND, key), plan) as (part, _):
            for row, (job, parts) in enumerate(zip(plan.jobs, sources, strict=True)):
                if part.has(job.name, key):
                    continue
                content = parts[0].read_bytes()
                if len(parts) > 1:
                    content = _encode(blend(row, [_decode(path) for path in parts]))
                part.add(job.name, key, content)
        return [part.path / job.name for job in plan.jobs]

    def _plan(self, generator: Generator, seed: int, rows: Sequence[int] | None) -> SynthesisPlan:
        """The plan of the run, for another generator, seed and some layouts."""
        plan = self.plans[generator.run]
        snapshot = Snapshot(
            generator.path, plan.snapshot.options, generator.epoch, generator.step, {}
        )
        jobs = plan.jobs if rows is None else [plan.jobs[row] for row in rows]
        options = replace(plan.options, seed=seed)
        return replace(plan, snapshot=snapshot, options=options, jobs=jobs)


def _decode(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image)


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=QUALITY)
    return content.getvalue()
