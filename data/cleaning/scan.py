"""The scan of a dataset: measures every pair in parallel processes and caches the results."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data.check import Fault, check_pairs
from data.classes import palette
from data.cleaning.cache import Cache, content_key, pack, unpack
from data.cleaning.class_consistency import (
    ClassConsistency,
    ClassStatistics,
    class_statistics,
    score_classes,
)
from data.cleaning.decisions import SIMILARITY, Table
from data.cleaning.duplicates import (
    GRID,
    LEAST_SIMILARITY,
    Links,
    layout_grid,
    link_layouts,
    nearest_similarity,
    photo_fingerprint,
)
from data.cleaning.measures import PAIR_MEASURES, measure_pair
from data.cleaning.segments import Segments, describe_segments
from data.cleaning.view import SIDE, View
from data.folders import Pair, PairFolder
from data.images import ImageFileError, read_image
from data.labels import read_label
from data.transforms import map_unknown
from data.workers import InlinePool, ProcessPool, Progress

# Increase when a measure gives other numbers, a label other ids, or the cache another form.
VERSION = 3
# Pairs per task of a helper process; pairs between two writes of the cache.
_CHUNK, _BATCH = 4, 128
_THUMBNAIL_SIDE = 160

_Row = tuple[bytes, bytes, bytes]  # measures, features and thumbnails of a pair in the cache


@dataclass(frozen=True)
class Settings:
    """How labels are read: number of classes, ids of unknown pixels and of the first class."""

    classes: int
    unknown_label: int | None = None
    first_id: int = 0

    @property
    def unknown(self) -> int | None:
        """The class that unknown pixels become."""
        return None if self.unknown_label is None else self.classes

    @property
    def form(self) -> str:
        """Everything that determines a pair's numbers, apart from its files."""
        names = " ".join(PAIR_MEASURES)
        ids = f"{self.classes} {self.unknown_label}" + f" {self.first_id}" * bool(self.first_id)
        return f"{VERSION} {ids} {SIDE} {GRID} {names}"

    @property
    def ids(self) -> range:
        """The ids of the classes in the files."""
        return range(self.first_id, self.first_id + self.classes)


@dataclass(frozen=True)
class PairScan:
    """The scan of one pair: measures, segments, layout grid uint16 (768,), fingerprint int8 (768,).

    See data.cleaning.duplicates for the last two.
    """

    measures: dict[str, float]
    segments: Segments
    grid: NDArray[np.uint16]
    fingerprint: NDArray[np.int8]


@dataclass(frozen=True)
class Scan:
    """The scan of a dataset: the table of its readable pairs, and the faults of the others.

    keys: of the pairs in the cache. measured: how many pairs were not in the cache before.
    """

    pairs: list[Pair]
    keys: list[str]
    table: Table
    statistics: list[ClassStatistics]
    faults: list[Fault]
    measured: int

    @property
    def total(self) -> int:
        """Number of stems, readable or not."""
        return len(self.pairs) + len({fault.stem for fault in self.faults})


def scan_pair(photo: NDArray[np.uint8], layout: NDArray[np.int32], settings: Settings) -> PairScan:
    """Scan one pair: uint8 RGB (H, W, 3) and classes (H, W), see `map_unknown`."""
    view = View(photo, layout, settings.unknown)
    return PairScan(
        measure_pair(view),
        describe_segments(view, settings.classes),
        layout_grid(view),
        photo_fingerprint(view),
    )


def compare_pairs(stems: Sequence[str], scans: Sequence[PairScan], classes: int) -> Table:
    """Return the table of scanned pairs, with the measures that compare them with each other."""
    arrays, _ = _compare(scans, classes, None)
    return _table(stems, [one.measures for one in scans], arrays)


def scan(
    folder: PairFolder,
    settings: Settings,
    cache_path: Path,
    workers: int,
    progress: Progress | None = None,
    stage: Progress | None = None,
) -> Scan:
    """Scan a dataset; pairs in the cache are not measured again.

    `progress(done, total)` counts measured pairs, `stage(done, 100)` the comparison afterwards.
    Raises UserError if the cache cannot be written.
    """
    cache = Cache(cache_path)
    try:
        stamps = cache.stamps()
        keys: dict[str, str] = {}
        for pair in folder.pairs:
            key = _cached_key(pair, stamps, settings)
            if key is not None:
                keys[pair.stem] = key
        stored = cache.keys()
        keys = {stem: key for stem, key in keys.items() if key in stored}
        unread = [pair for pair in folder.pairs if pair.stem not in keys]
        faults = _unpaired_faults(folder, settings)
        measured = 0
        if unread:
            new, broken, measured = _measure(unread, settings, cache, stored, workers, progress)
            keys.update(new)
            faults += broken
        pairs = [pair for pair in folder.pairs if pair.stem in keys]
        ordered = [keys[pair.stem] for pair in pairs]
        table, statistics = _compare_cached(cache, pairs, ordered, settings, stage)
        return Scan(pairs, ordered, table, statistics, faults, measured)
    finally:
        cache.close()


def read_thumbnails(cache_path: Path, keys: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Return (JPEG of the photo, PNG of the layout), longer side 160 pixels, of pairs by key."""
    cache = Cache(cache_path)
    try:
        found = [unpack(content) for content in cache.column("thumbnails", keys)]
    finally:
        cache.close()
    return [(one["photo"].tobytes(), one["layout"].tobytes()) for one in found]


class _Measurer:
    """Measures pairs in any process: (pair, key, new row of the cache or None, faults)."""

    def __init__(self, settings: Settings, stored: frozenset[str]) -> None:
        self._settings = settings
        self._stored = stored
        # Pairs run in parallel already.
        cv2.setNumThreads(1)

    def __call__(self, pairs: list[Pair]) -> list[tuple[Pair, str, _Row | None, list[Fault]]]:
        return [(pair, *self._measure(pair)) for pair in pairs]

    def _measure(self, pair: Pair) -> tuple[str, _Row | None, list[Fault]]:
        settings = self._settings
        try:
            key = content_key(pair.image_path, pair.label_path, form=settings.form)
            if key in self._stored:
                return key, None, []
            label = read_label(pair.label_path, settings.ids.stop)
            photo = read_image(pair.image_path, *(_half(n) for n in label.shape))
        except (OSError, ImageFileError):
            rule, fix = "files that stay as they are", "run the same command again"
            changed = Fault(pair.stem, pair.image_path, rule, "a change while reading", fix)
            return "", None, self._faults(pair) or [changed]
        # data.check holds the rules and their messages; it is asked only if one may be broken.
        if self._has_other_ids(label) or not _same_shape(photo.shape, label.shape):
            faults = self._faults(pair)
            if faults:
                return "", None, faults
        layout = map_unknown(label, settings.classes, settings.unknown_label, settings.first_id)
        found = scan_pair(photo, layout, settings)
        features: dict[str, NDArray] = {
            "classes": found.segments.classes,
            "areas": found.segments.areas,
            "features": found.segments.features.astype(np.float16),
            "grid": found.grid,
            "fingerprint": found.fingerprint,
        }
        measures = json.dumps(found.measures).encode()
        return key, (measures, pack(features), _thumbnails(photo, layout, settings)), []

    def _has_other_ids(self, label: NDArray[np.int32]) -> bool:
        settings = self._settings
        counts = np.bincount(label.ravel())
        if settings.unknown_label is not None and settings.unknown_label < len(counts):
            counts[settings.unknown_label] = 0
        return bool(counts[: settings.ids.start].any() or counts[settings.ids.stop :].any())

    def _faults(self, pair: Pair) -> list[Fault]:
        settings = self._settings
        report = check_pairs(
            [pair],
            settings.classes,
            settings.unknown_label,
            workers=0,
            first_id=settings.first_id,
        )
        return report.faults


def _half(side: int) -> int:
    # read_image keeps at least twice the size that it is given, and a view has at most SIDE pixels.
    return max(1, min(side, SIDE) // 2)


def _same_shape(photo: tuple[int, ...], label: tuple[int, ...]) -> bool:
    """Return whether the aspect ratios agree within 0.5%; data.check allows 1%.

    A photo decoded at a reduced size is rounded up to whole pixels, 0.4% at 256.
    """
    one, other = photo[0] * label[1], photo[1] * label[0]
    return abs(one - other) <= 0.005 * other


def _thumbnails(photo: NDArray[np.uint8], layout: NDArray[np.int32], settings: Settings) -> bytes:
    """Return the packed JPEG of the photo and PNG of the colored layout."""
    view = View(photo, layout, settings.unknown, _THUMBNAIL_SIDE)
    colors = palette(settings.classes + (settings.unknown is not None))[view.layout]
    _, jpeg = cv2.imencode(".jpg", view.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    _, png = cv2.imencode(".png", colors[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return pack({"photo": jpeg.ravel(), "layout": png.ravel()})


def _measure(
    pairs: list[Pair],
    settings: Settings,
    cache: Cache,
    stored: set[str],
    workers: int,
    progress: Progress | None,
) -> tuple[dict[str, str], list[Fault], int]:
    """Measure pairs and cache them as they come; return keys by stem, faults, new rows."""
    chunks = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
    arguments = (settings, frozenset(stored))
    pool: InlinePool | ProcessPool
    if workers < 2 or len(chunks) <= 2 * workers:
        pool = InlinePool(_Measurer, arguments)
    else:
        pool = ProcessPool(_Measurer, arguments, workers)
    keys: dict[str, str] = {}
    faults: list[Fault] = []
    rows: list[tuple[str, bytes, bytes, bytes]] = []
    files: list[tuple[bytes, int, int, str]] = []
    done = measured = 0
    ahead = 2 * max(1, workers)
    try:
        for number in range(-ahead, len(chunks)):
            if number + ahead < len(chunks):
                pool.submit(number + ahead, chunks[number + ahead])
            if number < 0:
                continue
            _, answers = pool.receive()
            for pair, key, row, broken in answers:
                faults += broken
                if key:
                    keys[pair.stem] = key
                    files += _stamps(pair, key, settings)
                if row is not None:
                    rows.append((key, *row))
                    measured += 1
            done += len(answers)
            if len(rows) >= _BATCH:
                cache.add(rows, files)
                rows, files = [], []
            if progress is not None:
                progress(done, len(pairs))
    finally:
        pool.close()
        # After Ctrl-C too.
        if rows or files:
            cache.add(rows, files)
    return keys, faults, measured


def _cached_key(
    pair: Pair, stamps: dict[bytes, tuple[int, int, str]], settings: Settings
) -> str | None:
    """Return a pair's key in the cache, if neither file changed since it was measured."""
    found = set()
    for path in (pair.image_path, pair.label_path):
        size, time, key = stamps.get(_stamp_name(path, settings), (-1, -1, ""))
        try:
            stat = path.stat()
        except OSError:
            return None
        if (stat.st_size, stat.st_mtime_ns) != (size, time):
            return None
        found.add(key)
    return found.pop() if len(found) == 1 else None


def _stamps(pair: Pair, key: str, settings: Settings) -> list[tuple[bytes, int, int, str]]:
    paths = (pair.image_path, pair.label_path)
    try:
        stats = [(_stamp_name(path, settings), path.stat()) for path in paths]
    except OSError:
        return []  # removed since it was measured; the next start reads it again
    return [(name, stat.st_size, stat.st_mtime_ns, key) for name, stat in stats]


def _stamp_name(path: Path, settings: Settings) -> bytes:
    # Bytes, as a file name need not be Unicode. With the settings, as the key depends on them.
    return settings.form.encode() + b"|" + os.fsencode(path.absolute())


def _unpaired_faults(folder: PairFolder, settings: Settings) -> list[Fault]:
    alone = PairFolder(
        folder.root,
        folder.form,
        [],
        folder.images_without_label,
        folder.labels_without_image,
        folder.duplicates,
    )
    return check_pairs(alone, settings.classes, settings.unknown_label, workers=0).faults


def _compare_cached(
    cache: Cache,
    pairs: list[Pair],
    keys: list[str],
    settings: Settings,
    stage: Progress | None,
) -> tuple[Table, list[ClassStatistics]]:
    """Compare the pairs with each other, or return the cached result of the same pairs."""
    digest = hashlib.blake2b(settings.form.encode(), digest_size=16)
    for pair, key in zip(pairs, keys, strict=True):
        digest.update(f"|{pair.stem}|{key}".encode("utf-8", "surrogateescape"))
    measures = [json.loads(content) for content in cache.column("measures", keys)]
    arrays = cache.result(digest.hexdigest())
    if arrays is None:
        scans = [
            _unpack_pair(one, unpack(content))
            for one, content in zip(measures, cache.column("features", keys), strict=True)
        ]
        arrays, statistics = _compare(scans, settings.classes, stage)
        text = json.dumps([vars(one) for one in statistics])
        cache.keep_result(
            digest.hexdigest(), {**arrays, "statistics": np.frombuffer(text.encode(), np.uint8)}
        )
    else:
        text = arrays["statistics"].tobytes().decode()
        statistics = [
            ClassStatistics(**{**one, "lab": tuple(one["lab"]), "spread": tuple(one["spread"])})
            for one in json.loads(text)
        ]
    return _table([pair.stem for pair in pairs], measures, arrays), statistics


def _unpack_pair(measures: dict[str, float], stored: dict[str, NDArray]) -> PairScan:
    segments = Segments(stored["classes"], stored["areas"], stored["features"])
    return PairScan(measures, segments, stored["grid"], stored["fingerprint"])


def _compare(
    scans: Sequence[PairScan], classes: int, stage: Progress | None
) -> tuple[dict[str, NDArray], list[ClassStatistics]]:
    """Return the arrays of the measures that need the whole dataset, and the class statistics."""
    segments = [one.segments for one in scans]

    def steps(first: int, last: int) -> Progress:
        def show(done: int, total: int) -> None:
            if stage is not None:
                stage(first + (last - first) * done // total, 100)

        return show

    consistency: ClassConsistency = score_classes(segments, classes, steps(0, 80))
    cells = GRID[0] * GRID[1]
    grids = np.array([one.grid for one in scans], np.uint16).reshape(-1, cells)  # (M, 768)
    links = link_layouts(grids, LEAST_SIMILARITY, steps(80, 100))
    arrays: dict[str, NDArray] = {
        "label_outlier_score": consistency.label_outlier_score,
        "outlier_segment": consistency.outlier_segment,
        "first": links.first,
        "second": links.second,
        "similarity": links.similarity,
        "fingerprints": np.array([one.fingerprint for one in scans], np.int8).reshape(-1, cells),
    }
    return arrays, class_statistics(segments, consistency, classes)


def _table(
    stems: Sequence[str], measures: Sequence[dict[str, float]], arrays: dict[str, NDArray]
) -> Table:
    links = Links(arrays["first"], arrays["second"], arrays["similarity"], len(stems))
    values = {
        name: np.array([one[name] for one in measures], dtype=np.float64) for name in PAIR_MEASURES
    }
    for name in ("label_outlier_score", "outlier_segment"):
        values[name] = np.asarray(arrays[name], np.float64)
    values[SIMILARITY] = nearest_similarity(links)
    return Table(list(stems), values, links, arrays["fingerprints"])
