"""The style of each image: one photo for all, noise, or a reference photo per layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from data.folders import STYLE, find_pairs
from data.listing import images_by_stem, stem_of
from data.reading import read_layout
from data.seeds import derive_key
from data.styles import StyleTable, build_layout_index, find_style_table, styles_from_table
from options.errors import UserError
from options.groups import DataOptions
from options.test import TestOptions
from runtime.progress import ProgressBar
from weights.snapshots import Snapshot

if TYPE_CHECKING:
    from inference.synthesizer import Synthesizer


@dataclass(frozen=True)
class Sources:
    """Layouts or content photos: their folder, all files in it, and those to use."""

    root: Path
    known: list[Path]
    paths: list[Path]


# Chooses the reference photo of each source, and adds lines about the choice to `notes`.
Reference: TypeAlias = Callable[[TestOptions, Snapshot, Sources, list[str]], Sequence[Path]]


def choose_styles(
    options: TestOptions,
    snapshot: Snapshot,
    sources: Sources,
    reference: Reference,
    notes: list[str],
) -> Sequence[Path | None]:
    """The style photo of each source, None for all if the style is noise or there is none."""
    count = len(sources.paths)
    if options.style not in ("reference", "noise"):
        return [find_style(options.style, "--style", snapshot)] * count
    if options.style == "noise" or not snapshot.takes_photo:
        return [None] * count
    data = snapshot.options.data
    if data.input_path is None and options.img_path is None and snapshot.has_encoder:
        # A converted generator has no training photos, and its style vectors may be noise.
        return [None] * count
    return reference(options, snapshot, sources, notes)


def find_style(text: str, flag: str, snapshot: Snapshot) -> Path:
    """The photo that a style flag names; UserError if it is unusable."""
    path = Path(text).expanduser()
    if not path.is_file():
        others = "reference, noise or" if flag == "--style" else "noise or"
        raise UserError(f"{flag}: expected {others} a photo, got {path}, which does not exist")
    if not snapshot.takes_photo:
        fix = "Write --style noise" if snapshot.options.generator.vae else "Remove it"
        raise UserError(
            f"{flag}: expected a generator that takes its style from a photo (--vae with its "
            f"encoder, or tsit's style stream), got {snapshot.path}. {fix}"
        )
    return path


def check_noise(style: str, flag: str, synthesizer: Synthesizer) -> None:
    """Raise UserError if `style` is noise, and the generator takes none or needs a photo too."""
    if style == "noise" and not synthesizer.has_encoder and not synthesizer.takes_noise:
        raise UserError(
            f"{flag} noise: expected a generator that takes noise (--vae, tsit with --start noise, "
            f"or pix2pix), got one that takes none. Remove {flag}"
        )
    if style == "noise" and synthesizer.takes_photo and not synthesizer.has_encoder:
        raise UserError(
            f"{flag} noise: this generator takes its style only from a photo. Remove {flag}, or "
            "name a photo"
        )


def nearest_styles(
    options: TestOptions, snapshot: Snapshot, sources: Sources, notes: list[str]
) -> list[Path]:
    """Reference photos of layouts.

    By label_to_img.json, else by the layout's own name, else the photo of the nearest training
    layout.
    """
    layouts = sources.paths
    data = snapshot.options.data
    photos = images_by_stem(options.img_path) if options.img_path is not None else None
    table = _find_table(snapshot, sources, notes)
    if table is None and photos is not None:
        own = [photos.get(stem_of(path)) for path in layouts]
        chosen = [path for path in own if path is not None]
        if len(chosen) == len(layouts):
            return chosen
    if table is not None and photos is not None:
        return styles_from_table(table, layouts, photos)
    flags = "--img_path STYLES with a label_to_img.json, or --style PHOTO"
    pairs = find_pairs(require_dataset(snapshot, flags)).pairs
    if photos is None:
        photos = {pair.stem: pair.image_path for pair in pairs}
    if table is not None:
        return styles_from_table(table, layouts, photos)
    known = [pair for pair in pairs if pair.stem in photos]
    if not known:
        raise UserError(
            f"--img_path: expected photos with the names of training layouts ({data.input_path}), "
            f"got none in {options.img_path}. Remove --img_path, or add a label_to_img.json"
        )
    with ProgressBar("reading layouts", "layouts") as show:
        index = build_layout_index(
            known, **label_reading(data), workers=data.workers, progress=show
        )
    stem_at = {pair.image_path: pair.stem for pair in known}
    nearest = [index.nearest(read_layout(path, **label_reading(data))) for path in layouts]
    return [photos[stem_at[path]] for path in nearest]


def random_styles(
    options: TestOptions, snapshot: Snapshot, sources: Sources, notes: list[str]
) -> list[Path]:
    """Reference photos of content photos.

    By label_to_img.json, else random: a choice depends on the seed and the content's name, never
    on the other photos.
    """
    folder = options.img_path
    if folder is None:
        flags = "--img_path STYLES, or --style PHOTO"
        folder = str(require_dataset(snapshot, flags) / STYLE)
    photos = images_by_stem(folder)
    table = _find_table(snapshot, sources, notes)
    if table is not None:
        notes.append(f"styles: from {table.path}")
        return styles_from_table(table, sources.paths, photos)
    stems = sorted(photos)
    chosen = [
        stems[derive_key(options.seed, f"style of {stem_of(path)}") % len(stems)]
        for path in sources.paths
    ]
    notes.append(f"styles: random, from {len(stems)} in {folder} (--seed {options.seed})")
    return [photos[stem] for stem in chosen]


def require_dataset(snapshot: Snapshot, flags: str) -> Path:
    """The folder that a generator was trained on; UserError if it is unknown or gone."""
    recorded = snapshot.options.data.input_path
    if recorded is None:
        raise UserError(f"{snapshot.path} does not record its training data. Name {flags}")
    path = Path(recorded).expanduser()
    if not path.is_dir():
        raise UserError(
            f"{snapshot.path}: expected its training data in {recorded}, which does not exist"
            + ("" if path.is_absolute() else f" (relative to {Path.cwd()})")
            + f". Name {flags}"
        )
    return path


def label_reading(data: DataOptions) -> dict[str, Any]:
    """How a run reads its labels, as arguments of `read_layout`."""
    return {
        "classes": data.classes,
        "unknown_label": data.unknown_label,
        "first_id": data.first_id or 0,
    }


def _find_table(snapshot: Snapshot, sources: Sources, notes: list[str]) -> StyleTable | None:
    """The label_to_img.json of the sources; adds a note about one of other layouts."""
    table, others = find_style_table(sources.known, sources.root, snapshot.options.data.input_path)
    notes += others
    return table
