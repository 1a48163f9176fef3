"""The submission: a picture for every test layout, zipped and looked at again.

    plan = plan_submission(options)     # what is wrong is said here, before Jittor is imported
    result = make_submission(plan)      # pictures, submission.zip, overview.png

Pictures are drawn one at a time with noise that follows from the seed and the layout's name, so
that the same seed gives the same files whatever is drawn beside them and in whichever order.

Where the generator translates, content photographs stand in the layouts' place, and a style that
nothing names is drawn at random, from the seed and the content's name likewise.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

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
from data.labels import Colors, read_colored_label, read_instances
from data.loader import read_layout, read_photograph
from data.styles import (
    build_layout_index,
    find_style_table,
    read_style_table,
    styles_from_table,
)
from data.transforms import instance_edges, resize_layout
from data.workers import run_all
from options.errors import UserError
from options.run import DataOptions, TestOptions
from training.checkpoint import Snapshot, latest_snapshot, read_snapshot
from training.run_folder import RunFolder, newest_run
from training.sample_sheet import draw_layout, draw_sheet, fit_cell, save_picture
from training.seeds import derive_key

if TYPE_CHECKING:
    from training.painter import Painter

QUALITY = 95
OVERVIEW_ROWS = 12
ZIP_NAME = "submission.zip"
OVERVIEW_NAME = "overview.png"
SHOWN_FAULTS = 5
CONTEST_SIZE = (384, 512)


class BadSubmission(Exception):
    """The files that were written are not what a submission must be: a fault of this program."""


@dataclass(frozen=True)
class Job:
    """One picture to make: its layout, and the photograph that gives it its style, if any.

    `source_path` is the layout, or in translation the content photograph; `instance_path` the
    layout's instance map, for generators that read borders of objects.
    """

    source_path: Path
    style_path: Path | None
    instance_path: Path | None = None

    @property
    def name(self) -> str:
        """The picture's file name."""
        return self.source_path.stem + ".jpg"


@dataclass(frozen=True)
class SubmissionPlan:
    """What will be drawn, by what, how large and where to; everything in it has been checked."""

    options: TestOptions
    snapshot: Snapshot
    jobs: list[Job]
    size: tuple[int, int]  # (height, width) of the written pictures
    style_rule: str  # how each job came by its style; empty where there is nothing to say
    output_path: Path
    own_folder: bool  # the run's own submission/ folder, which is replaced as a whole
    unused: tuple[str, ...] = ()  # a line for each reason why files among the layouts are not used

    @property
    def what(self) -> str:
        """What pictures are made for, in a word for people."""
        return "layouts" if self.snapshot.options.data.task == "synthesis" else "photographs"


@dataclass(frozen=True)
class Submission:
    """What was written."""

    folder: Path
    zip_path: Path
    overview_path: Path
    count: int


def plan_submission(options: TestOptions) -> SubmissionPlan:
    """Find generator, layouts and styles, and check every layout.

    Raises UserError where one of them is missing or bad.
    """
    path, output_path = _find_checkpoint(options)
    snapshot = read_snapshot(path)
    data = snapshot.options.data
    translates = data.task == "translation"
    if options.input_path is None and data.input_path is None:
        folder = "CONTENT" if translates else "LABELS"
        raise UserError(f"{path} does not say what it was trained on; name --input_path {folder}")
    style_rule = ""
    styles: Sequence[Path | None]
    if translates:
        content = find_content(options.input_path or str(data.input_path))
        paths = [photograph.path for photograph in content.photographs][: options.limit]
        unused = content.unused
        _check_all(_PhotographChecker, (), paths, snapshot)
        styles, style_rule = _translation_styles(options, snapshot, content.root, paths)
    else:
        if options.input_path is not None:
            layouts = find_test_layouts(options.input_path)
        else:
            layouts = find_run_layouts(str(data.input_path))
        paths = layouts.paths[: options.limit]
        unused = layouts.unused
        _check_all(_LayoutChecker, (_reading(data),), paths, snapshot)
        styles = _find_styles(options, snapshot, layouts.root, paths)
    if options.img_path is not None:
        unused = unused + find_unused(options.img_path)
    instances = _find_instances(options, snapshot, paths)
    jobs = [Job(*job) for job in zip(paths, styles, instances, strict=True)]
    own_folder = options.output_path is None
    if options.output_path is not None:
        output_path = Path(options.output_path).expanduser()
    height, width = (data.height, data.width) if translates else CONTEST_SIZE
    size = (options.height or height, options.width or width)
    return SubmissionPlan(
        options,
        snapshot,
        jobs,
        size,
        style_rule,
        output_path,
        own_folder,
        tuple(describe_unused(unused)),
    )


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
    """Draw every picture, zip them, read the zip back, and draw the overview.

    Everything is made in a temporary folder and moved when it is whole. Raises UserError where the
    folder cannot be written, BadSubmission where the zip is not what it must be.
    """
    if painter is None:
        from training.painter import load_painter  # Jittor only now

        painter = load_painter(plan.snapshot, plan.options.weights)
    check_noise(plan.options.style, "--style", painter)
    try:
        plan.output_path.parent.mkdir(parents=True, exist_ok=True)
        if not plan.own_folder:
            plan.output_path.mkdir(exist_ok=True)
        place = plan.output_path.parent if plan.own_folder else plan.output_path
        with tempfile.TemporaryDirectory(prefix=".submission-", dir=place) as name:
            folder = Path(name)
            _draw_all(plan, painter, folder)
            _write_zip(folder, [job.name for job in plan.jobs])
            check_zip(folder / ZIP_NAME, [job.name for job in plan.jobs], plan.size)
            _draw_overview(plan, painter, folder)
            _move(folder, plan)
    except OSError as error:
        raise UserError(
            f"the submission must be written: {plan.output_path}: {error.strerror}; see "
            "--output-path"
        ) from None
    folder = plan.output_path
    return Submission(folder, folder / ZIP_NAME, folder / OVERVIEW_NAME, len(plan.jobs))


def submit(plan: SubmissionPlan, painter: Painter | None = None) -> int:
    """Make the submission and say where it is; exit code 0, 1 where its zip is off."""
    try:
        made = make_submission(plan, painter)
    except BadSubmission as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{made.count} pictures: {made.folder}")
    print(f"submission: {made.zip_path}")
    print(f"overview:   {made.overview_path}")
    return 0


def check_zip(path: Path, names: Sequence[str], size: tuple[int, int]) -> None:
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


def _find_checkpoint(options: TestOptions) -> tuple[Path, Path]:
    """The snapshot's path, and where its pictures go where nothing else is asked."""
    if options.checkpoint is not None:
        path = Path(options.checkpoint).expanduser()
        home = path.absolute().parent
        return path, (home.parent if home.name == "checkpoints" else home) / "submission"
    name = options.name or newest_run(options.results_path)
    folder = RunFolder(options.results_path, name)
    if not folder.path.is_dir():
        root = folder.path.parent
        names = [p.parent.name for p in sorted(root.glob("*/checkpoints"))]
        raise UserError(
            f"--name is a run in {root}: {name} is not there; "
            + (f"there are {', '.join(names[:5])}" if names else "there is none yet")
        )
    return latest_snapshot(folder.checkpoints), folder.path / "submission"


def _reading(data: DataOptions) -> dict[str, Any]:
    """How the run reads its labels, for `read_layout`."""
    return {
        "classes": data.classes,
        "unknown_label": data.unknown_label,
        "first_id": data.first_id or 0,
    }


class _LayoutChecker:
    """Reads a layout in whatever process, and says what is wrong with it."""

    def __init__(self, reading: dict[str, Any]) -> None:
        self.reading = reading

    def __call__(self, path: Path) -> tuple[str | None, Colors]:
        try:
            read_layout(path, **self.reading)
            end = self.reading["classes"] + self.reading["first_id"]
            return None, read_colored_label(path, end)[1]
        except PictureError as error:
            return str(error), ()


class _PhotographChecker:
    """Likewise for a photograph."""

    def __call__(self, path: Path) -> tuple[str | None, Colors]:
        try:
            inspect_image(path)
        except PictureError as error:
            return str(error), ()
        return None, ()


def _check_all(
    checker: Callable[..., Callable[[Path], tuple[str | None, Colors]]],
    arguments: tuple[Any, ...],
    paths: Sequence[Path],
    snapshot: Snapshot,
) -> None:
    data = snapshot.options.data
    answers = run_all(checker, arguments, paths, workers=data.workers)
    faults = [fault for fault, _ in answers if fault is not None]
    labels = [(path, colors) for path, (_, colors) in zip(paths, answers, strict=True)]
    faults += [str(fault) for fault in find_color_conflicts(labels).values()]
    if faults:
        more = f" And {len(faults) - SHOWN_FAULTS} more." if len(faults) > SHOWN_FAULTS else ""
        what = "layout" if data.task == "synthesis" else "photograph"
        raise UserError(
            f"every {what} must be good: {len(faults)} of {len(paths)} are not: "
            f"{' '.join(faults[:SHOWN_FAULTS])}{more}"
        )


def _find_styles(
    options: TestOptions, snapshot: Snapshot, root: Path, layouts: list[Path]
) -> list[Path] | list[None]:
    """The style photograph of each layout; None for all where the generator takes none."""
    if options.style not in ("reference", "noise"):
        return [find_style(options.style, "--style", snapshot)] * len(layouts)
    if options.style == "noise" or not snapshot.takes_photograph:
        return [None] * len(layouts)
    data = snapshot.options.data
    if data.input_path is None and options.img_path is None and snapshot.has_encoder:
        # A converted generator has no training photographs, and its style vectors may be noise.
        return [None] * len(layouts)
    return _reference_styles(options, snapshot, root, layouts)


def _translation_styles(
    options: TestOptions, snapshot: Snapshot, root: Path, contents: list[Path]
) -> tuple[Sequence[Path | None], str]:
    """The style photograph of each content, and the rule that chose it.

    By --style, else by label_to_img.json, else at random, which depends on the seed and on the
    content's name, not on what else is drawn.
    """
    if options.style == "noise":
        return [None] * len(contents), ""  # check_noise says why not
    if options.style != "reference":
        return [find_style(options.style, "--style", snapshot)] * len(contents), ""
    dataset = snapshot.options.data.input_path
    folder = options.img_path
    if folder is None and dataset is not None:
        folder = str(Path(dataset) / STYLE)
    if folder is None:
        raise UserError(
            f"a translation needs style photographs: {snapshot.path} does not say what it was "
            "trained on; name --img_path STYLES, or --style PHOTOGRAPH"
        )
    photographs = pictures_by_stem(folder)
    table_path = find_style_table(root, dataset)
    if table_path is not None:
        table = read_style_table(table_path)
        return styles_from_table(table, contents, photographs), f"styles: as {table_path} says"
    stems = sorted(photographs)
    chosen = [
        stems[derive_key(options.seed, f"style of {stem_of(path)}") % len(stems)]
        for path in contents
    ]
    rule = f"styles: at random of the {len(stems)} in {folder} (--seed {options.seed})"
    return [photographs[stem] for stem in chosen], rule


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
    options: TestOptions, snapshot: Snapshot, layouts: list[Path]
) -> list[Path] | list[None]:
    """The instance map of each layout; None for all where none are given."""
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
    return [maps[stem_of(path)] for path in layouts]


def _reference_styles(
    options: TestOptions, snapshot: Snapshot, root: Path, layouts: list[Path]
) -> list[Path]:
    """By label_to_img.json, else the layout's own name, else the nearest training layout."""
    data = snapshot.options.data
    dataset = data.input_path
    photographs = pictures_by_stem(options.img_path) if options.img_path is not None else None
    table_path = find_style_table(root, dataset)
    if photographs is not None and all(stem_of(path) in photographs for path in layouts):
        own = [photographs[stem_of(path)] for path in layouts]
    else:
        own = None
    if table_path is None and own is not None:
        return own
    if dataset is None or not Path(dataset).is_dir():
        if table_path is not None and photographs is not None:
            return styles_from_table(read_style_table(table_path), layouts, photographs)
        raise UserError(
            f"styles are photographs of the training data: {dataset} is not there; name "
            "--img-path with a label_to_img.json beside the layouts, or --style PHOTOGRAPH"
        )
    pairs = find_pairs(dataset).pairs
    if photographs is None:
        photographs = {pair.stem: pair.image_path for pair in pairs}
    if table_path is not None:
        return styles_from_table(read_style_table(table_path), layouts, photographs)
    known = [pair for pair in pairs if pair.stem in photographs]
    if not known:
        raise UserError(
            f"a style is the photograph of the nearest training layout: none in {options.img_path} "
            f"has the name of a layout of {dataset}; leave --img-path out, or add a "
            "label_to_img.json"
        )
    with tqdm(
        total=len(known), desc="reading layouts", unit="", disable=not sys.stderr.isatty()
    ) as bar:
        index = build_layout_index(
            known,
            **_reading(data),
            workers=data.workers,
            progress=lambda done, total: bar.update(done - bar.n),
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


def _draw_all(plan: SubmissionPlan, painter: Painter, folder: Path) -> None:
    with tqdm(plan.jobs, desc="drawing", unit=" pictures", disable=not sys.stderr.isatty()) as jobs:
        for job in jobs:
            picture = fit_picture(paint_job(job, plan.options, painter), plan.size)
            picture.save(folder / job.name, "JPEG", quality=QUALITY)


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


def _write_zip(folder: Path, names: Sequence[str]) -> None:
    with zipfile.ZipFile(folder / ZIP_NAME, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            # One date for all: the same pictures make the same zip.
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, (folder / name).read_bytes())


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
    save_picture(sheet, folder / OVERVIEW_NAME)


def _move(folder: Path, plan: SubmissionPlan) -> None:
    """Put finished files in place: the run's own folder as a whole, another file by file."""
    target = plan.output_path
    if not plan.own_folder:
        for path in sorted(folder.iterdir()):
            os.replace(path, target / path.name)
        return
    folder.chmod(0o755)
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(folder, target)
    folder.mkdir()  # for the TemporaryDirectory, which removes it
    shutil.rmtree(old, ignore_errors=True)
