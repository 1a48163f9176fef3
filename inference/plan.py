"""The plan of a synthesis: generator, sources, styles and output, all checked.

A plan is made before Jittor is imported: a user's error is reported at once.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.listing import describe_unused, find_unused, images_by_stem, stem_of
from data.ownership import OutputFolder
from inference.conditioning import (
    Conditioner,
    Shape,
    check_instances,
    check_photos,
    conditioner_of,
)
from inference.styles import choose_styles
from options.errors import UserError
from options.paths import expand, show_path
from options.test import TestOptions
from weights.snapshots import Snapshot, latest_snapshot, newest_run, read_snapshot

# Bytes per pixel of a JPEG of that quality: low, so that only a disk that is too full is refused.
BYTES_PER_PIXEL = 0.25
# A layout may be a pixel off without looking stretched.
ASPECT_TOLERANCE = 0.01
FIX = "name another folder with --output_path"


@dataclass(frozen=True)
class Job:
    """One image to generate: its source, its style photo or None, its instance map or None.

    The source is a layout, or a content photo.
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
        """Its name in the zip; characters that a zip does not carry to every system become %XX.

        These are bytes outside UTF-8 (surrogates in Python), control characters, and the
        backslash, which separates folders on Windows.
        """
        return "".join(
            "".join(f"%{byte:02X}" for byte in os.fsencode(character))
            if unicodedata.category(character) in ("Cs", "Cc") or character == "\\"
            else character
            for character in self.name
        )


@dataclass(frozen=True)
class SynthesisPlan:
    """A checked synthesis: the generator, the jobs, the size of the images, and their folder.

    `notes` are lines to print before the work. `own_folder` is True if the output goes into the
    run's folder, in which images of an earlier, larger set are removed.
    """

    options: TestOptions
    snapshot: Snapshot
    conditioner: Conditioner
    jobs: list[Job]
    size: Shape
    notes: list[str]
    output_path: Path
    own_folder: bool


def plan_synthesis(options: TestOptions, folder: str, suffix: str) -> SynthesisPlan:
    """Find and check generator, sources, styles and the names of the images.

    `folder` is the folder in the run's folder that images go to unless the user names another one.
    The names are checked first: decoding layouts and finding styles may take minutes.
    """
    path, home = find_checkpoint(options)
    snapshot = read_snapshot(path)
    own_folder = options.output_path is None
    output_path = home / folder if options.output_path is None else expand(options.output_path)
    data = snapshot.options.data
    conditioner = conditioner_of(data)
    sources, notes = conditioner.find(options, snapshot)
    paths = sources.paths
    _check_names(paths, output_path, suffix)
    shapes = conditioner.check(paths)
    styles = choose_styles(options, snapshot, sources, conditioner.reference, notes)
    if options.img_path is not None:
        notes += describe_unused(find_unused(options.img_path))
    check_photos([style for style in styles if style is not None], data.workers)
    instances = _find_instances(options, snapshot, paths, shapes)
    jobs = [Job(*job) for job in zip(paths, styles, instances, strict=True)]
    height, width = conditioner.image_size
    size = (options.height or height, options.width or width)
    notes += _describe_stretched(paths, shapes, (data.height, data.width), size, conditioner.noun)
    return SynthesisPlan(options, snapshot, conditioner, jobs, size, notes, output_path, own_folder)


def find_checkpoint(options: TestOptions) -> tuple[Path, Path]:
    """The snapshot's path, and the folder that its output folders go into by default."""
    if options.checkpoint is not None:
        path = expand(options.checkpoint)
        if path.is_dir():
            path = _snapshot_in(path)
        home = path.absolute().parent
        return path, home.parent if home.name == "checkpoints" else home
    name = options.name or newest_run(options.results_path)
    root = expand(options.results_path)
    folder = root / name
    if not folder.is_dir():
        names = [p.parent.name for p in sorted(root.glob("*/checkpoints"))]
        raise UserError(
            f"--name: expected a run in {root}, got {name}, which does not exist; "
            + (f"runs: {', '.join(names[:5])}" if names else "there is no run yet")
        )
    return latest_snapshot(folder / "checkpoints"), folder


def _snapshot_in(folder: Path) -> Path:
    """The newest snapshot of a run's folder, or of its folder of checkpoints."""
    for place in (folder, folder / "checkpoints"):
        if (place / "latest").is_file():
            return latest_snapshot(place)
    files = sorted(folder.glob("*.safetensors"))
    found = f"which holds {files[0].name}" if files else "which holds no .safetensors"
    raise UserError(
        f"--checkpoint: expected a snapshot or a run's folder, got the folder {folder}, {found}. "
        "Name the file"
    )


def _check_names(paths: Sequence[Path], output_path: Path, suffix: str) -> None:
    """Check that the images can have the names of their sources.

    Raises UserError if two would have the same name, also on Windows and macOS, or if a user's
    file has it.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        for name in {path.stem, Job(path, None).zip_name.removesuffix(".jpg")}:
            other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), path)
            if other is not path:
                raise UserError(
                    f"{show_path(path)}: expected image names that differ on every system, got "
                    f"{show_path(other.stem)}{suffix} and {show_path(path.stem)}{suffix}. "
                    "Rename one"
                )
    OutputFolder(output_path, FIX).check(path.stem + suffix for path in paths)


def _find_instances(
    options: TestOptions, snapshot: Snapshot, layouts: list[Path], shapes: list[Shape]
) -> Sequence[Path | None]:
    """The instance map of each layout; None for all if the user gives none."""
    if options.instance_path is None:
        return [None] * len(layouts)
    if not snapshot.options.data.instances:
        raise UserError(
            "--instance-path: expected a generator trained with --instances, got "
            f"{snapshot.path}. Remove it"
        )
    maps = images_by_stem(options.instance_path)
    missing = [path.stem for path in layouts if stem_of(path) not in maps]
    if missing:
        raise UserError(
            f"--instance-path: expected an instance map per layout, got none in "
            f"{options.instance_path} for {missing[0]} and {len(missing) - 1} more. Add them, or "
            "remove --instance-path"
        )
    chosen = [maps[stem_of(path)] for path in layouts]
    check_instances(chosen, shapes, snapshot.options.data.workers)
    return chosen


def _describe_stretched(
    paths: Sequence[Path], shapes: Sequence[Shape], made: Shape, written: Shape, noun: str
) -> list[str]:
    """A note if sources have another shape than the generator's or the written images."""
    for size, verb in ((made, "generated"), (written, "written")):
        stretched = [
            (path, shape)
            for path, shape in zip(paths, shapes, strict=True)
            if abs(shape[1] * size[0] / (shape[0] * size[1]) - 1) > ASPECT_TOLERANCE
        ]
        if stretched:
            path, shape = stretched[0]
            return [
                f"note: {len(stretched)} of {len(paths)} {noun}s are stretched: "
                f"{show_path(path.name)} is {shape[0]} x {shape[1]} (height x width), its image is "
                f"{verb} at {size[0]} x {size[1]}"
            ]
    return []
