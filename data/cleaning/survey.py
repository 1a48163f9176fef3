"""Reads a dataset whole, measures every pair in parallel processes, and keeps what it finds."""

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
from data.cleaning.duplicates import (
    GRID,
    LEAST_LIKENESS,
    Links,
    layout_grid,
    link_layouts,
    nearest_likeness,
    photograph_print,
)
from data.cleaning.evidence import ClassStatistics, Evidence, class_statistics, weigh_classes
from data.cleaning.measures import PAIR_MEASURES, measure_pair
from data.cleaning.segments import Segments, describe_segments
from data.cleaning.verdicts import LIKENESS, Table
from data.cleaning.view import SIDE, View
from data.folders import Pair, PairFolder
from data.images import PictureError, read_image
from data.labels import read_label
from data.transforms import map_unknown
from data.workers import InlinePool, ProcessPool, Progress

# Raised whenever a measure gives other numbers than before, or a label other ids.
VERSION = 2
# Pairs that a helper is handed at a time; pairs between two writes of the cache.
_CHUNK, _BATCH = 4, 128
_THUMB = 160


@dataclass(frozen=True)
class Settings:
    """How the labels are read: number of classes, ids of unknown pixels and of the first class."""

    classes: int
    unknown_label: int | None = None
    first_id: int = 0

    @property
    def unknown(self) -> int | None:
        """The class that unknown pixels become."""
        return None if self.unknown_label is None else self.classes

    @property
    def form(self) -> str:
        """All that a pair's numbers depend on besides its files."""
        names = " ".join(PAIR_MEASURES)
        ids = f"{self.classes} {self.unknown_label}" + f" {self.first_id}" * bool(self.first_id)
        return f"{VERSION} {ids} {SIDE} {GRID} {names}"

    @property
    def ids(self) -> range:
        """The ids of the classes in the files."""
        return range(self.first_id, self.first_id + self.classes)


@dataclass(frozen=True)
class Finding:
    """What one pair was found to be."""

    measures: dict[str, float]
    segments: Segments
    grid: NDArray[np.uint16]
    photograph: NDArray[np.int8]


@dataclass(frozen=True)
class Survey:
    """A dataset, measured: the table of its readable pairs, and the faults of the others."""

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


def find(image: NDArray[np.uint8], layout: NDArray[np.int32], settings: Settings) -> Finding:
    """Measure one pair: uint8 RGB (H, W, 3) and ids (H, W), unknown pixels already mapped."""
    view = View(image, layout, settings.unknown)
    return Finding(
        measure_pair(view),
        describe_segments(view, settings.classes),
        layout_grid(view),
        photograph_print(view),
    )


def compare(stems: Sequence[str], findings: Sequence[Finding], classes: int) -> Table:
    """Put pairs' findings together with what only the whole dataset tells."""
    arrays, _ = _compare(findings, classes, None)
    return _table(stems, [one.measures for one in findings], arrays)


def survey(
    folder: PairFolder,
    settings: Settings,
    cache_path: Path,
    workers: int,
    progress: Progress | None = None,
    stage: Progress | None = None,
) -> Survey:
    """Measure what the cache does not know yet of a dataset, and return all of it.

    `progress(done, total)` counts pairs, `stage(done, 100)` what follows. Raises UserError
    where the cache cannot be written.
    """
    cache = Cache(cache_path)
    try:
        stamps = cache.stamps()
        keys: dict[str, str] = {}
        for pair in folder.pairs:
            key = _known(pair, stamps, settings)
            if key is not None:
                keys[pair.stem] = key
        stored = cache.keys()
        keys = {stem: key for stem, key in keys.items() if key in stored}
        unread = [pair for pair in folder.pairs if pair.stem not in keys]
        faults = _unpaired(folder, settings)
        measured = 0
        if unread:
            new, broken, measured = _measure(unread, settings, cache, stored, workers, progress)
            keys.update(new)
            faults += broken
        pairs = [pair for pair in folder.pairs if pair.stem in keys]
        ordered = [keys[pair.stem] for pair in pairs]
        table, statistics = _put_together(cache, pairs, ordered, settings, stage)
        return Survey(pairs, ordered, table, statistics, faults, measured)
    finally:
        cache.close()


def read_drawings(cache_path: Path, keys: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Return (JPEG of the photograph, PNG of the layout), 160 pixels long, of pairs by key."""
    cache = Cache(cache_path)
    try:
        found = [unpack(content) for content in cache.column("drawing", keys)]
    finally:
        cache.close()
    return [(one["photograph"].tobytes(), one["layout"].tobytes()) for one in found]


class _Measurer:
    """Measures pairs, in whatever process: (key, row of the cache or None, faults)."""

    def __init__(self, settings: Settings, stored: frozenset[str]) -> None:
        self._settings = settings
        self._stored = stored
        # The pairs are what is done in parallel.
        cv2.setNumThreads(1)

    def __call__(
        self, pairs: list[Pair]
    ) -> list[tuple[Pair, str, tuple[bytes, bytes, bytes] | None, list[Fault]]]:
        return [(pair, *self._measure(pair)) for pair in pairs]

    def _measure(self, pair: Pair) -> tuple[str, tuple[bytes, bytes, bytes] | None, list[Fault]]:
        settings = self._settings
        try:
            key = content_key(pair.image_path, pair.label_path, form=settings.form)
            if key in self._stored:
                return key, None, []
            label = read_label(pair.label_path, settings.ids.stop)
            image = read_image(pair.image_path, *(_half(n) for n in label.shape))
        except (OSError, PictureError):
            rule, fix = "files that stay as they are", "run the same command again"
            changed = Fault(pair.stem, pair.image_path, rule, "a change while reading", fix)
            return "", None, self._faults(pair) or [changed]
        ids = np.bincount(label.ravel())
        if settings.unknown_label is not None and settings.unknown_label < len(ids):
            ids[settings.unknown_label] = 0
        # The rules and their words are the check's; only what may break them is asked there.
        outside = ids[: settings.ids.start].any() or ids[settings.ids.stop :].any()
        if outside or not _same_shape(image.shape, label.shape):
            faults = self._faults(pair)
            if faults:
                return "", None, faults
        layout = map_unknown(label, settings.classes, settings.unknown_label, settings.first_id)
        found = find(image, layout, settings)
        features: dict[str, NDArray] = {
            "classes": found.segments.classes,
            "areas": found.segments.areas,
            "features": found.segments.features.astype(np.float16),
            "grid": found.grid,
            "photograph": found.photograph,
        }
        row = (
            json.dumps(found.measures).encode(),
            pack(features),
            _drawing(image, layout, settings),
        )
        return key, row, []

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
    # read_image keeps twice the size asked for, and no view is longer than SIDE.
    return max(1, min(side, SIDE) // 2)


def _same_shape(image: tuple[int, ...], label: tuple[int, ...]) -> bool:
    """Whether the aspect ratios agree so well that the check, which allows 1%, would say so too.

    A photograph decoded at a part of its size is rounded up to whole pixels, 0.4% at 256.
    """
    one, other = image[0] * label[1], image[1] * label[0]
    return abs(one - other) <= 0.005 * other


def _drawing(image: NDArray[np.uint8], layout: NDArray[np.int32], settings: Settings) -> bytes:
    view = View(image, layout, settings.unknown, _THUMB)
    kinds = settings.classes + (settings.unknown is not None)
    colours = palette(kinds)[view.layout]
    _, photograph = cv2.imencode(".jpg", view.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    _, drawn = cv2.imencode(".png", colours[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return pack({"photograph": photograph.ravel(), "layout": drawn.ravel()})


def _measure(
    pairs: list[Pair],
    settings: Settings,
    cache: Cache,
    stored: set[str],
    workers: int,
    progress: Progress | None,
) -> tuple[dict[str, str], list[Fault], int]:
    """Measure pairs and keep them in the cache as they come."""
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
        # What came before a Ctrl-C is kept too.
        if rows or files:
            cache.add(rows, files)
    return keys, faults, measured


def _known(pair: Pair, stamps: dict[bytes, tuple[int, int, str]], settings: Settings) -> str | None:
    """Return a pair's key where neither file changed since it was measured."""
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
        return []  # gone since it was measured: the next start reads it again
    return [(name, stat.st_size, stat.st_mtime_ns, key) for name, stat in stats]


def _stamp_name(path: Path, settings: Settings) -> bytes:
    # Bytes, as a file's name need not be Unicode; the settings, as the key depends on them.
    return settings.form.encode() + b"|" + os.fsencode(path.absolute())


def _unpaired(folder: PairFolder, settings: Settings) -> list[Fault]:
    alone = PairFolder(
        folder.root,
        folder.form,
        [],
        folder.images_without_label,
        folder.labels_without_image,
        folder.duplicates,
    )
    return check_pairs(alone, settings.classes, settings.unknown_label, workers=0).faults


def _put_together(
    cache: Cache,
    pairs: list[Pair],
    keys: list[str],
    settings: Settings,
    stage: Progress | None,
) -> tuple[Table, list[ClassStatistics]]:
    digest = hashlib.blake2b(settings.form.encode(), digest_size=16)
    for pair, key in zip(pairs, keys, strict=True):
        digest.update(f"|{pair.stem}|{key}".encode("utf-8", "surrogateescape"))
    measures = [json.loads(content) for content in cache.column("measures", keys)]
    arrays = cache.result(digest.hexdigest())
    if arrays is None:
        findings = [
            _restored(one, unpack(content))
            for one, content in zip(measures, cache.column("features", keys), strict=True)
        ]
        arrays, statistics = _compare(findings, settings.classes, stage)
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


def _restored(measures: dict[str, float], stored: dict[str, NDArray]) -> Finding:
    segments = Segments(stored["classes"], stored["areas"], stored["features"])
    return Finding(measures, segments, stored["grid"], stored["photograph"])


def _compare(
    findings: Sequence[Finding], classes: int, stage: Progress | None
) -> tuple[dict[str, NDArray], list[ClassStatistics]]:
    segments = [one.segments for one in findings]

    def steps(first: int, last: int) -> Progress:
        def show(done: int, total: int) -> None:
            if stage is not None:
                stage(first + (last - first) * done // total, 100)

        return show

    evidence: Evidence = weigh_classes(segments, classes, steps(0, 80))
    cells = GRID[0] * GRID[1]
    grids = np.array([one.grid for one in findings], np.uint16).reshape(-1, cells)
    links = link_layouts(grids, LEAST_LIKENESS, steps(80, 100))
    arrays: dict[str, NDArray] = {
        "oddness": evidence.oddness,
        "odd_segment": evidence.odd_segment,
        "first": links.first,
        "second": links.second,
        "likeness": links.likeness,
        "prints": np.array([one.photograph for one in findings], np.int8).reshape(-1, cells),
    }
    return arrays, class_statistics(segments, evidence, classes)


def _table(
    stems: Sequence[str], measures: Sequence[dict[str, float]], arrays: dict[str, NDArray]
) -> Table:
    links = Links(arrays["first"], arrays["second"], arrays["likeness"], len(stems))
    values = {
        name: np.array([one[name] for one in measures], dtype=np.float64) for name in PAIR_MEASURES
    }
    values["oddness"] = np.asarray(arrays["oddness"], np.float64)
    values["odd_segment"] = np.asarray(arrays["odd_segment"], np.float64)
    values[LIKENESS] = nearest_likeness(links)
    return Table(list(stems), values, links, arrays["prints"])
