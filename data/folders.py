"""Dataset folders: finds pairs, test layouts and unpaired photos in every supported form.

folder = find_pairs("DIR")          # folder.form, folder.pairs
layouts = find_test_layouts("DIR")  # layouts.paths
unpaired = find_unpaired("DIR")     # unpaired.content.photos, unpaired.style.photos
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.listing import (
    JPEG_SUFFIXES,
    LABEL_SUFFIXES,
    LOSSY,
    Unused,
    list_images,
    listed,
    most_common_reason,
    show_contents,
    stem_of,
    visible_entries,
)
from options.errors import UserError
from options.paths import existing_folder, first_that, is_folder, show_path

# Name of a form; folders of its photos, labels, instance maps. The first form with files is used.
_FORMS: tuple[tuple[str, str, str, str], ...] = (
    ("the contest's of 2022", "train/imgs", "train/labels", "train/instances"),
    ("the contest's of 2023", "train_resized/imgs", "train_resized/labels", ""),
    ("plain", "imgs", "labels", "instances"),
    ("plain", "images", "labels", "instances"),
    ("plain", "train/images", "train/labels", "train/instances"),
    ("COCO-Stuff's", "train_img", "train_label", "train_inst"),
)
# Folders that may hold photos and labels side by side.
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
    """A photo and its layout; the stem is their file name without suffix, in Unicode NFC."""

    stem: str
    image_path: Path
    label_path: Path
    instance_path: Path | None = None


@dataclass(frozen=True, order=True)
class Photo:
    """A photo without a layout; the stem as that of a Pair."""

    stem: str
    path: Path


@dataclass(frozen=True)
class PhotoFolder:
    """The photos of one folder, sorted by stem; photos that share a stem are in `duplicates`."""

    root: Path
    photos: list[Photo]
    duplicates: dict[str, list[Path]] = field(default_factory=dict)
    unused: list[Unused] = field(default_factory=list)


@dataclass(frozen=True)
class UnpairedFolder:
    """A dataset of translation: photos to translate (content), and photos of the style."""

    root: Path
    content: PhotoFolder
    style: PhotoFolder


@dataclass(frozen=True)
class PairFolder:
    """The pairs of a dataset folder and its other files, sorted by stem.

    duplicates: stems that several files of one folder share; they are in no pair.
    side_by_side: photos and labels share one folder, as in CMP facades.
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
    """A folder of layouts to generate images from, sorted by stem."""

    root: Path
    paths: list[Path]
    unused: list[Unused] = field(default_factory=list)


def find_pairs(root: Path | str) -> PairFolder:
    """Find the training pairs below a folder, matched by stem.

    Forms: the contest's train/imgs + train/labels and train_resized/imgs + labels; plain imgs (or
    images) + labels; COCO-Stuff's train_img + train_label + train_inst; one folder (base, train or
    the folder itself) of JPEG photos and their labels. If that folder has both BMP and PNG labels,
    as CMP facades do, the BMPs hold the ids and the PNGs are ignored.

    Raises UserError if no form matches, or if no photo and label share a stem.
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
            f"{root}: expected photos and labels that share their stems ({unmatched.form}), "
            f"got photos {_few(unmatched.images_without_label)} and labels "
            f"{_few(unmatched.labels_without_image)}{most_common_reason(unmatched.unused)}. "
            "Give both files of a pair the same name."
        )
    if unmatched is not None:
        raise UserError(
            f"{root}: expected photos and labels in {unmatched.form}, got none that can be "
            f"read{most_common_reason(unmatched.unused)}. Move or convert the files."
        )
    wanted = ", ".join(f"{images} + {labels}" for _, images, labels, _ in _FORMS)
    raise UserError(
        f"{root}: expected photos and labels in {wanted}, or side by side, got "
        f"{show_contents(root)}{_hint(root, _has_pairs, 'Name the folder of a dataset.')}"
    )


def find_test_layouts(root: Path | str) -> LayoutFolder:
    """Find the layouts to generate images from, in a known subfolder or in the folder itself.

    Order: val_A_labels_resized, val_B_labels_resized, val/labels, val_label, test/labels, test,
    val, labels, the folder itself. Layouts have the formats of labels. Raises UserError if there
    are none, or if two share a stem, as their images would share a name.
    """
    root = existing_folder(root)
    skipped: list[Unused] = []
    for part in (*_TEST_FOLDERS, "."):
        place = root / part
        files, unused = list_images(place, LABEL_SUFFIXES, LOSSY)
        if not files:
            skipped += unused
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
        f"{', '.join(_TEST_FOLDERS)}, got {show_contents(root)}{most_common_reason(skipped)}"
        f"{_hint(root, _has_layouts, 'Name the folder that holds them.')}"
    )


def find_unpaired(root: Path | str) -> UnpairedFolder:
    """Find the photos of a translation dataset, DIR/content and DIR/style.

    Raises UserError if one of the two is missing or has no photos.
    """
    root = existing_folder(root)
    parts = [_photos(root / name) for name in (CONTENT, STYLE)]
    for name, part in zip((CONTENT, STYLE), parts, strict=True):
        if not (part.photos or part.duplicates):
            state = "no photos" if is_folder(part.root) else "no such folder"
            raise UserError(
                f"{root / name}: expected photos for --task translation, got "
                f"{state}{most_common_reason(part.unused)} ({root} holds {show_contents(root)})"
                f"{_hint(root, _has_unpaired, f'Put photos into {CONTENT} and {STYLE}.')}"
            )
    return UnpairedFolder(root, *parts)


def find_content(root: Path | str) -> PhotoFolder:
    """Find photos to translate, in the folder itself, in test/content or in content.

    Raises UserError if there are none, or if two share a stem, as their images would share a name.
    """
    root = existing_folder(root)
    unused: list[Unused] = []
    for part in (".", f"test/{CONTENT}", CONTENT):
        found = _photos(root / part)
        if found.duplicates:
            stem, paths = next(iter(found.duplicates.items()))
            raise UserError(
                f"{found.root}: expected photos with distinct stems, got {_few(paths)}. "
                f"Rename or remove all but one of {show_path(stem)}."
            )
        if found.photos:
            return found
        unused += found.unused
    raise UserError(
        f"{root}: expected photos to translate in the folder itself, test/{CONTENT} or {CONTENT}, "
        f"got {show_contents(root)}{most_common_reason(unused)}. Name the folder that holds them."
    )


def _match(root: Path, form: str, images: str, labels: str, instances: str) -> PairFolder:
    image_files, unused = list_images(root / images)
    label_files, unused_labels = list_images(root / labels)
    unused += unused_labels
    instance_files: list[Path] = []
    if instances:
        instance_files, unused_maps = list_images(root / instances)
        unused += unused_maps
    return _pair(root, form, image_files, label_files, instance_files, unused)


def _match_flat(root: Path, part: str) -> PairFolder | None:
    """Match photos and labels that lie in one folder; None if no two share a stem."""
    place = root / part
    files, unused = list_images(place)
    images = [path for path in files if path.suffix.lower() in JPEG_SUFFIXES]
    labels = [path for path in files if path.suffix.lower() in LABEL_SUFFIXES]
    photo_stems = {stem_of(path) for path in images}
    if photo_stems.isdisjoint(stem_of(path) for path in labels):
        return None
    if part == ".":
        # The other folders of a dataset may hold images; they are not meant to be moved up.
        unused = [one for one in unused if not is_folder(one.path)]
    others = [path for path in files if path not in {*images, *labels}]
    unused += [Unused(path, "photos of this form are JPEG, labels are not") for path in others]
    labels, views = _without_views(labels, [Unused(path, "") for path in images])
    suffixes = " or ".join(sorted({path.suffix.lower() for path in labels}))
    form = f"(*{suffixes})" if part == "." else f"({part}/*.jpg + {suffixes})"
    form = f"side by side {form}"
    return _pair(root, form, images, labels, [], unused + views, side_by_side=True)


def _without_views(labels: list[Path], photos: Sequence[Unused]) -> tuple[list[Path], list[Unused]]:
    """Remove the PNGs that show the ids of a BMP in colors; a photo must share their stem.

    CMP facades come in this form: .jpg, .png and .bmp per stem.
    """
    ids = {stem_of(path) for path in labels if path.suffix.lower() == ".bmp"}
    ids &= {stem_of(one.path) for one in photos if one.path.suffix.lower() in JPEG_SUFFIXES}
    views = [path for path in labels if path.suffix.lower() == ".png" and stem_of(path) in ids]
    left = [path for path in labels if path not in set(views)]
    return left, [Unused(path, "a view in colors; the .bmp holds the ids") for path in views]


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


def _photos(folder: Path) -> PhotoFolder:
    files, unused = list_images(folder)
    single, duplicates = _by_stem(files)
    photos = [Photo(stem, single[stem]) for stem in sorted(single)]
    return PhotoFolder(folder, photos, duplicates, unused)


def _by_stem(files: Iterable[Path]) -> tuple[dict[str, Path], dict[str, list[Path]]]:
    """Map each stem to its file, and stems of several files to all of them."""
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(stem_of(path), []).append(path)
    single = {stem: paths[0] for stem, paths in groups.items() if len(paths) == 1}
    return single, {stem: paths for stem, paths in groups.items() if len(paths) > 1}


def _few(paths: Sequence[Path]) -> str:
    return listed([path.name for path in paths]) or "none"


def _hint(root: Path, fits: Callable[[Path], bool], fix: str) -> str:
    """Return the end of a message: a subfolder that fits, or `fix` if there is none."""
    folders = (entry.path for entry in visible_entries(root) if entry.kind == "folder")
    found = first_that(folders, fits)
    return f". {fix}" if found is None else f". Did you mean {show_path(found)}?"


def _has_pairs(root: Path) -> bool:
    return any(
        is_folder(root / images) and is_folder(root / labels) for _, images, labels, _ in _FORMS
    ) or any(_match_flat(root, part) for part in _FLAT)


def _has_unpaired(root: Path) -> bool:
    return is_folder(root / CONTENT) and is_folder(root / STYLE)


def _has_layouts(root: Path) -> bool:
    return any(list_images(root / part, LABEL_SUFFIXES)[0] for part in (*_TEST_FOLDERS, "."))
