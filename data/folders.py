"""Dataset folders: find the pairs and the test layouts in whatever form they come.

folder = find_pairs("DIR")          # folder.form, folder.pairs
layouts = find_test_layouts("DIR")  # layouts.paths
unpaired = find_unpaired("DIR")     # unpaired.content.photographs, unpaired.style.photographs
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.ownership import without_own
from options.errors import UserError
from options.paths import Entry, existing_folder, first_that, is_folder, list_folder, show_path

_JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
LABEL_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff", ".gif"})
PICTURE_SUFFIXES = _JPEG_SUFFIXES | LABEL_SUFFIXES | {".webp", ".ppm"}
# Why files with these suffixes are not used.
_UNREADABLE = {
    ".heic": "HEIC, of a phone; convert it to JPEG",
    ".heif": "HEIC, of a phone; convert it to JPEG",
    ".avif": "AVIF; convert it to JPEG or PNG",
    ".jxl": "JPEG XL; convert it to JPEG or PNG",
    ".jp2": "JPEG 2000; convert it to PNG",
    ".svg": "a drawing of lines; convert it to PNG",
    ".psd": "a Photoshop file; convert it to PNG",
    ".npy": "an array; save it as PNG",
    ".npz": "an array; save it as PNG",
    ".mat": "an array; save it as PNG",
    ".zip": "an archive; unpack it",
}
_LOSSY = "a format that changes ids when it is saved; layouts are PNG, BMP, TIFF or GIF"
# What systems and this program's users leave in every folder; nobody looks for it in a batch.
_JUNK = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin"}
    | {"label_to_img.json", "label_to_image.json"}
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
# Folders that may hold photographs and labels of one stem side by side.
_FLAT = ("base", "train", ".")
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


@dataclass(frozen=True, order=True)
class Unused:
    """A file or folder among pictures that is not read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class PhotographFolder:
    """The photographs of one folder, sorted by stem; those that share a stem are duplicates."""

    root: Path
    photographs: list[Photograph]
    duplicates: dict[str, list[Path]] = field(default_factory=dict)
    unused: list[Unused] = field(default_factory=list)


@dataclass(frozen=True)
class UnpairedFolder:
    """A dataset of translation: photographs to redraw, and photographs of the style."""

    root: Path
    content: PhotographFolder
    style: PhotographFolder


@dataclass(frozen=True)
class PairFolder:
    """What one dataset folder holds, sorted by stem.

    A stem that several files of one folder share is in `duplicates` and in no pair. `side_by_side`
    is true if photographs and labels share a folder, as of CMP facades.
    """

    root: Path
    form: str
    pairs: list[Pair]
    images_without_label: list[Path] = field(default_factory=list)
    labels_without_image: list[Path] = field(default_factory=list)
    duplicates: dict[str, list[Path]] = field(default_factory=dict)
    unused: list[Unused] = field(default_factory=list)
    side_by_side: bool = False

    @property
    def stems_without_pair(self) -> set[str]:
        """Stems of the files that are in no pair."""
        alone = (*self.images_without_label, *self.labels_without_image)
        return {stem_of(path) for path in alone} | self.duplicates.keys()


@dataclass(frozen=True)
class LayoutFolder:
    """A folder of layouts to make pictures for, sorted by stem."""

    root: Path
    paths: list[Path]
    unused: list[Unused] = field(default_factory=list)


def find_pairs(root: Path | str) -> PairFolder:
    """Find the training pairs below a folder, matched by stem.

    Forms: the contest's train/imgs + train/labels and train_resized/imgs + labels, plain imgs (or
    images) + labels, COCO-Stuff's train_img + train_label + train_inst; and one folder (base, train
    or the folder itself) of JPEG photographs beside their labels. If labels there are both BMP and
    PNG, as of CMP facades, the BMPs hold the ids and the PNGs are for the eye. Raises UserError if
    none is there, or if no photograph and label share a stem.
    """
    root = existing_folder(root)
    unmatched: PairFolder | None = None
    for form, images, labels, instances in _FORMS:
        if not (is_folder(root / images) and is_folder(root / labels)):
            continue
        folder = _match(root, f"{form} ({images} + {labels})", images, labels, instances)
        if folder.pairs or folder.duplicates:
            return folder
        unmatched = unmatched or folder
    for part in _FLAT:
        flat = _match_flat(root, part)
        if flat is not None:
            return flat
    if unmatched is not None and (unmatched.images_without_label or unmatched.labels_without_image):
        raise UserError(
            f"{root}: expected photographs and labels that share their stems ({unmatched.form}), "
            f"got photographs {_few(unmatched.images_without_label)} and labels "
            f"{_few(unmatched.labels_without_image)}{_and_unused(unmatched.unused)}. Rename them "
            "alike."
        )
    if unmatched is not None:
        raise UserError(
            f"{root}: expected photographs and labels in {unmatched.form}, got none that can be "
            f"read{_and_unused(unmatched.unused)}. Move or convert the files."
        )
    wanted = ", ".join(f"{images} + {labels}" for _, images, labels, _ in _FORMS)
    raise UserError(
        f"{root}: expected photographs and labels in {wanted}, or side by side, got "
        f"{_contents(root)}{_hint(root, _has_pairs)}"
    )


def find_test_layouts(root: Path | str) -> LayoutFolder:
    """Find the layouts to make pictures for, in one of the folder's parts or in itself.

    Looked at, in this order: val_A_labels_resized, val_B_labels_resized, val/labels, val_label,
    test/labels, test, val, labels, the folder itself. Layouts have the formats of labels. Raises
    UserError if there are none, or if two share a stem, as their pictures would share a name.
    """
    root = existing_folder(root)
    passed_over: list[Unused] = []
    for part in (*_TEST_FOLDERS, "."):
        place = root / part
        files, unused = _sort(place, LABEL_SUFFIXES, _LOSSY)
        if not files:
            passed_over += unused
            continue
        files, views = _without_views(files, unused)
        _, duplicates = _by_stem(files)
        if duplicates:
            stem, paths = next(iter(duplicates.items()))
            raise UserError(
                f"{place}: expected layouts with distinct stems, got {_few(paths)}. Rename or "
                f"remove all but one of {show_path(stem)}."
            )
        return LayoutFolder(place, sorted(files, key=stem_of), sorted(unused + views))
    raise UserError(
        f"{root}: expected layouts (PNG, BMP, TIFF or GIF) in the folder itself or in "
        f"{', '.join(_TEST_FOLDERS)}, got {_contents(root)}{_and_unused(passed_over)}"
        f"{_hint(root, _has_layouts)}"
    )


def find_unpaired(root: Path | str) -> UnpairedFolder:
    """Find the photographs of translation, DIR/content and DIR/style.

    Raises UserError if one of the two is missing or has no photographs.
    """
    root = existing_folder(root)
    parts = [_photographs(root / name) for name in (CONTENT, STYLE)]
    for name, part in zip((CONTENT, STYLE), parts, strict=True):
        if not (part.photographs or part.duplicates):
            state = "has no photographs" if is_folder(part.root) else "is not there"
            raise UserError(
                f"--task translation needs photographs in {CONTENT} and in {STYLE}: "
                f"{root / name} {state}{_and_unused(part.unused)}; {root} holds {_contents(root)}"
                f"{_hint(root, _has_unpaired)}"
            )
    return UnpairedFolder(root, *parts)


def find_content(root: Path | str) -> PhotographFolder:
    """Find photographs to translate: those of the folder itself, of test/content or of content.

    Raises UserError if there are none, or if two share a stem, as their pictures would share a
    name.
    """
    root = existing_folder(root)
    unused: list[Unused] = []
    for part in (".", f"test/{CONTENT}", CONTENT):
        found = _photographs(root / part)
        if found.duplicates:
            stem, paths = next(iter(found.duplicates.items()))
            raise UserError(
                f"{found.root}: expected photographs with distinct stems, got {_few(paths)}. "
                f"Rename or remove all but one of {show_path(stem)}."
            )
        if found.photographs:
            return found
        unused += found.unused
    raise UserError(
        f"a folder of photographs to translate must hold some, in itself, in test/{CONTENT} or in "
        f"{CONTENT}: {root} holds {_contents(root)}{_and_unused(unused)}"
    )


def pictures_by_stem(folder: Path | str) -> dict[str, Path]:
    """Map stems to the pictures in one folder; of several with a stem, the first by name.

    Raises UserError if the folder is missing or empty.
    """
    folder = existing_folder(folder)
    files, unused = _sort(folder)
    found: dict[str, Path] = {}
    for path in files:
        found.setdefault(stem_of(path), path)
    if not found:
        raise UserError(
            f"{folder}: expected photographs, got {_contents(folder)}{_and_unused(unused)}. "
            "Name the folder that holds them."
        )
    return found


def find_unused(folder: Path | str) -> list[Unused]:
    """Return what lies in a folder of photographs and is none; UserError if it is not there."""
    return _sort(existing_folder(folder))[1]


def stem_of(path: Path | str) -> str:
    """Return a file name without suffix, in Unicode NFC: macOS writes the same name in NFD."""
    return unicodedata.normalize("NFC", Path(path).stem)


def listed(names: Sequence[str], limit: int = 5) -> str:
    """Return the first names on one line, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(show_path(name) for name in names[:limit]) + more


def describe_unused(unused: Sequence[Unused], limit: int = 5) -> list[str]:
    """Return a line for each reason why files are not used, with their number and some names."""
    by_reason: dict[str, list[Path]] = {}
    for one in unused:
        by_reason.setdefault(one.reason, []).append(one.path)
    return [
        f"{_count(paths)} not used in {show_path(paths[0].parent)}: {reason} "
        f"({listed([path.name for path in paths], limit)})"
        for reason, paths in by_reason.items()
    ]


def _match(root: Path, form: str, images: str, labels: str, instances: str) -> PairFolder:
    image_files, unused = _sort(root / images)
    label_files, unused_labels = _sort(root / labels)
    unused += unused_labels
    instance_files: list[Path] = []
    if instances:
        instance_files, unused_maps = _sort(root / instances)
        unused += unused_maps
    return _pair(root, form, image_files, label_files, instance_files, unused)


def _match_flat(root: Path, part: str) -> PairFolder | None:
    """Match photographs and labels that lie in one folder; None if no two share a stem."""
    place = root / part
    files, unused = _sort(place)
    images = [path for path in files if path.suffix.lower() in _JPEG_SUFFIXES]
    labels = [path for path in files if path.suffix.lower() in LABEL_SUFFIXES]
    photographed = {stem_of(path) for path in images}
    if photographed.isdisjoint(stem_of(path) for path in labels):
        return None
    if part == ".":
        # The dataset's other folders are no pictures one folder deeper.
        unused = [one for one in unused if not is_folder(one.path)]
    others = [path for path in files if path not in {*images, *labels}]
    unused += [Unused(path, "photographs of this form are JPEG, labels are not") for path in others]
    labels, views = _without_views(labels, [Unused(path, "") for path in images])
    kinds = " or ".join(sorted({path.suffix.lower() for path in labels}))
    form = f"side by side ({part}/*.jpg + {kinds})" if part != "." else f"side by side (*{kinds})"
    return _pair(root, form, images, labels, [], unused + views, side_by_side=True)


def _without_views(
    labels: list[Path], photographs: Sequence[Unused]
) -> tuple[list[Path], list[Unused]]:
    """Leave out the PNGs that show the ids of a BMP in colors, beside the photograph of its stem.

    That is how the CMP facades of several courses come: .jpg, .png and .bmp of one stem.
    """
    ids = {stem_of(path) for path in labels if path.suffix.lower() == ".bmp"}
    ids &= {stem_of(one.path) for one in photographs if one.path.suffix.lower() in _JPEG_SUFFIXES}
    views = [path for path in labels if path.suffix.lower() == ".png" and stem_of(path) in ids]
    left = [path for path in labels if path not in set(views)]
    return left, [Unused(path, "a view in colors; the ids are in the .bmp") for path in views]


def _pair(
    root: Path,
    form: str,
    images: Iterable[Path],
    labels: Iterable[Path],
    instances: Iterable[Path],
    unused: list[Unused],
    side_by_side: bool = False,
) -> PairFolder:
    image_of, image_duplicates = _by_stem(images)
    label_of, label_duplicates = _by_stem(labels)
    instance_of, _ = _by_stem(instances)
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
        unused=sorted(unused),
        side_by_side=side_by_side,
    )


def _photographs(folder: Path) -> PhotographFolder:
    files, unused = _sort(folder)
    single, duplicates = _by_stem(files)
    photographs = [Photograph(stem, single[stem]) for stem in sorted(single)]
    return PhotographFolder(folder, photographs, duplicates, unused)


def _by_stem(files: Iterable[Path]) -> tuple[dict[str, Path], dict[str, list[Path]]]:
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(stem_of(path), []).append(path)
    single = {stem: paths[0] for stem, paths in groups.items() if len(paths) == 1}
    return single, {stem: paths for stem, paths in groups.items() if len(paths) > 1}


def _sort(
    folder: Path, suffixes: frozenset[str] = PICTURE_SUFFIXES, why_not: str = ""
) -> tuple[list[Path], list[Unused]]:
    """List a folder's pictures by name, and what else lies there, with the reason.

    `why_not` is the reason of pictures whose suffix is none of `suffixes`. Hidden files ('._a.jpg'
    of macOS) and other systems' junk are passed over. A picture that is a link to nowhere is one:
    whoever reads it says so. A folder that is not there holds nothing.
    """
    if not is_folder(folder):
        return [], []
    files: list[Path] = []
    unused: list[Unused] = []
    for entry in _visible(folder):
        suffix = entry.path.suffix.lower()
        if entry.kind in ("file", "broken") and suffix in suffixes:
            files.append(entry.path)
            continue
        reason = _why_unused(entry, suffix, why_not)
        if reason:
            unused.append(Unused(entry.path, reason))
    return without_own(folder, files), unused


def _why_unused(entry: Entry, suffix: str, why_not: str) -> str:
    if entry.kind == "folder":
        return _describe_deeper(entry.path)
    if entry.kind != "file":
        return entry.fault or "no file"
    if suffix in PICTURE_SUFFIXES:
        return why_not
    return _UNREADABLE.get(suffix, f"{suffix or 'no suffix'}, which is no picture's")


def _describe_deeper(folder: Path) -> str:
    """Return what a folder among pictures hides; '' if that is nothing."""
    try:
        inside = [entry.path for entry in _visible(folder)]
    except UserError:
        return "a folder that cannot be read"
    pictures = [path for path in inside if path.suffix.lower() in PICTURE_SUFFIXES]
    if not pictures:
        return ""
    return f"a folder of {len(pictures)} pictures; move them up, out of it"


def _visible(folder: Path) -> list[Entry]:
    return [
        entry
        for entry in list_folder(folder)
        if not entry.path.name.startswith(".") and entry.path.name.lower() not in _JUNK
    ]


def _contents(folder: Path) -> str:
    names = [entry.path.name + "/" * (entry.kind == "folder") for entry in _visible(folder)]
    return listed(names) or "nothing"


def _and_unused(unused: Sequence[Unused]) -> str:
    """Return the most frequent reason why files are not used, for the end of a message."""
    if not unused:
        return ""
    reason, _ = Counter(one.reason for one in unused).most_common(1)[0]
    return "; " + describe_unused([one for one in unused if one.reason == reason], 3)[0]


def _count(paths: Sequence[Path]) -> str:
    return "1 entry" if len(paths) == 1 else f"{len(paths)} entries"


def _few(paths: Sequence[Path]) -> str:
    return listed([path.name for path in paths]) or "none"


def _hint(root: Path, fits: Callable[[Path], bool]) -> str:
    """Name a folder one level down that would do."""
    folders = (entry.path for entry in _visible(root) if entry.kind == "folder")
    found = first_that(folders, fits)
    return f". Did you mean {show_path(found)}?" if found is not None else "."


def _has_pairs(root: Path) -> bool:
    return any(
        is_folder(root / images) and is_folder(root / labels) for _, images, labels, _ in _FORMS
    ) or any(_match_flat(root, part) for part in _FLAT)


def _has_unpaired(root: Path) -> bool:
    return is_folder(root / CONTENT) and is_folder(root / STYLE)


def _has_layouts(root: Path) -> bool:
    return any(_sort(root / part, LABEL_SUFFIXES)[0] for part in (*_TEST_FOLDERS, "."))
