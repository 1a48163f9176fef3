"""One folder of images: its files by name, and the entries that are not used, with the reason."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.ownership import without_own
from options.errors import UserError
from options.paths import Entry, existing_folder, is_folder, list_folder, show_path

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
LABEL_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff", ".gif"})
IMAGE_SUFFIXES = JPEG_SUFFIXES | LABEL_SUFFIXES | {".webp", ".ppm"}
LOSSY = "a format whose compression changes ids; layouts are PNG, BMP, TIFF or GIF"
# Suffixes of files that cannot be read, with the reason and the fix.
_UNREADABLE = {
    ".heic": "HEIC, from a phone; convert it to JPEG",
    ".heif": "HEIC, from a phone; convert it to JPEG",
    ".avif": "AVIF; convert it to JPEG or PNG",
    ".jxl": "JPEG XL; convert it to JPEG or PNG",
    ".jp2": "JPEG 2000; convert it to PNG",
    ".svg": "a vector image; convert it to PNG",
    ".psd": "a Photoshop file; convert it to PNG",
    ".npy": "an array; save it as PNG",
    ".npz": "an array; save it as PNG",
    ".mat": "an array; save it as PNG",
    ".zip": "an archive; unpack it",
}
# Files of operating systems and of this program, ignored without a note.
_JUNK = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin"}
    | {"label_to_img.json", "label_to_image.json"}
)


@dataclass(frozen=True, order=True)
class Unused:
    """A file or folder among images that is not read, and the reason."""

    path: Path
    reason: str


def list_images(
    folder: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES, why_not: str = ""
) -> tuple[list[Path], list[Unused]]:
    """List the images of a folder by name, and its other entries with the reason.

    why_not: the reason for images whose suffix is not in `suffixes`. Hidden files (macOS writes
    '._a.jpg') and system files are ignored. A broken link with an image suffix counts as an image:
    its reader raises the error. A missing folder is empty. Raises UserError if the folder cannot
    be read.
    """
    if not is_folder(folder):
        return [], []
    files: list[Path] = []
    unused: list[Unused] = []
    for entry in visible_entries(folder):
        suffix = entry.path.suffix.lower()
        if entry.kind in ("file", "broken") and suffix in suffixes:
            files.append(entry.path)
            continue
        reason = _why_unused(entry, suffix, why_not)
        if reason:
            unused.append(Unused(entry.path, reason))
    return without_own(folder, files), unused


def images_by_stem(folder: Path | str) -> dict[str, Path]:
    """Map stems to the images in one folder; the first by name if several share a stem.

    Raises UserError if the folder is missing or has no image.
    """
    folder = existing_folder(folder)
    files, unused = list_images(folder)
    found: dict[str, Path] = {}
    for path in files:
        found.setdefault(stem_of(path), path)
    if not found:
        raise UserError(
            f"{folder}: expected photos, got {show_contents(folder)}{most_common_reason(unused)}. "
            "Name the folder that holds them."
        )
    return found


def find_unused(folder: Path | str) -> list[Unused]:
    """Return the entries of a folder of photos that are not photos; UserError if it is missing."""
    return list_images(existing_folder(folder))[1]


def stem_of(path: Path | str) -> str:
    """Return a file name without suffix, in Unicode NFC: macOS writes the same name in NFD."""
    return unicodedata.normalize("NFC", Path(path).stem)


def visible_entries(folder: Path) -> list[Entry]:
    """Return the entries of a folder, without hidden and system files."""
    return [
        entry
        for entry in list_folder(folder)
        if not entry.path.name.startswith(".") and entry.path.name.lower() not in _JUNK
    ]


def listed(names: Sequence[str], limit: int = 5) -> str:
    """Return the first `limit` names on one line, and the number of the others."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(show_path(name) for name in names[:limit]) + more


def show_contents(folder: Path) -> str:
    """Return the first entries of a folder, for a message."""
    names = [entry.path.name + "/" * (entry.kind == "folder") for entry in visible_entries(folder)]
    return listed(names) or "nothing"


def describe_unused(unused: Sequence[Unused], limit: int = 5) -> list[str]:
    """Return one line per reason: how many entries are not used, and the first names."""
    by_reason: dict[str, list[Path]] = {}
    for one in unused:
        by_reason.setdefault(one.reason, []).append(one.path)
    return [
        f"{_count(paths)} not used in {show_path(paths[0].parent)}: {reason} "
        f"({listed([path.name for path in paths], limit)})"
        for reason, paths in by_reason.items()
    ]


def most_common_reason(unused: Sequence[Unused]) -> str:
    """Return the most common reason of unused entries, as the end of a message."""
    if not unused:
        return ""
    reason, _ = Counter(one.reason for one in unused).most_common(1)[0]
    return "; " + describe_unused([one for one in unused if one.reason == reason], 3)[0]


def _why_unused(entry: Entry, suffix: str, why_not: str) -> str:
    if entry.kind == "folder":
        return _describe_subfolder(entry.path)
    if entry.kind != "file":
        return entry.fault or "no file"
    if suffix in IMAGE_SUFFIXES:
        return why_not
    return _UNREADABLE.get(suffix, f"{suffix or 'no suffix'}: not an image format")


def _describe_subfolder(folder: Path) -> str:
    """Return how many images a subfolder holds; '' if it holds none."""
    try:
        inside = [entry.path for entry in visible_entries(folder)]
    except UserError:
        return "a folder that cannot be read"
    images = [path for path in inside if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        return ""
    return f"a folder of {len(images)} images; move them up one level"


def _count(paths: Sequence[Path]) -> str:
    return "1 entry" if len(paths) == 1 else f"{len(paths)} entries"
