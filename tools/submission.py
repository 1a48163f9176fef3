"""The submission: an image for every test layout, zipped and verified.

    plan = plan_submission(options)     # raises UserError before Jittor is imported
    result = make_submission(plan)      # images, submission.zip, overview.png

Images are drawn one at a time with noise that follows from the seed and the layout's name, so that
the same seed gives the same files whatever else is drawn and in whichever order.

Every image that is drawn is kept in a hidden folder of the output's until the whole set is
finished. After a failure or a stop the same command resumes from there. What the output folder may
hold of a person's, and what is replaced in it: see data.ownership.

If the generator translates, content photographs take the layouts' place, and a style that nothing
names is drawn at random, from the seed and the content's name likewise.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import sys
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.check import find_color_conflicts
from data.folders import (
    CONTENT,
    STYLE,
    LayoutFolder,
    describe_unused,
    find_content,
    find_pairs,
    find_test_layouts,
    find_unused,
    pictures_by_stem,
    stem_of,
)
from data.images import PictureError, inspect_image
from data.labels import Colors, read_instances
from data.loader import read_colored_layout, read_layout, read_photograph
from data.ownership import OVERVIEW, OutputFolder, Partial, stamp_of
from data.styles import StyleTable, build_layout_index, find_style_table, styles_from_table
from data.transforms import instance_edges, resize_layout
from data.workers import run_all
from options.errors import Failure, UserError
from options.paths import show_path
from options.run import DataOptions, TestOptions
from tools.progress import ProgressBar
from training.checkpoint import Snapshot, latest_snapshot, read_snapshot
from training.run_folder import RunFolder, newest_run
from training.sample_sheet import draw_layout, draw_sheet, fit_cell, save_picture
from training.seeds import derive_key
from training.stop import Stopped, StopRequest, stop_on_signal

if TYPE_CHECKING:
    from training.painter import Painter

QUALITY = 95
OVERVIEW_ROWS = 12
FOLDER = "submission"
ZIP_NAME = "submission.zip"
SHOWN_FAULTS = 5
CONTEST_SIZE = (384, 512)
# Bytes of a pixel in a JPEG of that quality: few, so that a disk is refused only if it is too full.
BYTES_PER_PIXEL = 0.25
# A layout may be a pixel off without looking stretched.
ASPECT_TOLERANCE = 0.01
FIX = "name another folder with --output_path"

Shape = tuple[int, int]


class BadSubmission(Failure):
    """The files that were written are not what a submission must be: a fault of this program."""


@dataclass(frozen=True)
class Job:
    """One image to make: its layout, and the photograph that gives it its style, if any.

    `source_path` is the layout, or in translation the content photograph; `instance_path` the
    layout's instance map, for generators that read borders of objects.
    """

    source_path: Path
    style_path: Path | None
    instance_path: Path | None = None

    @property
    def name(self) -> str:
        """The image's file name."""
        return self.source_path.stem + ".jpg"

    @property
    def zip_name(self) -> str:
        """Its name in the zip: what a zip does not carry to every system becomes %XX.

        That is bytes that are no UTF-8 (Python has them as surrogates), control characters, and
        the backslash, which parts folders on Windows.
        """
        return "".join(
            "".join(f"%{byte:02X}" for byte in os.fsencode(character))
            if unicodedata.category(character) in ("Cs", "Cc") or character == "\\"
            else character
            for character in self.name
        )


@dataclass(frozen=True)
class SubmissionPlan:
    """What will be drawn, by what, how large and where to; everything in it has been checked."""

    options: TestOptions
    snapshot: Snapshot
    jobs: list[Job]
    size: Shape  # of the written images
    notes: list[str]  # lines for people, to be said before the work
    output_path: Path
    own_folder: bool  # the run's own submission/ folder: images of an earlier, larger set go

    @property
    def what(self) -> str:
        """What images are made for, in a word for people."""
        return "layouts" if self.snapshot.options.data.task == "synthesis" else "photographs"


@dataclass(frozen=True)
class Submission:
    """What was written."""

    folder: Path
    zip_path: Path
    overview_path: Path
    count: int


def plan_submission(options: TestOptions) -> SubmissionPlan:
    """Find generator, layouts and styles, and check them, and the place for the images.

    Raises UserError if one of them is missing or bad, or a person's file is in the way.
    """
    plan = plan_drawing(options, FOLDER, ".jpg")
    folder = OutputFolder(plan.output_path, FIX)
    height, width = plan.size
    size = int(2 * len(plan.jobs) * height * width * BYTES_PER_PIXEL)  # each is in the zip again
    names = [job.name for job in plan.jobs]
    replaced = folder.check([*names, ZIP_NAME, OVERVIEW], size)
    stale = _stale(plan, folder)
    earlier = len(stale) + len([name for name in replaced if name not in (ZIP_NAME, OVERVIEW)])
    if earlier:
        line = f"replaces {earlier} images of an earlier submission with {len(names)}"
        if _zip_to_keep(plan, folder):
            line += f"; its {ZIP_NAME} is kept under another name"
        plan.notes.append(line)
    plan.notes.extend(say_partials(Partial(plan.output_path, "submission", _key(plan))))
    renamed = [job for job in plan.jobs if job.zip_name != job.name]
    if renamed:
        plan.notes.append(
            f"note: {len(renamed)} names hold characters that a zip does not carry to every "
            f"system; in {ZIP_NAME} {show_path(renamed[0].name)} is called {renamed[0].zip_name}; "
            "to have names of your own, rename the layouts (convmv does it for GBK names)"
        )
    return plan


def plan_drawing(options: TestOptions, folder: str, suffix: str) -> SubmissionPlan:
    """What submissions and strips have in common: generator, layouts, styles, the images' names.

    `folder` in the run's folder is where the images go if nothing else is asked. A person's file in
    the way is told first of all: to read layouts and find styles may take minutes.
    """
    path, home = _find_checkpoint(options)
    snapshot = read_snapshot(path)
    own_folder = options.output_path is None
    output_path = home / folder
    if options.output_path is not None:
        output_path = Path(options.output_path).expanduser()
    data = snapshot.options.data
    translates = data.task == "translation"
    what = "photograph" if translates else "layout"
    notes: list[str] = []
    styles: Sequence[Path | None]
    if translates:
        dataset = options.input_path or _require_dataset(snapshot, "--input_path CONTENT")
        content = find_content(dataset)
        known = [photograph.path for photograph in content.photographs]
        sources = _Sources(content.root, known, known[: options.limit])
        notes += describe_unused(content.unused)
        _check_names(sources.paths, output_path, suffix)
        shapes = _check_all(_PhotographChecker, (), sources.paths, data.workers, what)
        styles = _translation_styles(options, snapshot, sources, notes)
    else:
        if options.input_path is not None:
            layouts = find_test_layouts(options.input_path)
        else:
            layouts = find_run_layouts(str(_require_dataset(snapshot, "--input_path LABELS")))
        sources = _Sources(layouts.root, layouts.paths, layouts.paths[: options.limit])
        _check_names(sources.paths, output_path, suffix)
        notes += describe_unused(layouts.unused)
        settings = (_reading(data),)
        shapes = _check_all(_LayoutChecker, settings, sources.paths, data.workers, what)
        styles = _find_styles(options, snapshot, sources, notes)
    paths = sources.paths
    if options.img_path is not None:
        notes += describe_unused(find_unused(options.img_path))
    check_photographs([style for style in styles if style is not None], snapshot)
    instances = _find_instances(options, snapshot, paths, shapes)
    jobs = [Job(*job) for job in zip(paths, styles, instances, strict=True)]
    height, width = (data.height, data.width) if translates else CONTEST_SIZE
    size = (options.height or height, options.width or width)
    notes += _say_stretched(paths, shapes, (data.height, data.width), size, what)
    return SubmissionPlan(options, snapshot, jobs, size, notes, output_path, own_folder)


def find_run_layouts(dataset: str) -> LayoutFolder:
    """The test layouts of a training dataset; UserError where it has none of its own."""
    layouts = find_test_layouts(dataset)
    if layouts.root.resolve() in {p.label_path.parent.resolve() for p in find_pairs(dataset).pairs}:
        raise UserError(
            f"test layouts are others than the training pairs': {dataset} has none besides "
            f"{layouts.root}; name --input-path LABELS"
        )
    return layouts


def make_submission(plan: SubmissionPlan, painter: Painter | None = None) -> Submission:
    """Draw every image, zip them, read the zip back, draw the overview, and move all of it in.

    Images that a stopped or failed start has drawn of the same plan are taken as they are. Raises
    UserError if the folder cannot be written, Failure if an image is not finite or the zip is not
    what it must be, Stopped after a signal; each of them says where the images are kept.
    """
    if painter is None:
        from training.painter import load_painter  # Jittor only now

        painter = load_painter(plan.snapshot, plan.options.weights)
    check_noise(plan.options.style, "--style", painter)
    names = [job.name for job in plan.jobs]
    folder = OutputFolder(plan.output_path, FIX)
    with keep_finished(Partial(plan.output_path, "submission", _key(plan)), plan) as (part, stop):

        def draw(job: Job) -> Image.Image:
            return fit_picture(paint_job(job, plan.options, painter), plan.size)

        draw_jobs(plan, part, stop, names, draw, "JPEG", quality=QUALITY)
        try:
            _write_zip(part.path, plan.jobs)
            zip_names = [job.zip_name for job in plan.jobs]
            check_zip(part.path / ZIP_NAME, zip_names, plan.size)
            _draw_overview(plan, painter, part.path)
        except BaseException:
            # It would take the room of which there may be none.
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


def submit(plan: SubmissionPlan, painter: Painter | None = None) -> int:
    """Make the submission and say where it is; the exit code."""
    try:
        made = make_submission(plan, painter)
    except Stopped as stopped:
        return stopped.exit_code
    except Failure as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{made.count} pictures: {made.folder}")
    print(f"submission: {made.zip_path}")
    print(f"overview:   {made.overview_path}")
    return 0


@contextmanager
def keep_finished(part: Partial, plan: SubmissionPlan) -> Iterator[tuple[Partial, StopRequest]]:
    """Draw into `part`, and say what is kept there if the block does not come to its end.

    Signals ask to stop after the image under way. Raises UserError in place of OSError.
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
                    f"the images must be written: {error.filename or plan.output_path}: "
                    f"{error.strerror}; make room there, or {FIX}{rest}"
                ) from None
            except (UserError, Failure) as error:
                if not kept():
                    raise
                kind = UserError if isinstance(error, UserError) else Failure
                raise kind(f"{error}; {kept()}") from None
            except BaseException:
                print(f"stopped: {kept() or 'nothing was written'}", file=sys.stderr, flush=True)
                raise
    except OSError as error:
        raise UserError(
            f"the images must be written: {error.filename or plan.output_path}: "
            f"{error.strerror}; {FIX}"
        ) from None


def draw_jobs(
    plan: SubmissionPlan,
    part: Partial,
    stop: StopRequest,
    names: Sequence[str],
    draw: Callable[[Job], Image.Image],
    kind: str,
    **settings: int,
) -> None:
    """Draw the image of each job that is not finished yet, under its name.

    Raises Stopped after a signal, Failure that names the layout of which the image is not finite.
    """
    count = len(plan.jobs)
    with ProgressBar("drawing", "images") as show:
        for done, (job, name) in enumerate(zip(plan.jobs, names, strict=True), 1):
            if stop.number is not None:
                raise Stopped(stop.number)
            key = _key_of(job)
            if not part.has(name, key):
                try:
                    image = draw(job)
                except Failure as error:
                    source, snapshot = show_path(job.source_path), plan.snapshot.path
                    raise Failure(
                        f"{source}: {error}; try --weights raw, or a snapshot before {snapshot}"
                    ) from None
                content = io.BytesIO()
                image.save(content, kind, **settings)
                part.add(name, key, content.getvalue())
            show(done, count)
    if stop.number is not None:
        raise Stopped(stop.number)


def drawing_key(plan: SubmissionPlan, *more: object) -> str:
    """Stands for all that an image depends on besides its job's files: equal keys, equal images."""
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


def check_zip(path: Path, names: Sequence[str], size: Shape) -> None:
    """Read a submission back: flat, these names and no other, RGB JPEGs of `size` (height, width).

    Raises BadSubmission that says what is off.
    """
    with zipfile.ZipFile(path) as archive:
        found = archive.namelist()
        if sorted(found) != sorted(names):
            wrong = sorted(set(found) ^ set(names)) or ["a name that stands twice"]
            raise BadSubmission(
                f"{path} must hold {len(names)} pictures: it holds {len(found)}; off is {wrong[0]}"
            )
        for name in found:
            with archive.open(name) as file, Image.open(file) as picture:
                picture.load()
                kind = (picture.format, picture.mode, picture.height, picture.width)
            if kind != ("JPEG", "RGB", *size):
                raise BadSubmission(
                    f"{path}: each picture is an RGB JPEG of {size[0]} x {size[1]} (height x "
                    f"width): {name} is {kind[0]} {kind[1]} of {kind[2]} x {kind[3]}"
                )


def _key(plan: SubmissionPlan) -> str:
    return drawing_key(plan, QUALITY)


def _key_of(job: Job) -> str:
    """Stands for the files that a job's image is drawn from."""
    paths = (job.source_path, job.style_path, job.instance_path)
    # With their names: a strip shows those of its styles.
    files = [None if path is None else (path.name, stamp_of(path)) for path in paths]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:32]


def say_partials(part: Partial) -> list[str]:
    """Lines about images that earlier starts have left unfinished."""
    count = part.count()
    lines = [f"resumes: {count} images are drawn already, in {part.path}"] if count else []
    lines += [
        f"note: {other.path} keeps {other.count()} images of an unfinished set with other options"
        for other in part.others()
    ]
    return lines


def _stale(plan: SubmissionPlan, folder: OutputFolder) -> list[str]:
    """Images of an earlier set that the plan does not draw again: the run's own folder has none."""
    if not plan.own_folder:
        return []
    names = {job.name for job in plan.jobs}
    return [name for name in folder.owned() if name.endswith(".jpg") and name not in names]


def _zip_to_keep(plan: SubmissionPlan, folder: OutputFolder) -> str | None:
    """A free name for the zip of a larger set, where --limit would cost a whole submission."""
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


def _check_names(paths: Sequence[Path], output_path: Path, suffix: str) -> None:
    """Check that the images can be written under the sources' names.

    Raises UserError if two would have one name, on Windows or macOS at least, or a person's file
    has it.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        for name in {path.stem, Job(path, None).zip_name.removesuffix(".jpg")}:
            other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), path)
            if other is not path:
                raise UserError(
                    f"{show_path(path)}: expected image names that differ on every system, got "
                    f"{show_path(other.stem)}{suffix} and {show_path(path.stem)}{suffix}; "
                    "rename one"
                )
    OutputFolder(output_path, FIX).check(path.stem + suffix for path in paths)


def _say_stretched(
    paths: Sequence[Path], shapes: Sequence[Shape], drawn: Shape, written: Shape, what: str
) -> list[str]:
    """A line for each of the two sizes to whose shape sources are stretched."""
    lines = []
    for size, verb in ((drawn, "drawn"), (written, "written")):
        off = [
            (path, shape)
            for path, shape in zip(paths, shapes, strict=True)
            if abs(shape[1] * size[0] / (shape[0] * size[1]) - 1) > ASPECT_TOLERANCE
        ]
        if off:
            (path, shape), count = off[0], len(off)
            lines.append(
                f"note: {count} of {len(paths)} {what}s are stretched: {show_path(path.name)} is "
                f"{shape[0]} x {shape[1]} (height x width), its image is {verb} at "
                f"{size[0]} x {size[1]}"
            )
    return lines[:1]


def _find_checkpoint(options: TestOptions) -> tuple[Path, Path]:
    """The snapshot's path, and the folder in whose folders its images go if no other is asked."""
    if options.checkpoint is not None:
        path = Path(options.checkpoint).expanduser()
        if path.is_dir():
            path = _snapshot_in(path)
        home = path.absolute().parent
        return path, home.parent if home.name == "checkpoints" else home
    name = options.name or newest_run(options.results_path)
    folder = RunFolder(options.results_path, name)
    if not folder.path.is_dir():
        root = folder.path.parent
        names = [p.parent.name for p in sorted(root.glob("*/checkpoints"))]
        raise UserError(
            f"--name is a run in {root}: {name} is not there; "
            + (f"there are {', '.join(names[:5])}" if names else "there is none yet")
        )
    return latest_snapshot(folder.checkpoints), folder.path


def _snapshot_in(folder: Path) -> Path:
    """The newest snapshot of a run's folder, or of its folder of checkpoints."""
    for place in (folder, folder / "checkpoints"):
        if (place / "latest").is_file():
            return latest_snapshot(place)
    files = sorted(folder.glob("*.safetensors"))
    there = f"it holds {files[0].name}" if files else "it holds no .safetensors"
    raise UserError(
        f"--checkpoint: expected a snapshot or a run's folder, got the folder {folder}; {there}; "
        "name the file"
    )


def _require_dataset(snapshot: Snapshot, flag: str) -> Path:
    """The folder that a generator was trained on; UserError if it is unknown or gone."""
    recorded = snapshot.options.data.input_path
    if recorded is None:
        raise UserError(f"{snapshot.path} does not say what it was trained on; name {flag}")
    path = Path(recorded).expanduser()
    if not path.is_dir():
        raise UserError(
            f"{snapshot.path} was trained on {recorded}, which is not there"
            + ("" if path.is_absolute() else f" (seen from {Path.cwd()})")
            + f"; name {flag}"
        )
    return path


@dataclass(frozen=True)
class _Sources:
    """Layouts or content photographs: their folder, all in it, and those to draw."""

    root: Path
    known: list[Path]
    paths: list[Path]


def _reading(data: DataOptions) -> dict[str, Any]:
    """How the run reads its labels, for `read_layout`."""
    return {
        "classes": data.classes,
        "unknown_label": data.unknown_label,
        "first_id": data.first_id or 0,
    }


@dataclass(frozen=True)
class _Facts:
    """What is known of a file that was read: its size, and the colors of an indexed label."""

    shape: Shape
    colors: Colors = ()


class _LayoutChecker:
    """Reads a layout in whatever process; its (height, width), or what is wrong with it."""

    def __init__(self, reading: dict[str, Any]) -> None:
        self.reading = reading

    def __call__(self, path: Path) -> _Facts | str:
        try:
            layout, colors = read_colored_layout(path, **self.reading)
            height, width = layout.shape
            return _Facts((height, width), colors)
        except PictureError as error:
            return str(error)


class _PhotographChecker:
    """Likewise for a photograph."""

    def __call__(self, path: Path) -> _Facts | str:
        try:
            facts = inspect_image(path)
        except PictureError as error:
            return str(error)
        return _Facts((facts.height, facts.width))


class _InstanceChecker:
    """Likewise for an instance map; each has the size of its layout."""

    def __init__(self, shapes: dict[Path, Shape]) -> None:
        self.shapes = shapes

    def __call__(self, path: Path) -> _Facts | str:
        try:
            height, width = read_instances(path).shape
        except PictureError as error:
            return str(error)
        wanted = self.shapes[path]
        if (height, width) != wanted:
            return (
                f"{path}: expected the size of its layout, {wanted[0]} x {wanted[1]}, got "
                f"{height} x {width}"
            )
        return _Facts((height, width))


def check_photographs(paths: Sequence[Path], snapshot: Snapshot) -> None:
    """Decode style photographs; UserError that names those that are bad."""
    unique = sorted(set(paths))
    _check_all(_PhotographChecker, (), unique, snapshot.options.data.workers, "style photograph")


def _check_all(
    checker: Callable[..., Callable[[Path], _Facts | str]],
    arguments: tuple[Any, ...],
    paths: Sequence[Path],
    workers: int,
    what: str,
) -> list[Shape]:
    """The sizes (height, width) of files; UserError that names those that are bad."""
    answers = run_all(checker, arguments, paths, workers=workers)
    faults = [answer for answer in answers if isinstance(answer, str)]
    facts = [answer for answer in answers if not isinstance(answer, str)]
    if not faults:
        labels = [(path, one.colors) for path, one in zip(paths, facts, strict=True)]
        faults = [str(fault) for fault in find_color_conflicts(labels).values()]
    if faults:
        more = f" And {len(faults) - SHOWN_FAULTS} more." if len(faults) > SHOWN_FAULTS else ""
        raise UserError(
            f"every {what} must be good: {len(faults)} of {len(paths)} are not: "
            f"{' '.join(faults[:SHOWN_FAULTS])}{more}"
        )
    return [one.shape for one in facts]


def _find_styles(
    options: TestOptions, snapshot: Snapshot, sources: _Sources, notes: list[str]
) -> list[Path] | list[None]:
    """The style photograph of each layout; None for all if the generator takes none."""
    layouts = sources.paths
    if options.style not in ("reference", "noise"):
        return [find_style(options.style, "--style", snapshot)] * len(layouts)
    if options.style == "noise" or not snapshot.takes_photograph:
        return [None] * len(layouts)
    data = snapshot.options.data
    if data.input_path is None and options.img_path is None and snapshot.has_encoder:
        # A converted generator has no training photographs, and its style vectors may be noise.
        return [None] * len(layouts)
    return _reference_styles(options, snapshot, sources, notes)


def _translation_styles(
    options: TestOptions, snapshot: Snapshot, sources: _Sources, notes: list[str]
) -> Sequence[Path | None]:
    """The style photograph of each content; `notes` is told the rule that chose it.

    By --style, else by label_to_img.json, else at random, which depends on the seed and on the
    content's name, not on what else is drawn.
    """
    contents = sources.paths
    if options.style == "noise":
        return [None] * len(contents)  # check_noise says why not
    if options.style != "reference":
        return [find_style(options.style, "--style", snapshot)] * len(contents)
    folder = options.img_path
    if folder is None:
        flags = "--img_path STYLES, or --style PHOTOGRAPH"
        folder = str(_require_dataset(snapshot, flags) / STYLE)
    photographs = pictures_by_stem(folder)
    table = _find_table(snapshot, sources, notes)
    if table is not None:
        notes.append(f"styles: as {table.path} says")
        return styles_from_table(table, contents, photographs)
    stems = sorted(photographs)
    chosen = [
        stems[derive_key(options.seed, f"style of {stem_of(path)}") % len(stems)]
        for path in contents
    ]
    notes.append(f"styles: at random of the {len(stems)} in {folder} (--seed {options.seed})")
    return [photographs[stem] for stem in chosen]


def _find_table(snapshot: Snapshot, sources: _Sources, notes: list[str]) -> StyleTable | None:
    """The label_to_img.json of the sources; `notes` is told of one that is not theirs."""
    table, others = find_style_table(sources.known, sources.root, snapshot.options.data.input_path)
    notes += others
    return table


def find_style(text: str, flag: str, snapshot: Snapshot) -> Path:
    """The photograph that a style flag names; UserError where it is none that can be used."""
    path = Path(text).expanduser()
    if not path.is_file():
        others = "reference, noise or" if flag == "--style" else "noise or"
        raise UserError(f"{flag} is {others} a photograph: {path} is not there; name a file")
    if not snapshot.takes_photograph:
        mend = "--style noise" if snapshot.options.generator.vae else "leave it out"
        raise UserError(
            f"{flag} needs a generator that takes its style from a photograph (--vae with its "
            f"encoder, or tsit's style stream): {snapshot.path} does not; {mend}"
        )
    return path


def _find_instances(
    options: TestOptions, snapshot: Snapshot, layouts: list[Path], shapes: list[Shape]
) -> list[Path] | list[None]:
    """The instance map of each layout; None for all if none are given."""
    if options.instance_path is None:
        return [None] * len(layouts)
    if not snapshot.options.data.instances:
        raise UserError(
            "--instance-path needs a generator that reads borders of objects (--instances): "
            f"{snapshot.path} does not; leave it out"
        )
    maps = pictures_by_stem(options.instance_path)
    missing = [path.stem for path in layouts if stem_of(path) not in maps]
    if missing:
        raise UserError(
            f"every layout needs its instance map: {options.instance_path} has none for "
            f"{missing[0]}, nor for {len(missing) - 1} more; add them, or leave --instance-path out"
        )
    chosen = [maps[stem_of(path)] for path in layouts]
    shape_of = dict(zip(chosen, shapes, strict=True))
    workers = snapshot.options.data.workers
    _check_all(_InstanceChecker, (shape_of,), chosen, workers, "instance map")
    return chosen


def _reference_styles(
    options: TestOptions, snapshot: Snapshot, sources: _Sources, notes: list[str]
) -> list[Path]:
    """By label_to_img.json, else the layout's own name, else the nearest training layout."""
    layouts = sources.paths
    data = snapshot.options.data
    dataset = data.input_path
    photographs = pictures_by_stem(options.img_path) if options.img_path is not None else None
    table = _find_table(snapshot, sources, notes)
    if table is None and photographs is not None:
        own = [photographs.get(stem_of(path)) for path in layouts]
        chosen = [path for path in own if path is not None]
        if len(chosen) == len(layouts):
            return chosen
    if table is not None and photographs is not None:
        return styles_from_table(table, layouts, photographs)
    pairs = find_pairs(
        _require_dataset(
            snapshot, "--img_path STYLES with a label_to_img.json, or --style PHOTOGRAPH"
        )
    ).pairs
    if photographs is None:
        photographs = {pair.stem: pair.image_path for pair in pairs}
    if table is not None:
        return styles_from_table(table, layouts, photographs)
    known = [pair for pair in pairs if pair.stem in photographs]
    if not known:
        raise UserError(
            f"a style is the photograph of the nearest training layout: none in {options.img_path} "
            f"has the name of a layout of {dataset}; leave --img-path out, or add a "
            "label_to_img.json"
        )
    with ProgressBar("reading layouts", "layouts") as show:
        index = build_layout_index(
            known,
            **_reading(data),
            workers=data.workers,
            progress=show,
        )
    stem_at = {pair.image_path: pair.stem for pair in known}
    nearest = [index.nearest(read_layout(path, **_reading(data))) for path in layouts]
    return [photographs[stem_at[path]] for path in nearest]


def check_noise(style: str, flag: str, painter: Painter) -> None:
    """Raise UserError where `style` is noise, and the generator takes none or not it alone."""
    if style == "noise" and not painter.has_encoder and not painter.takes_noise:
        raise UserError(
            f"{flag} noise needs a generator that takes noise (--vae, tsit with --start noise, or "
            f"pix2pix): this one does not; leave {flag} out"
        )
    if style == "noise" and painter.takes_style and not painter.has_encoder:
        raise UserError(
            f"{flag} noise: this generator takes its style from a photograph alone; leave {flag} "
            "out, or name a photograph"
        )


def fit_picture(picture: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """A painted picture at the size (height, width) that is asked for."""
    image, wide = Image.fromarray(picture), size[::-1]
    return image if image.size == wide else image.resize(wide, Image.Resampling.LANCZOS)


def paint_job(job: Job, options: TestOptions, painter: Painter) -> NDArray[np.uint8]:
    """The picture of one job at the generator's own size, uint8 (H, W, 3)."""
    style, noise = read_style(job.style_path, job, options.seed, painter)
    layout, planes = read_planes(job, painter)
    return painter.paint(layout, style=style, noise=noise, **planes)


def read_planes(job: Job, painter: Painter) -> tuple[NDArray[np.integer], dict[str, Any]]:
    """A job's layout, and `edges` where it has an instance map, at the generator's size.

    In translation the content photograph, uint8 (H, W, 3).
    """
    data = painter.options.data
    if data.task == "translation":
        return read_photograph(job.source_path, *painter.size), {}
    layout = read_layout(job.source_path, *painter.size, **_reading(data))
    if job.instance_path is None:
        return layout, {}
    instances = resize_layout(read_instances(job.instance_path), *painter.size)
    return layout, {"edges": instance_edges(instances)[None].astype(np.float32)}


def read_style(
    path: Path | None, job: Job, seed: int, painter: Painter
) -> tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None]:
    """The style photograph and the noise that a job's picture is made with, None for neither."""
    style = None if path is None else read_photograph(path, *painter.size)
    if style is not None and painter.has_encoder:
        return style, None
    return style, painter.sample_noise(seed, stem_of(job.source_path))


def _write_zip(folder: Path, jobs: Sequence[Job]) -> None:
    with zipfile.ZipFile(folder / ZIP_NAME, "w", zipfile.ZIP_STORED) as archive:
        for job in jobs:
            # One date for all: the same images make the same zip.
            entry = zipfile.ZipInfo(job.zip_name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, (folder / job.name).read_bytes())


def _draw_overview(plan: SubmissionPlan, painter: Painter, folder: Path) -> None:
    count = min(OVERVIEW_ROWS, len(plan.jobs))
    jobs = [plan.jobs[index * len(plan.jobs) // count] for index in range(count)]
    data = painter.options.data
    cell = fit_cell(*plan.size)
    translates = data.task == "translation"
    with_style = any(job.style_path is not None for job in jobs)
    seen: set[int] = set()
    rows = []
    for job in jobs:
        row: list[NDArray[np.uint8] | None]
        if translates:
            row = [read_photograph(job.source_path, *cell)]
        else:
            layout = read_layout(job.source_path, **_reading(data))
            seen.update(np.unique(layout).tolist())
            row = [draw_layout(layout, painter.classes, cell)]
        if with_style:
            row.append(read_photograph(job.style_path, *cell) if job.style_path else None)
        with Image.open(folder / job.name) as picture:
            row.append(np.array(picture))
        rows.append(row)
    titles = [CONTENT if translates else "layout", *["style"] * with_style, "result"]
    sheet = draw_sheet(rows, titles, cell=cell, legend=sorted(seen), classes=painter.classes)
    save_picture(sheet, folder / OVERVIEW)
