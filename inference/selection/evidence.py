"""What a selection writes: the submission, its table, the averaged weights and the evidence.

submission/         images, submission.zip, overview.png, as test.sh makes them
selection.json      layout -> run, to be edited and given back with --table
evidence.json       every candidate, decision and number
evidence.md         the same for reading
average.safetensors a snapshot, if the recommended images need one; average-RUN.safetensors of
                    another run
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from data.classes import class_names
from data.listing import stem_of
from data.ownership import OVERVIEW, Content, OutputFolder, Partial, stamp_of
from inference.jobs import keep_finished
from inference.plan import BYTES_PER_PIXEL, FIX, SynthesisPlan
from inference.selection.generators import BATCH_SIZE, Generator
from inference.selection.plan import SelectionPlan, Settings
from inference.selection.program import Outcome, Step
from inference.submission import ZIP_NAME, Submission, place_submission
from options.paths import expand

TABLE, EVIDENCE, REPORT = "selection.json", "evidence.json", "evidence.md"
FORMAT = "jittor-landscape selection 1"
ABOUT = (
    "Edit `table` (layout -> run) or `seeds` (layout -> seed), then give this file with --table."
)


@dataclass(frozen=True)
class Sources:
    """The files of the networks that chose and judged, for the evidence."""

    segmenter: str
    judge: str | None
    features: str


def check_output(plan: SelectionPlan) -> None:
    """Raise UserError if a file of the user is in the way, or the disk is too full."""
    settings = plan.settings
    main = _main(plan)
    height, width = main.size
    count = sum(len(found) for found in plan.generators.values()) + settings.average
    count += settings.seeds * len(plan.plans) + 2
    size = int(count * len(plan.layouts) * height * width * BYTES_PER_PIXEL)
    averages = [_average_name(settings, run) for run in settings.runs]
    names = [*([] if _is_own_table(settings) else [TABLE]), EVIDENCE, REPORT, *averages]
    OutputFolder(settings.output_path, FIX).check(names, size)
    OutputFolder(main.output_path, FIX).check(
        [*(job.name for job in main.jobs), ZIP_NAME, OVERVIEW]
    )


def write_selection(plan: SelectionPlan, outcome: Outcome, sources: Sources) -> Submission:
    """Write the recommended submission, then table, averages and evidence.

    Raises UserError if a file of the user is in the way or the disk is full. The images of an
    interrupted start are kept in the cache.
    """
    made = _place_images(plan, outcome)
    settings = plan.settings
    folder = OutputFolder(settings.output_path, FIX)
    evidence = describe(plan, outcome, sources)
    files: dict[str, Content] = {
        EVIDENCE: json.dumps(evidence, indent=1) + "\n",
        REPORT: render(evidence),
    }
    if not _is_own_table(settings):  # the user's edited one stays as it is
        files[TABLE] = json.dumps(_table(plan, outcome), indent=1) + "\n"
    for generator in _generators(outcome):
        if generator.members:
            files[_average_name(settings, generator.run)] = _copier(generator.path)
    stale = {_average_name(settings, run) for run in settings.runs} - files.keys()
    folder.write(files, stale)
    return made


def describe(plan: SelectionPlan, outcome: Outcome, sources: Sources) -> dict[str, Any]:
    """Return the evidence of a selection, as JSON values."""
    settings = plan.settings
    names = class_names(plan.classes.count)
    judged = sources.judge is not None
    return {
        "verdict": outcome.verdict,
        "confirmed": outcome.confirmed,
        "recommended": outcome.images.label,
        "reported_by": sources.judge if judged else f"{sources.segmenter}, other layouts",
        "layouts": {
            "all": len(plan.layouts),
            "choosing": len(plan.choosing),
            "reporting": len(plan.reporting),
        },
        "photos": len(plan.pairs),
        "segmenters_on_photos": asdict(outcome.ceilings),
        "steps": [_describe_step(step) for step in outcome.steps],
        "candidates": outcome.candidates,
        "decisions": outcome.notes,
        "generators": [_describe_generator(one) for one in _generators(outcome)],
        "regions": {names[one]: run for one, run in outcome.images.regions.items()},
        "settings": {
            "runs": list(settings.runs),
            "segmenter": sources.segmenter,
            "judge": sources.judge,
            "features": sources.features,
            "average": settings.average,
            "batch_norm": f"{settings.batches} batches of {BATCH_SIZE}",
            "seed": settings.options.seed,
            "seeds": settings.seeds,
            "regions": settings.regions,
            "feather": settings.feather,
            "table": None if settings.table is None else str(settings.table),
        },
    }


def render(evidence: dict[str, Any]) -> str:
    """Return the evidence as Markdown."""
    layouts, settings = evidence["layouts"], evidence["settings"]
    distance = _distance(evidence["steps"][0])
    if settings["judge"] is None:
        how = (
            f"One segmenter, {settings['segmenter']}: {layouts['choosing']} layouts choose, the "
            f"other {layouts['reporting']} report (a hash of the name divides them)."
        )
    else:
        how = (
            f"{settings['segmenter']} chooses, {settings['judge']} reports; all "
            f"{layouts['all']} layouts."
        )
    lines = [
        f"# Selection of {settings['runs'][0]}", "",
        f"**{_sentence(evidence['verdict'])}**", "",
        f"Recommended: {evidence['recommended']}.", "",
        f"{how} {distance}: images against {evidence['photos']} photos; it took part in the "
        "choices too. Compare it only for equal numbers of images.", "",
        "## Reported", "",
        *_rows(["step", "mask accuracy", "gain", distance, "objective"], [
            [
                step["step"], _number(step["mask_accuracy"], 4), _gain(step),
                _number(step[distance], 3), _number(step["objective"], 4),
            ]
            for step in evidence["steps"]
        ]), "",
        "`gain`: mean difference of mask accuracy from the first row, image by image, with its "
        "standard error.", "",
        f"{_on_photos(evidence)} A mask accuracy above that is a sign that images fit the "
        "segmenter, and not the layouts.", "",
        "## Candidates", "",
        f"Measured by the choosing segmenter on {layouts['choosing']} layouts: good for the "
        "choice, too high as a report.", "",
        *_rows(["candidate", "mask accuracy", distance, "objective"], [
            [
                one["candidate"], _number(one["mask_accuracy"], 4), _number(one[distance], 3),
                _number(one["objective"], 4),
            ]
            for one in evidence["candidates"]
        ]), "",
        "## Decisions", "",
        *(f"- {note}" for note in evidence["decisions"] or ["none"]), "",
        "## Settings", "",
        *(f"- {name}: {_plain(value)}" for name, value in settings.items()), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _place_images(plan: SelectionPlan, outcome: Outcome) -> Submission:
    """Zip and place the recommended images, each with the job of its own run."""
    main = _main(plan)
    jobs = [
        plan.plans[origin.generator.run].jobs[row]
        for row, origin in enumerate(outcome.images.origins)
    ]
    mixed = replace(main, jobs=jobs)
    stamps = json.dumps([stamp_of(path) for path in outcome.images.paths])
    key = hashlib.sha256(stamps.encode()).hexdigest()
    with keep_finished(Partial(main.output_path, "submission", key), mixed) as (part, _):
        for job, path in zip(jobs, outcome.images.paths, strict=True):
            if not part.has(job.name, key):
                part.add(job.name, key, path.read_bytes())
        return place_submission(mixed, part)


def _copier(path: Path) -> Content:
    """Write a file's content; it may be larger than memory."""

    def write(file: BinaryIO) -> None:
        with path.open("rb") as source:
            shutil.copyfileobj(source, file)

    return write


def _table(plan: SelectionPlan, outcome: Outcome) -> dict[str, Any]:
    """The content of selection.json."""
    origins = {
        stem_of(path): origin
        for path, origin in zip(plan.layouts, outcome.images.origins, strict=True)
    }
    usual = plan.settings.options.seed
    names = class_names(plan.classes.count)
    return {
        "format": FORMAT,
        "about": ABOUT,
        "table": {stem: origin.generator.run for stem, origin in origins.items()},
        "seeds": {stem: one.seed for stem, one in origins.items() if one.seed != usual},
        "generators": [_describe_generator(one) for one in _generators(outcome)],
        "regions": {names[one]: run for one, run in outcome.images.regions.items()},
    }


def _generators(outcome: Outcome) -> list[Generator]:
    """The generators of the recommended images, each once."""
    return list(dict.fromkeys(origin.generator for origin in outcome.images.origins))


def _describe_generator(generator: Generator) -> dict[str, Any]:
    return {
        "run": generator.run,
        "generator": generator.label,
        "epoch": generator.epoch,
        "step": generator.step,
        "average_of": list(generator.members),
    }


def _describe_step(step: Step) -> dict[str, Any]:
    quality = step.quality
    return {
        "step": step.label,
        "mask_accuracy": quality.mask_accuracy,
        "FID" if quality.is_fid else "FD-EffNet": quality.distance,
        "objective": quality.objective,
        "layouts": quality.images,
        "gain": None if step.gain is None else step.gain[0],
        "standard_error": None if step.gain is None else step.gain[1],
    }


def _main(plan: SelectionPlan) -> SynthesisPlan:
    return plan.plans[plan.settings.runs[0]]


def _average_name(settings: Settings, run: str) -> str:
    return "average.safetensors" if run == settings.runs[0] else f"average-{run}.safetensors"


def _is_own_table(settings: Settings) -> bool:
    """Whether --table names the file that this program would write."""
    if settings.table is None:
        return False
    return expand(settings.table).resolve() == (settings.output_path / TABLE).resolve()


def _distance(step: dict[str, Any]) -> str:
    return "FID" if "FID" in step else "FD-EffNet"


def _gain(step: dict[str, Any]) -> str:
    if step["gain"] is None:
        return ""
    return f"{step['gain']:+.4f} ± {step['standard_error']:.4f}"


def _on_photos(evidence: dict[str, Any]) -> str:
    """A sentence about the ceilings of the segmenters."""
    found, settings = evidence["segmenters_on_photos"], evidence["settings"]
    values = [f"{settings['segmenter']} {found['chooser']:.4f}"]
    if found["judge"] is not None:
        values.append(f"{settings['judge']} {found['judge']:.4f}")
    return f"Mask accuracy on {found['photos']} held-out photos: {', '.join(values)}."


def _number(value: float | None, digits: int) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _rows(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown; a bar in a cell is escaped."""
    lines = [titles, ["---"] * len(titles), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines]


def output_of(name: str, results_path: str) -> Path:
    """The folder of a run's selection by default."""
    return expand(results_path) / name / "selected"
