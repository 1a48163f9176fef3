"""Counterparts of generated images: the layouts they were made from, and photos.

masks = find_masks(images, LayoutClasses(29), layouts="DIR", photos="DIR")
masks.layouts       # one per image
masks.pairs         # photos with layouts, for comparison
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from data.content import at_even_distances, find_dataset, find_run_layouts
from data.folders import LayoutFolder, Pair, find_pairs, find_test_layouts
from data.held_out import pairs_for_ceiling
from data.listing import listed, stem_of
from data.reading import LayoutClasses
from data.styles import StyleTable, find_style_table
from options.errors import UserError
from options.groups import DataOptions
from options.paths import show_path


@dataclass(frozen=True)
class Masks:
    """The layout of each image, some photos and their layouts, and the classes of all layouts.

    `note` tells which of the photos the pairs are.
    """

    layouts: list[Path]
    pairs: list[Pair]
    note: str
    classes: LayoutClasses


def find_masks(
    images: Sequence[Path],
    classes: LayoutClasses,
    layouts: Path | str,
    photos: Path | None,
) -> Masks:
    """Find the layouts of images by their names, and the layouts of photos in a folder.

    photos: None for none. Raises UserError if an image has no layout.
    """
    pairs = [] if photos is None else find_pairs_of_photos(photos)
    return _masks(images, find_test_layouts(layouts), pairs, classes)


def find_masks_of_run(
    images: Sequence[Path], options: DataOptions, layouts: Path | str | None, photos: Path | None
) -> Masks:
    """Find the layouts as `find_masks`: those of a run if no other folder is given.

    Without `photos` the pairs are those of `data.held_out`: no segmenter that was trained on this
    dataset has seen them.

    Raises UserError if an image has no layout, or if the run was trained without layouts.
    """
    if options.content_kind != "layout":
        raise UserError(
            f"--segmenter: expected a run with layouts, got --task {options.task}. Name the "
            "folders with --images and --layouts"
        )
    dataset = find_dataset(options)
    which = "photos"
    if photos is None:
        every = [pair for pair in dataset.items if isinstance(pair, Pair)]
        pairs, which = pairs_for_ceiling(dataset.root, every)
    else:
        pairs = find_pairs_of_photos(photos)
    found = (
        find_run_layouts(dataset.root, dataset.items)
        if layouts is None
        else find_test_layouts(layouts)
    )
    classes = LayoutClasses(options.classes, options.unknown_label, options.first_id or 0)
    return _masks(images, found, pairs, classes, which)


def _masks(
    images: Sequence[Path],
    layouts: LayoutFolder,
    pairs: Sequence[Pair],
    classes: LayoutClasses,
    which: str = "photos",
) -> Masks:
    """Match layouts; choose as many pairs as there are images, at even distances.

    which: what the pairs are, for the note.
    """
    own = {stem_of(path): stem_of(path) for path in images}
    matched = match_files(images, own, layouts.paths, str(layouts.root), "layout", "--layouts")
    some = at_even_distances(pairs, len(images))
    note = "" if which == "photos" else which
    if not pairs:
        note = "needs photos with layouts"
    elif len(some) < len(pairs):
        note = f"{len(some)} of {len(pairs)} {which}, at even distances"
    return Masks(matched, some, note, classes)


def find_pairs_of_photos(folder: Path) -> list[Pair]:
    """Find the layouts of the photos in one folder of a dataset, such as DIR/train/imgs.

    The labels are in the folder itself, or in one next to it. Empty if there are no such pairs.
    """
    place = folder.resolve()
    for root in (folder, folder.absolute().parent):
        with suppress(UserError):
            pairs = [p for p in find_pairs(root).pairs if p.image_path.parent.resolve() == place]
            if pairs:
                return pairs
    return []


def find_photos_of_run(
    options: DataOptions, images: Sequence[Path]
) -> tuple[list[Path], StyleTable | None]:
    """Find the photos of a run's dataset, and its style table if that names the images."""
    dataset = find_dataset(options)
    if dataset.styles:
        return [photo.path for photo in dataset.styles], None
    photos = [pair.image_path for pair in dataset.items if isinstance(pair, Pair)]
    try:
        layouts = find_run_layouts(dataset.root, dataset.items)
    except UserError:  # without test layouts in the dataset it has no table for them
        return photos, None
    table, _ = find_style_table(images, layouts.root, dataset.root)
    return photos, table


def match_files(
    images: Sequence[Path],
    wanted: Mapping[str, str],
    files: Sequence[Path],
    source: str,
    noun: str,
    flag: str,
) -> list[Path]:
    """Return the file of each image by `wanted`, stem of the image -> stem of the file.

    source: where the files are named. noun, flag: what they are, and what names others. Raises
    UserError that lists images without one.
    """
    by_stem = {stem_of(path): path for path in files}
    found = [by_stem.get(wanted.get(stem_of(path), "")) for path in images]
    missing = [path.name for path, file in zip(images, found, strict=True) if file is None]
    if missing:
        raise UserError(
            f"{show_path(source)}: expected a {noun} for each image, got none for "
            f"{len(missing)} of {len(images)} ({listed(missing)}). Add them, or name others with "
            f"{flag}"
        )
    return [file for file in found if file is not None]
