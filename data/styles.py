"""Style photos of layouts: from a table of names, or the photo of the nearest training layout."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.classes import CONTEST_CLASSES
from data.folders import Pair
from data.listing import IMAGE_SUFFIXES, listed, stem_of
from data.reading import read_layout
from data.transforms import resize_layout
from data.workers import Progress, run_all
from options.errors import UserError
from options.json_text import parse_json
from options.paths import is_file, read_file, show_path

TABLE_NAMES = ("label_to_img.json", "label_to_image.json")
# Rows and columns of the grid; rows and columns of pixels per cell.
_GRID = (6, 8)
_CELL = 16


@dataclass(frozen=True)
class StyleTable:
    """The entries of a label_to_img.json: layout stem -> photo stem."""

    path: Path
    entries: dict[str, str]


def find_style_table(
    layouts: Sequence[Path], labels_path: Path | str, root: Path | str | None = None
) -> tuple[StyleTable | None, list[str]]:
    """Find the label_to_img.json (or label_to_image.json) of some layouts; return it and notes.

    Order: the folder of the labels, its parent, root. A table that names none of the layouts is
    skipped with a note. Raises UserError as `read_style_table` does.
    """
    labels_path = Path(labels_path)
    places = [labels_path, labels_path.absolute().parent]
    if root is not None:
        places.append(Path(root))
    candidates = [place / name for place in places for name in TABLE_NAMES]
    stems = {_without_folder(stem_of(path)) for path in layouts}
    others: dict[Path, None] = {}
    found = None
    for path in candidates:
        if is_file(path):
            entries = read_style_table(path)
            if stems & entries.keys():
                found = StyleTable(path, entries)
                break
            others[path.resolve()] = None
    return found, [f"not used: {path} names none of these {len(stems)} layouts" for path in others]


def read_style_table(path: Path | str) -> dict[str, str]:
    """Read a style table as layout stem -> photo stem.

    The file is one JSON object of file names, with or without suffixes and Linux or Windows
    folders. Raises UserError if it is not, or if it gives one layout two photos.
    """
    content = read_file(path, "a readable style table")
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        entries = parse_json(content.decode(encoding), object_pairs_hook=list)
    except ValueError as error:
        raise UserError(
            f"{show_path(path)}: expected JSON in UTF-8, got {error}. Fix or remove the file."
        ) from None
    if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries):
        raise UserError(
            f'{show_path(path)}: expected one JSON object of names, {{"a.png": "b.jpg", ...}}, got '
            "something else. Fix or remove the file."
        )
    table: dict[str, str] = {}
    for label, image in entries:
        stem, style = _bare(label), _bare(image)
        if table.setdefault(stem, style) != style:
            raise UserError(
                f"{show_path(path)}: expected one photo for {show_path(stem)}, got both "
                f"{show_path(table[stem])} and {show_path(style)}. Remove one."
            )
    return table


def styles_from_table(
    table: StyleTable, layouts: Sequence[Path], photos: Mapping[str, Path]
) -> list[Path]:
    """Return the photo of each layout; `photos` maps stems to files.

    Raises UserError if the table lacks a layout, or if it names a photo that is missing.
    """
    # A backslash separates folders here as in the table, even in a name on Linux.
    bare_of = {path: _without_folder(stem_of(path)) for path in layouts}
    bare_photos = {_without_folder(stem): path for stem, path in photos.items()}
    unnamed = [path.name for path in layouts if bare_of[path] not in table.entries]
    if unnamed:
        raise UserError(
            f"{show_path(table.path)}: expected a photo for each layout, got none for "
            f"{len(unnamed)} of {len(layouts)} ({listed(unnamed)}). Add them or remove the table."
        )
    wanted = [table.entries[bare_of[path]] for path in layouts]
    missing = sorted({stem for stem in wanted if stem not in bare_photos})
    if missing:
        raise UserError(
            f"{show_path(table.path)}: expected names of the {len(photos)} photos, got "
            f"{len(missing)} that are missing ({listed(missing)}). Check --img_path."
        )
    return [bare_photos[stem] for stem in wanted]


@dataclass(frozen=True)
class LayoutIndex:
    """Layouts as class shares per cell of a 6 x 8 grid, and their photos.

    features: float32 (M, 6 * 8 * classes); the shares of a cell add up to 1.
    """

    features: NDArray[np.float32]
    image_paths: list[Path]
    classes: int

    def nearest(self, layout: NDArray[np.int32]) -> Path:
        """Return the photo of the layout nearest to ids (H, W) in L1 distance of the features.

        The first of several equally near ones. Raises ValueError if an id is not below `classes`.
        """
        feature = _grid_shares(layout, self.classes)  # (6 * 8 * classes,)
        # In parts: the difference to all of 10,000 layouts needs another 50 MB.
        parts = [
            np.abs(self.features[start : start + 1024] - feature).sum(axis=1)
            for start in range(0, len(self.features), 1024)
        ]
        return self.image_paths[int(np.concatenate(parts).argmin())]


def build_layout_index(
    pairs: Sequence[Pair],
    *,
    classes: int = len(CONTEST_CLASSES),
    unknown_label: int | None = None,
    first_id: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> LayoutIndex:
    """Read the layouts of all pairs into an index; unknown counts as a class of its own.

    Raises UserError if there is no pair, LabelError if a layout cannot be read.
    """
    if not pairs:
        raise UserError(
            "nearest layout: expected training pairs, got none. Name a dataset with pairs."
        )
    paths = [pair.label_path for pair in pairs]
    features = run_all(
        _FeatureReader,
        (classes, unknown_label, first_id),
        paths,
        workers=workers,
        progress=progress,
    )
    known = classes + (unknown_label is not None)
    return LayoutIndex(np.stack(features), [pair.image_path for pair in pairs], known)


class _FeatureReader:
    """Reads the features of a layout in any process."""

    def __init__(self, classes: int, unknown_label: int | None, first_id: int) -> None:
        self._classes = classes
        self._unknown_label = unknown_label
        self._first_id = first_id

    def __call__(self, path: Path) -> NDArray[np.float32]:
        layout = read_layout(
            path,
            classes=self._classes,
            unknown_label=self._unknown_label,
            first_id=self._first_id,
        )
        return _grid_shares(layout, self._classes + (self._unknown_label is not None))


def _grid_shares(layout: NDArray[np.int32], classes: int) -> NDArray[np.float32]:
    """Return the class shares per cell of ids (H, W), float32 (6 * 8 * classes,)."""
    rows, columns = _GRID
    if layout.size and int(layout.max()) >= classes:
        raise ValueError(f"ids: expected 0..{classes - 1}, got {int(layout.max())}.")
    small = resize_layout(layout, rows * _CELL, columns * _CELL)
    # (6 * 8, pixels of a cell)
    cells = small.reshape(rows, _CELL, columns, _CELL).swapaxes(1, 2).reshape(rows * columns, -1)
    keys = cells + np.arange(rows * columns)[:, None] * classes
    counts = np.bincount(keys.ravel(), minlength=rows * columns * classes)
    return (counts / _CELL**2).astype(np.float32)


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], str)


def _bare(name: str) -> str:
    """Return a name without folder and image suffix; 'a.b' keeps its dot."""
    name = _without_folder(unicodedata.normalize("NFC", name))
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else name


def _without_folder(name: str) -> str:
    return re.split(r"[/\\]", name)[-1]
