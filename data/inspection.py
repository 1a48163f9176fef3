"""Facts of the files of pairs and photos: sizes, modes, ids, faults; read once, then cached."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from data.files import write_text
from data.folders import Pair, Photo
from data.images import ImageFileError, inspect_image
from data.label_ids import ids_of
from data.labels import Colors, read_colored_label, read_instances
from data.workers import Progress, run_all
from options.json_text import parse_json
from options.paths import read_bytes

_CACHE_VERSION = 3

Item = TypeVar("Item", Pair, Photo)
Size = tuple[int, int]  # height, width
Broken = tuple[str, str, str, str]  # path, rule, value, fix


@dataclass(frozen=True)
class Facts:
    """The content of the files of one item. Sizes are (height, width).

    colors: see data.labels.Colors. broken: (path, rule, value, fix) of files that cannot be read.
    """

    image_size: Size | None = None
    image_mode: str = ""
    image_rotated: bool = False
    label_size: Size | None = None
    ids: tuple[int, ...] = ()
    colors: Colors = ()
    instance_size: Size | None = None
    broken: tuple[Broken, ...] = ()


def inspect_pairs(
    pairs: Sequence[Pair],
    end: int,
    instances: bool,
    workers: int,
    progress: Progress | None = None,
    cache_path: Path | str | None = None,
) -> list[Facts]:
    """Return the facts of pairs; good ones whose files did not change come from the cache.

    end: one past the last class id, for labels stored as colors. instances: read the instance maps
    too. progress: called as `progress(done, total)`.
    """
    cache = _Cache(cache_path, [_CACHE_VERSION, end, instances])
    return _inspect_all(pairs, cache, _PairInspector, (end, instances), workers, progress)


def inspect_photos(
    photos: Sequence[Photo],
    workers: int,
    progress: Progress | None = None,
    cache_path: Path | str | None = None,
) -> list[Facts]:
    """Return the facts of photos; the rest as in `inspect_pairs`."""
    cache = _Cache(cache_path, [_CACHE_VERSION, "photos"])
    return _inspect_all(photos, cache, _PhotoInspector, (), workers, progress)


def _inspect_all(
    items: Sequence[Item],
    cache: _Cache,
    inspector: Callable[..., Callable[[Item], Facts]],
    arguments: tuple[Any, ...],
    workers: int,
    progress: Progress | None,
) -> list[Facts]:
    """Return the facts of items from the cache or from their files; updates the cache."""
    known = [cache.get(item) for item in items]
    unread = [item for item, facts in zip(items, known, strict=True) if facts is None]
    read = iter(run_all(inspector, arguments, unread, workers=workers, progress=progress))
    facts_of = [facts if facts is not None else next(read) for facts in known]
    cache.save(items, facts_of)
    return facts_of


class _PhotoInspector:
    """Reads a photo in any process."""

    def __call__(self, photo: Photo) -> Facts:
        found, broken = _inspect_photo(photo.path)
        return Facts(**found, broken=broken)


class _PairInspector:
    """Reads the files of a pair in any process."""

    def __init__(self, end: int, instances: bool) -> None:
        self.end = end
        self.instances = instances

    def __call__(self, pair: Pair) -> Facts:
        found, broken_photo = _inspect_photo(pair.image_path)
        broken = list(broken_photo)
        try:
            label, found["colors"] = read_colored_label(pair.label_path, self.end)
            found["label_size"] = label.shape
            found["ids"] = tuple(ids_of(label))
        except ImageFileError as error:
            broken.append(_as_broken(error))
        if self.instances and pair.instance_path is not None:
            try:
                found["instance_size"] = read_instances(pair.instance_path).shape
            except ImageFileError as error:
                broken.append(_as_broken(error))
        return Facts(**found, broken=tuple(broken))


def _inspect_photo(path: Path) -> tuple[dict[str, Any], tuple[Broken, ...]]:
    """Return the facts of a photo, or its fault."""
    try:
        photo = inspect_image(path)
    except ImageFileError as error:
        return {}, (_as_broken(error),)
    return {
        "image_size": (photo.height, photo.width),
        "image_mode": photo.mode,
        "image_rotated": photo.rotated,
    }, ()


def _as_broken(error: ImageFileError) -> Broken:
    return str(error.path), error.rule, error.value, error.fix


class _Cache:
    """Facts of readable items in one JSON file, by the paths, sizes and times of their files.

    form: the settings of the check; facts of other settings are not used.
    """

    def __init__(self, path: Path | str | None, form: list[Any]) -> None:
        self._path = Path(path) if path is not None else None
        self._form = form
        self._entries: dict[str, Any] = {}
        self._keys: dict[str, Any] = {}
        # A missing, damaged or outdated cache is empty; the files are read again.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if self._path is not None:
                stored = parse_json(read_bytes(self._path))
                if stored["form"] == self._form:
                    self._entries = dict(stored["pairs"])

    def get(self, item: Pair | Photo) -> Facts | None:
        if self._path is None:
            return None
        key = self._keys[item.stem] = _stamp(item)
        entry = self._entries.get(item.stem)
        try:
            if key is None or entry is None or entry[0] != key:
                return None
            facts: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in entry[1].items()
            }
            return Facts(**facts)
        except (TypeError, AttributeError, LookupError):
            return None

    def save(self, items: Iterable[Pair | Photo], facts_of: Iterable[Facts]) -> None:
        if self._path is None:
            return
        entries = {
            item.stem: [self._keys[item.stem], asdict(facts)]
            for item, facts in zip(items, facts_of, strict=True)
            if not facts.broken and self._keys[item.stem] is not None
        }
        stored = json.dumps({"form": self._form, "pairs": entries}, separators=(",", ":"))
        # Without the file, the next start only reads the items again.
        with contextlib.suppress(OSError):
            write_text(self._path, stored)


def _stamp(item: Pair | Photo) -> list[list[Any]] | None:
    """Return [path, size, modification time] per file; None if one is missing."""
    paths: list[Path | None]
    if isinstance(item, Photo):
        paths = [item.path]
    else:
        paths = [item.image_path, item.label_path, item.instance_path]
    try:
        stats = [(path, path.stat()) for path in paths if path is not None]
    except OSError:
        return None
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]
