"""The check before training: decodes every pair and reports each fault with a fix.

report = check_pairs(find_pairs("DIR"), classes=29)
report.save(run_folder / "check.txt")
report.require(0.05)
train_on(report.good)
"""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.files import write_text
from data.folders import (
    Pair,
    PairFolder,
    Photograph,
    PhotographFolder,
    Unused,
    describe_unused,
    stem_of,
)
from data.images import PictureError, describe_fault, inspect_image
from data.labels import Colors, read_colored_label, read_instances, read_label
from data.workers import Progress, run_all
from options.errors import UserError
from options.json_text import parse_json
from options.paths import path_error, read_bytes, show_path

_ASPECT_TOLERANCE = 0.01
_CACHE_VERSION = 2
# Labels that are read in this process before helpers are started for the rest.
_FEW = 24
# Share of the labels with a color that must agree on its id, for the others to be the odd ones.
_AGREEMENT = 0.95

Item = TypeVar("Item", Pair, Photograph)


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file: what was expected, what was found, the fix."""

    stem: str
    path: Path
    rule: str
    value: str
    mend: str

    def __str__(self) -> str:
        return describe_fault(self.path, self.rule, self.value, self.mend)


@dataclass(frozen=True)
class Report(Generic[Item]):
    """What a check found; `checked` counts stems, paired or not, of what `noun` says.

    `unused` are files in the folders that are neither pictures nor known to be anything else.
    """

    good: list[Item]
    faults: list[Fault]
    notes: list[str]
    checked: int
    source: str = ""
    noun: str = "pair"
    unused: list[Unused] = field(default_factory=list)

    @property
    def bad_share(self) -> float:
        """Share of the stems that have a fault, 0 to 1."""
        return len({fault.stem for fault in self.faults}) / max(1, self.checked)

    def text(self) -> str:
        """Return the whole report, a line for each fault and each note."""
        bad = len({fault.stem for fault in self.faults})
        lines = [
            f"Checked {_count(self.checked, self.noun)}" + f" in {self.source}" * bool(self.source)
        ]
        lines.append(f"{len(self.good)} good, {bad} bad ({100 * self.bad_share:.2f}%)")
        if self.faults:
            lines += ["", "Left out:", *(f"  {fault}" for fault in self.faults)]
        if self.unused:
            lines += ["", f"Not used, {_count(len(self.unused), 'entry', 'entries')}:"]
            lines += [f"  {show_path(one.path)}: {one.reason}" for one in self.unused]
        if self.notes:
            lines += [
                "",
                "Notes (sizes are height x width):",
                *(f"  {note}" for note in self.notes),
            ]
        return "\n".join(lines) + "\n"

    def describe_unused(self) -> list[str]:
        """Return a line for each reason why files are not used."""
        return describe_unused(self.unused)

    def save(self, path: Path | str) -> None:
        """Write the report as UTF-8 text, atomically."""
        save_reports(path, [self])

    def require(self, bad_pair_limit: float, saved_at: Path | str | None = None) -> None:
        """Raise UserError if none is good, or a greater share than the limit is bad."""
        first = f" The first: {self.faults[0]}" if self.faults else ""
        where = f" The whole report: {saved_at}." if saved_at is not None else ""
        bad = len({fault.stem for fault in self.faults})
        found = f"got {bad} of {self.checked} that are bad.{first}"
        if not self.good:
            raise UserError(f"expected at least one good {self.noun}, {found}{where}")
        if self.bad_share > bad_pair_limit:
            raise UserError(
                f"expected at most {100 * bad_pair_limit:g}% of bad {self.noun}s, {found} Fix them "
                f"or raise --bad-pair-limit.{where}"
            )


def save_reports(path: Path | str, reports: Sequence[Report]) -> None:
    """Write reports one after the other as UTF-8 text, atomically; UserError if that fails."""
    try:
        # File names that are no valid Unicode are written with escapes.
        write_text(Path(path), "\n".join(report.text() for report in reports))
    except OSError as error:
        raise path_error(path, error, "a place for the report") from None


@dataclass(frozen=True)
class _Facts:
    """What the files of one pair hold, whatever is asked of them. Sizes are (height, width).

    `colors` are the color and the id of an indexed label's entries, see data.labels.
    """

    image_size: tuple[int, int] | None = None
    image_mode: str = ""
    image_turned: bool = False
    label_size: tuple[int, int] | None = None
    ids: tuple[int, ...] = ()
    colors: Colors = ()
    instance_size: tuple[int, int] | None = None
    broken: tuple[tuple[str, str, str, str], ...] = field(default=())


def check_pairs(
    pairs: PairFolder | Sequence[Pair],
    classes: int,
    unknown_label: int | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    *,
    instances: bool = False,
    size: tuple[int, int] | None = None,
    cache_path: Path | str | None = None,
    first_id: int = 0,
) -> Report[Pair]:
    """Read every pair whole and report which can be trained on.

    A pair is good if both files decode to the end, ids are first_id..first_id+classes-1 or
    `unknown_label`, and both have one size, or one aspect ratio within 1%. Colors of indexed labels
    must mean one id in all of them. Of a PairFolder, files without a partner and stems that several
    files share are faults too. With `instances` each pair needs an instance map
    of its label's size. `size` (height, width) is what training resizes to; other sizes are noted.
    `progress(done, total)` is called as pairs are read. With `cache_path`, pairs that were read
    well and whose files did not change since are not read again. Raises UserError if `instances`
    is asked for and no pair has one.
    """
    folder: PairFolder | None = None
    if isinstance(pairs, PairFolder):
        folder, pairs = pairs, pairs.pairs
    listed = list(pairs)
    if instances and listed and all(pair.instance_path is None for pair in listed):
        raise UserError(
            f"instances need a folder of instance maps: {listed[0].label_path.parent.parent} has "
            "none (COCO-Stuff's is train_inst); leave --instances out"
        )
    kinds = range(first_id, first_id + classes)
    cache = _Cache(cache_path, [_CACHE_VERSION, kinds.stop, instances])
    known = [cache.get(pair) for pair in listed]
    unread = [pair for pair, facts in zip(listed, known, strict=True) if facts is None]
    read = iter(
        run_all(_Inspector, (kinds.stop, instances), unread, workers=workers, progress=progress)
    )
    facts_of = [facts if facts is not None else next(read) for facts in known]
    cache.save(listed, facts_of)

    good: list[Pair] = []
    good_facts: list[_Facts] = []
    faults = _unpaired(folder) if folder is not None else []
    fix = _explain_ids({one for facts in facts_of for one in facts.ids}, kinds, unknown_label)
    conflicts = find_color_conflicts(
        [(pair.label_path, facts.colors) for pair, facts in zip(listed, facts_of, strict=True)]
    )
    for pair, facts in zip(listed, facts_of, strict=True):
        found = _judge(pair, facts, kinds, unknown_label, instances, fix)
        if pair.label_path in conflicts:
            found.append(conflicts[pair.label_path])
        faults += found
        if not found:
            good.append(pair)
            good_facts.append(facts)
    stems = {pair.stem for pair in listed} | {fault.stem for fault in faults}
    return Report(
        good=good,
        faults=sorted(faults, key=lambda fault: (fault.stem, str(fault.path))),
        notes=_notes(good_facts, kinds, unknown_label, size),
        checked=len(stems),
        source=f"{folder.root}, {folder.form}" if folder is not None else "",
        unused=folder.unused if folder is not None else [],
    )


def recognize_first_id(
    folder: PairFolder, classes: int, unknown_label: int | None = None, workers: int = 2
) -> int:
    """Return 1 if the labels of photographs side by side with them count from 1, else 0.

    So do those of CMP facades. They do if no other reading is left: of the ids 1..classes the last
    occurs, and 0 does not. Labels that cannot be read are passed over.
    """
    if not folder.side_by_side:
        return 0
    labels = [pair.label_path for pair in folder.pairs]
    ids: set[int] = set()
    # Few labels tell as a rule that class 0 is there.
    for part in (labels[:_FEW], labels[_FEW:]):
        for found in run_all(_IdReader, (classes + 1,), part, workers=workers):
            ids.update(found)
        ids.discard(-1 if unknown_label is None else unknown_label)
        if ids and min(ids) == 0:
            return 0
    return int(bool(ids) and max(ids) == classes)


def find_color_conflicts(labels: Sequence[tuple[Path, Colors]]) -> dict[Path, Fault]:
    """Return the faults of labels in which a color is another id than in others of the dataset.

    An optimizer sorts each file's colors anew: the index is no id then, and no file tells it alone.
    """
    files: dict[int, dict[int, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path, colors in labels:
        for color, one in colors:
            files[color][one].append(path)
    faults: dict[Path, Fault] = {}
    for color, by_id in sorted(files.items()):
        if len(by_id) == 1:
            continue
        usual = max(by_id, key=lambda one: len(by_id[one]))
        agreed = len(by_id[usual]) >= _AGREEMENT * sum(map(len, by_id.values()))
        for one, paths in by_id.items():
            if agreed and one == usual:
                continue
            other = usual if one != usual else next(key for key in by_id if key != one)
            rgb = (color >> 16, color >> 8 & 255, color & 255)
            partner = show_path(by_id[other][0].name)
            found = f"color {rgb} as id {one}, and as id {other} in {partner}"
            fix = "its indices are no ids: save it as an 8-bit gray PNG of class ids"
            rule = "a color that is one id in all labels"
            for path in paths:
                faults.setdefault(path, Fault(stem_of(path), path, rule, found, fix))
    return faults


def check_photographs(
    folder: PhotographFolder,
    workers: int = 2,
    progress: Progress | None = None,
    *,
    size: tuple[int, int] | None = None,
    cache_path: Path | str | None = None,
) -> Report[Photograph]:
    """Read every photograph of a folder whole and report which can be trained on.

    Stems that several files share are faults too. The rest as of `check_pairs`.
    """
    listed = folder.photographs
    cache = _Cache(cache_path, [_CACHE_VERSION, "photographs"])
    known = [cache.get(photograph) for photograph in listed]
    unread = [one for one, facts in zip(listed, known, strict=True) if facts is None]
    read = iter(run_all(_PhotographInspector, (), unread, workers=workers, progress=progress))
    facts_of = [facts if facts is not None else next(read) for facts in known]
    cache.save(listed, facts_of)
    faults = _shared_stems(folder.duplicates)
    for photograph, facts in zip(listed, facts_of, strict=True):
        faults += [Fault(photograph.stem, Path(path), *rest) for path, *rest in facts.broken]
    good = [(one, facts) for one, facts in zip(listed, facts_of, strict=True) if not facts.broken]
    return Report(
        good=[photograph for photograph, _ in good],
        faults=sorted(faults, key=lambda fault: (fault.stem, str(fault.path))),
        notes=_photograph_notes([facts for _, facts in good], size),
        checked=len(listed) + len(folder.duplicates),
        source=str(folder.root),
        noun="photograph",
        unused=folder.unused,
    )


class _IdReader:
    """Reads the ids of a label, in whatever process; none of one that cannot be read."""

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def __call__(self, path: Path) -> list[int]:
        try:
            return _ids_of(read_label(path, self.classes))
        except PictureError:
            return []


class _PhotographInspector:
    """Reads a photograph, in whatever process."""

    def __call__(self, photograph: Photograph) -> _Facts:
        found, broken = _inspect(photograph.path)
        return _Facts(**found, broken=broken)


def _inspect(path: Path) -> tuple[dict[str, Any], tuple[tuple[str, str, str, str], ...]]:
    """The facts of a photograph, and its fault where it has one."""
    try:
        image = inspect_image(path)
    except PictureError as error:
        return {}, ((str(error.path), error.rule, error.value, error.mend),)
    return {
        "image_size": (image.height, image.width),
        "image_mode": image.mode,
        "image_turned": image.turned,
    }, ()


class _Inspector:
    """Reads the files of a pair, in whatever process."""

    def __init__(self, classes: int, instances: bool) -> None:
        self.classes = classes
        self.instances = instances

    def __call__(self, pair: Pair) -> _Facts:
        found, broken_image = _inspect(pair.image_path)
        broken = list(broken_image)
        try:
            label, found["colors"] = read_colored_label(pair.label_path, self.classes)
            found["label_size"] = label.shape
            found["ids"] = tuple(_ids_of(label))
        except PictureError as error:
            broken.append((str(error.path), error.rule, error.value, error.mend))
        if self.instances and pair.instance_path is not None:
            try:
                found["instance_size"] = read_instances(pair.instance_path).shape
            except PictureError as error:
                broken.append((str(error.path), error.rule, error.value, error.mend))
        return _Facts(**found, broken=tuple(broken))


def _ids_of(label: NDArray[np.int32]) -> list[int]:
    return list(np.flatnonzero(np.bincount(label.ravel())).tolist())


def _allowed(kinds: range, unknown_label: int | None) -> str:
    return f"ids {kinds.start}..{kinds.stop - 1}" + (
        f" or {unknown_label}" if unknown_label is not None else ""
    )


def _explain_ids(ids: set[int], kinds: range, unknown_label: int | None) -> str:
    """Return the fix for ids outside `kinds`: the likely cause in a dataset with all these ids."""
    known = ids - {unknown_label}
    wrong = sorted(one for one in known if one not in kinds)
    if not wrong:
        return ""
    if wrong[-1] < kinds.start:
        return f"give --unknown-label {wrong[-1]} if that marks unknown, else fix the label"
    classes, most = len(kinds), max(known)
    fix = _explain_pattern(known, kinds)
    if fix:
        return fix
    spread = [index * 255 / max(1, classes - 1) for index in range(classes)]
    if len(known) > 2 and any(known <= set(map(to_int, spread)) for to_int in (math.floor, round)):
        return f"the ids are spread over 0..255, for the eye: save 0..{classes - 1} themselves"
    if unknown_label is None and len(known) > 2:
        fix = _explain_pattern(known - {255}, kinds)
        if fix:
            return f"{fix}, and --unknown-label 255 if that marks unknown"
    if len(known) > max(64, 4 * classes):
        return "so many ids are shades of a picture, not classes: take the labels themselves"
    others = [one for one in known if one < wrong[-1]]
    if unknown_label is None and wrong[-1] == 255 and len(wrong) == 1:
        return "give --unknown-label 255 if that marks unknown, else fix the label"
    fix = f"fix the label, or give --classes {most + 1 - kinds.start}"
    if unknown_label is None and (not others or wrong[-1] > max(others) + 1):
        fix += f", or --unknown-label {wrong[-1]} if that marks unknown"
    return fix


def _explain_pattern(ids: set[int], kinds: range) -> str:
    """Return the fix for ids that follow a rule of their own, '' for others."""
    least, most = min(ids), max(ids)
    classes = len(kinds)
    if kinds.start == 0 and most == classes:
        if least >= 1:
            return "the ids count from 1: give --first-id 1"
        return (
            "give --first-id 1 --unknown-label 0 if 0 marks unknown, else fix the label, or give "
            f"--classes {most + 1}"
        )
    step = math.gcd(*ids)
    if step > 1 and most >= classes > most // step and (len(ids) > 2 or step >= 17):
        return (
            f"all ids are multiples of {step}, as if stretched for the eye: divide them by {step}"
        )
    return ""


def _judge(
    pair: Pair,
    facts: _Facts,
    kinds: range,
    unknown_label: int | None,
    instances: bool,
    fix: str,
) -> list[Fault]:
    faults = [Fault(pair.stem, Path(path), *rest) for path, *rest in facts.broken]
    wrong = [one for one in facts.ids if one not in kinds and one != unknown_label]
    if wrong:
        ids = ", ".join(map(str, wrong[:5])) + ", ..." * (len(wrong) > 5)
        rule = _allowed(kinds, unknown_label)
        faults.append(Fault(pair.stem, pair.label_path, rule, f"id {ids}", fix))
    if facts.image_size and facts.label_size and not _alike(facts.image_size, facts.label_size):
        mend = "give the pair one size"
        if facts.image_turned:
            mend += ". The photograph is turned by its EXIF orientation, which may be wrong"
        faults.append(
            Fault(
                pair.stem,
                pair.label_path,
                "its photograph's size (height x width) or aspect ratio",
                f"label {_size(facts.label_size)}, photograph {_size(facts.image_size)}",
                mend,
            )
        )
    if instances:
        rule = "an instance map of its label's size"
        if pair.instance_path is None:
            mend = "add the map, or leave --instances out"
            faults.append(Fault(pair.stem, pair.label_path, rule, "none", mend))
        elif facts.instance_size and facts.label_size and facts.instance_size != facts.label_size:
            value = f"map {_size(facts.instance_size)}, label {_size(facts.label_size)}"
            faults.append(Fault(pair.stem, pair.instance_path, rule, value, "make the map anew"))
    return faults


def _unpaired(folder: PairFolder) -> list[Fault]:
    reason_of = {stem_of(one.path): one for one in folder.unused}
    faults = []
    for paths, partner in (
        (folder.images_without_label, "label"),
        (folder.labels_without_image, "photograph"),
    ):
        for path in paths:
            rule = f"a partner: a {partner} of the same stem"
            found, fix = "none", f"add the {partner} or remove this file"
            other = reason_of.get(stem_of(path))
            if other is not None:
                reason, _, convert = other.reason.partition("; ")
                found = f"{show_path(other.path.name)}, {reason}"
                fix = convert or f"give the {partner} its own suffix"
            faults.append(Fault(stem_of(path), path, rule, found, fix))
    return faults + _shared_stems(folder.duplicates)


def _shared_stems(duplicates: Mapping[str, Sequence[Path]]) -> list[Fault]:
    faults = []
    for stem, paths in duplicates.items():
        names = ", ".join(show_path(path.name) for path in paths)
        fix = "keep one and rename or remove the others"
        faults.append(Fault(stem, paths[0], "one file for a stem", names, fix))
    return faults


def _notes(
    facts: Sequence[_Facts], kinds: range, unknown_label: int | None, size: tuple[int, int] | None
) -> list[str]:
    unequal: Counter[tuple[tuple[int, int], tuple[int, int]]] = Counter()
    ids: set[int] = set()
    for one in facts:
        assert one.image_size is not None and one.label_size is not None
        if one.image_size != one.label_size:
            unequal[one.image_size, one.label_size] += 1
        ids.update(one.ids)
    notes = _photograph_notes(facts, size)
    for (image, label), number in unequal.most_common(8):
        notes.append(
            f"{_count(number, 'label')} of {_size(label)} beside a photograph of {_size(image)}"
        )
    seen = {one for one in ids if one in kinds and one != unknown_label}
    if kinds.start:
        notes.append(f"ids {kinds.start}..{kinds.stop - 1} are read as 0..{len(kinds) - 1}")
    if ids:
        note = f"{len(seen)} of {_count(len(kinds), 'class', 'classes')} occur"
        if unknown_label is not None:
            note += f"; unknown ({unknown_label}) does" + " not" * (unknown_label not in ids)
        notes.append(note)
    return notes


def _photograph_notes(facts: Iterable[_Facts], size: tuple[int, int] | None) -> list[str]:
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    turned = 0
    for one in facts:
        assert one.image_size is not None
        sizes[one.image_size] += 1
        if one.image_mode != "RGB":
            modes[one.image_mode] += 1
        turned += one.image_turned
    notes = []
    if size is not None:
        others = [(old, n) for old, n in sizes.most_common() if old != size]
        for old, number in others[:8]:
            stretch = max(_ratio(old, size), 1 / _ratio(old, size)) - 1
            note = f"{_count(number, 'photograph')} of {_size(old)} resized to {_size(size)}"
            if stretch > _ASPECT_TOLERANCE:
                note += f", stretched by {100 * stretch:.0f}%"
            notes.append(note)
        if others[8:]:
            rest = sum(number for _, number in others[8:])
            notes.append(
                f"{_count(rest, 'photograph')} of {len(others) - 8} other sizes resized too"
            )
    for mode, number in modes.most_common():
        notes.append(f"{_count(number, 'photograph')} of mode {mode} read as RGB")
    if turned:
        notes.append(f"{_count(turned, 'photograph')} turned as the EXIF orientation says")
    return notes


class _Cache:
    """Facts of whole items by their files' paths, sizes and times, in one JSON file.

    `form` is what was asked for: facts of another form are read anew.
    """

    def __init__(self, path: Path | str | None, form: list[Any]) -> None:
        self._path = Path(path) if path is not None else None
        self._form = form
        self._entries: dict[str, Any] = {}
        self._keys: dict[str, Any] = {}
        # A cache that is missing, damaged or of other settings is no cache; nothing is lost.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if self._path is not None:
                stored = parse_json(read_bytes(self._path))
                if stored["form"] == self._form:
                    self._entries = dict(stored["pairs"])

    def get(self, pair: Pair | Photograph) -> _Facts | None:
        if self._path is None:
            return None
        key = self._keys[pair.stem] = _stamp(pair)
        entry = self._entries.get(pair.stem)
        try:
            if key is None or entry is None or entry[0] != key:
                return None
            facts: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in entry[1].items()
            }
            return _Facts(**facts)
        except (TypeError, AttributeError, LookupError):
            return None

    def save(self, pairs: Iterable[Pair | Photograph], facts_of: Iterable[_Facts]) -> None:
        if self._path is None:
            return
        entries = {
            pair.stem: [self._keys[pair.stem], asdict(facts)]
            for pair, facts in zip(pairs, facts_of, strict=True)
            if not facts.broken and self._keys[pair.stem] is not None
        }
        stored = json.dumps({"form": self._form, "pairs": entries}, separators=(",", ":"))
        # Without it the next start reads the files again, nothing worse.
        with contextlib.suppress(OSError):
            write_text(self._path, stored)


def _stamp(pair: Pair | Photograph) -> list[list[Any]] | None:
    paths: list[Path | None]
    if isinstance(pair, Photograph):
        paths = [pair.path]
    else:
        paths = [pair.image_path, pair.label_path, pair.instance_path]
    try:
        stats = [(path, path.stat()) for path in paths if path is not None]
    except OSError:
        return None
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def _alike(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one == other or abs(_ratio(one, other) - 1) <= _ASPECT_TOLERANCE


def _ratio(one: tuple[int, int], other: tuple[int, int]) -> float:
    return one[1] * other[0] / (one[0] * other[1])


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
