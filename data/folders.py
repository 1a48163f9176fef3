"""Dataset folders: find the pairs and the test layouts in whatever form they come.

folder = find_pairs("DIR")          # folder.form, folder.pairs
layouts = find_test_layouts("DIR")  # layouts.paths
unpaired = find_unpaired("DIR")     # unpaired.content.photographs, unpaired.style.photographs
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.ownership import without_own
from options.errors import UserError

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"}
)
# Folder of photographs, of labels, of instance maps; the first form that has files is taken.
_FORMS: tuple[tuple[str, str, str, str], ...] = (
    ("the contest's of 2022", "train/imgs", "train/labels", "train/instances"),
    ("the contest's of 2023", "train_resized/imgs", "train_resized/labels", ""),
    ("plain", "imgs", "labels", "instances"),
    ("plain", "images", "labels", "instances"),
    ("plain", "train/images", "train/labels", "train/instances"),
    ("COCO-Stuff's", "train_img", "train_label", "train_inst"),
)
CONTENT, STYLE = "content", "style"
_TEST_FOLDERS = (
    "val_A_labels_resized",
    "val_B_labels_resized",
    "val/labels",
    "val_label",
    "test/labels",
    "test",
    "val",
    "labels",
)


@dataclass(frozen=True, order=True)
class Pair:
    """A photograph and its layout; the stem is their file name without suffix, in Unicode NFC."""

    stem: str
    image_path: Path
    label_path: Path
    instance_path: Path | None = None


@dataclass(frozen=True, order=True)
class Photograph:
    """A photograph that belongs to no layout; the stem as a Pair's."""

    stem: str
    path: Path


@dataclass(frozen=True)
class PhotographFolder:
    """The photographs of one folder, sorted by stem; those that share a stem are duplicates."""

    root: Path
    photographs: list[Photograph]
    duplicates: dict[str, list[Path]] = field(default_factory=dict)


@dataclass(frozen=True)
class UnpairedFolder:
    """A dataset of translation: photographs to redraw, and photographs of the style."""

    root: Path
    content: PhotographFolder
    style: PhotographFolder


@dataclass(frozen=True)
class PairFolder:
    """What one dataset folder holds, sorted by stem.

    A stem that several files of one folder share is in `duplicates` and in no pair.
    """

    root: Path
    form: str
    pairs: list[Pair]
    images_without_label: list[Path] = field(default_factory=list)
    labels_without_image: list[Path] = field(default_factory=list)
    duplicates: dict[str, list[Path]] = field(default_factory=dict)


@dataclass(frozen=True)
class LayoutFolder:
    """A folder of layouts to make pictures for, sorted by stem."""

    root: Path
    paths: list[Path]


def find_pairs(root: Path | str) -> PairFolder:
    """Find the training pairs below a folder, matched by stem.

    Forms: the contest's train/imgs + train/labels and train_resized/imgs + labels, plain imgs (or
    images) + labels, COCO-Stuff's train_img + train_label + train_inst. Raises UserError where none
    is there, or where no photograph and label share a stem.
    """
    root = _existing(root)
    unmatched: PairFolder | None = None
    for form, images, labels, instances in _FORMS:
        if not ((root / images).is_dir() and (root / labels).is_dir()):
            continue
        folder = _match(root, f"{form} ({images} + {labels})", images, labels, instances)
        if folder.pairs or folder.duplicates:
            return folder
        unmatched = unmatched or folder
    if unmatched is not None and (unmatched.images_without_label or unmatched.labels_without_image):
        raise UserError(
            f"a photograph and its label must share their stem: none does in {root}, "
            f"{unmatched.form}; photographs are {_few(unmatched.images_without_label)}, "
            f"labels are {_few(unmatched.labels_without_image)}"
        )
    wanted = ", ".join(f"{images} + {labels}" for _, images, labels, _ in _FORMS)
    raise UserError(
        f"a dataset folder must hold photographs and labels: {root} has none of {wanted} with "
        f"files in them; it holds {_contents(root)}{_hint(root, _has_pairs)}"
    )


def find_test_layouts(root: Path | str) -> LayoutFolder:
    """Find the layouts to make pictures for: PNGs in one of the folder's parts or in itself.

    Looked at, in this order: val_A_labels_resized, val_B_labels_resized, val/labels, val_label,
    test/labels, test, val, labels, the folder itself. Raises UserError where there are none, or
    where two share a stem, as their pictures would share a name.
    """
    root = _existing(root)
    for part in (*_TEST_FOLDERS, "."):
        place = root / part
        files = [path for path in _files(place) if path.suffix.lower() == ".png"]
        if files:
            _, duplicates = _by_stem(files)
            if duplicates:
                stem, paths = next(iter(duplicates.items()))
                raise UserError(
                    f"layouts must have distinct stems: {stem} is {_few(paths)} in {place}; "
                    "rename or remove one"
                )
            return LayoutFolder(place, sorted(files, key=stem_of))
    raise UserError(
        f"a folder of layouts must hold PNGs: {root} has none, in itself or in "
        f"{', '.join(_TEST_FOLDERS)}; it holds {_contents(root)}{_hint(root, _has_layouts)}"
    )


def find_unpaired(root: Path | str) -> UnpairedFolder:
    """Find the photographs of translation, DIR/content and DIR/style.

    Raises UserError where one of the two is missing or has no photographs.
    """
    root = _existing(root)
    parts = [_photographs(root / name) for name in (CONTENT, STYLE)]
    for name, part in zip((CONTENT, STYLE), parts, strict=True):
        if not (part.photographs or part.duplicates):
            state = "has no photographs" if part.root.is_dir() else "is not there"
            raise UserError(
                f"--task translation needs photographs in {CONTENT} and in {STYLE}: "
                f"{root / name} {state}; {root} holds {_contents(root)}"
                f"{_hint(root, _has_unpaired)}"
            )
    return UnpairedFolder(root, *parts)


def find_content(root: Path | str) -> PhotographFolder:
    """Find photographs to translate: those of the folder itself, of test/content or of content.

    Raises UserError where there are none, or where two share a stem, as their pictures would share
    a name.
    """
    root = _existing(root)
    for part in (".", f"test/{CONTENT}", CONTENT):
        found = _photographs(root / part)
        if found.duplicates:
            stem, paths = next(iter(found.duplicates.items()))
            raise UserError(
                f"photographs to translate must have distinct stems: {stem} is {_few(paths)} in "
                f"{found.root}; rename or remove one"
            )
        if found.photographs:
            return found
    raise UserError(
        f"a folder of photographs to translate must hold some, in itself, in test/{CONTENT} or in "
        f"{CONTENT}: {root} holds {_contents(root)}"
    )


def pictures_by_stem(folder: Path | str) -> dict[str, Path]:
    """Map stems to the pictures in one folder; of several with a stem, the first by name.

    Raises UserError where the folder is missing or empty.
    """
    folder = _existing(folder)
    found: dict[str, Path] = {}
    for path in _files(folder):
        found.setdefault(stem_of(path), path)
    if not found:
        raise UserError(
            f"a folder of photographs must hold some: {folder}; it holds {_contents(folder)}"
        )
    return found


def stem_of(path: Path | str) -> str:
    """Return a file name without suffix, in Unicode NFC: macOS writes the same name in NFD."""
    return unicodedata.normalize("NFC", Path(path).stem)


def _match(root: Path, form: str, images: str, labels: str, instances: str) -> PairFolder:
    image_of, image_duplicates = _by_stem(_files(root / images))
    label_of, label_duplicates = _by_stem(_files(root / labels))
    instance_of, _ = _by_stem(_files(root / instances) if instances else [])
    duplicates = {
        stem: image_duplicates.get(stem, []) + label_duplicates.get(stem, [])
        for stem in sorted(image_duplicates.keys() | label_duplicates.keys())
    }
    pairs = [
        Pair(stem, image_of[stem], label_of[stem], instance_of.get(stem))
        for stem in sorted(image_of.keys() & label_of.keys())
    ]
    known = duplicates.keys()
    return PairFolder(
        root=root,
        form=form,
        pairs=pairs,
        images_without_label=[
            image_of[stem] for stem in sorted(image_of.keys() - label_of.keys() - known)
        ],
        labels_without_image=[
            label_of[stem] for stem in sorted(label_of.keys() - image_of.keys() - known)
        ],
        duplicates=duplicates,
    )


def _photographs(folder: Path) -> PhotographFolder:
    single, duplicates = _by_stem(_files(folder))
    return PhotographFolder(
        folder, [Photograph(stem, single[stem]) for stem in sorted(single)], duplicates
    )


def _by_stem(files: Iterable[Path]) -> tuple[dict[str, Path], dict[str, list[Path]]]:
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(stem_of(path), []).append(path)
    single = {stem: paths[0] for stem, paths in groups.items() if len(paths) == 1}
    return single, {stem: paths for stem, paths in groups.items() if len(paths) > 1}


def _files(folder: Path) -> list[Path]:
    """List a folder's pictures by name; hidden files ('._a.jpg' of macOS) are none."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file()
        )
    paths = (folder / name for name in names)
    pictures = [path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES]
    return without_own(folder, pictures)


def _existing(root: Path | str) -> Path:
    root = Path(root).expanduser()
    if not root.exists():
        nearest = next(parent for parent in root.absolute().parents if parent.exists())
        raise UserError(f"a folder must exist: {root}; of its path only {nearest} does")
    if not root.is_dir():
        raise UserError(f"a folder is needed: {root} is a file; name the folder that holds it")
    if not os.access(root, os.R_OK | os.X_OK):
        raise UserError(f"a folder must be readable: {root}; give yourself the right to read it")
    return root


def _contents(folder: Path) -> str:
    names = sorted(
        entry.name + "/" * entry.is_dir()
        for entry in folder.iterdir()
        if not entry.name.startswith(".")
    )
    return _listed(names) or "nothing"


def _few(paths: Sequence[Path]) -> str:
    return _listed([path.name for path in paths]) or "none"


def _listed(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _hint(root: Path, fits: Callable[[Path], bool]) -> str:
    """Name a folder one level down that would do."""
    for entry in sorted(root.iterdir()):
        if entry.is_dir() and fits(entry):
            return f"; did you mean {entry}?"
    return ""


def _has_pairs(root: Path) -> bool:
    return any(
        (root / images).is_dir() and (root / labels).is_dir() for _, images, labels, _ in _FORMS
    )


def _has_unpaired(root: Path) -> bool:
    return (root / CONTENT).is_dir() and (root / STYLE).is_dir()


def _has_layouts(root: Path) -> bool:
    return any(path.suffix.lower() == ".png" for path in _files(root)) or any(
        (root / part).is_dir() for part in _TEST_FOLDERS
    )
