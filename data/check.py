"""The check before training: decodes every pair or photo and reports each fault with a fix.

report = check_pairs(find_pairs("DIR"), classes=29)
report.save(run_folder / "check.txt")
report.require(0.05)
train_on(report.good)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic

from data.files import write_text
from data.folders import Pair, PairFolder, Photo, PhotoFolder
from data.images import ImageFileError, describe_fault
from data.inspection import Facts, Item, Size, inspect_pairs, inspect_photos
from data.label_ids import explain_ids, find_color_conflicts, show_ids
from data.listing import Unused, describe_unused, stem_of
from data.workers import Progress
from options.errors import UserError
from options.paths import path_error, show_path

_ASPECT_TOLERANCE = 0.01
# Sizes that are noted one by one; the others are counted.
_SHOWN_SIZES = 8


@dataclass(frozen=True)
class Fault:
    """A fault of one file: the expected content (`rule`), the actual one (`value`), the fix."""

    stem: str
    path: Path
    rule: str
    value: str
    fix: str

    def __str__(self) -> str:
        return describe_fault(self.path, self.rule, self.value, self.fix)


@dataclass(frozen=True)
class Report(Generic[Item]):
    """The result of a check.

    checked: number of stems, with or without a partner. noun: the name of one item. unused:
    entries of the folders that are not images.
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
        """Return the full report, one line per fault and per note."""
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
        """Return one line per reason why entries are not used."""
        return describe_unused(self.unused)

    def save(self, path: Path | str) -> None:
        """Write the report as UTF-8 text, atomically."""
        save_reports(path, [self])

    def require(self, bad_pair_limit: float, saved_at: Path | str | None = None) -> None:
        """Raise UserError if no item is good, or if the share of bad ones exceeds the limit."""
        first = f" The first: {self.faults[0]}" if self.faults else ""
        where = f" The full report: {saved_at}." if saved_at is not None else ""
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
    """Write several reports as one UTF-8 text, atomically; UserError if that fails."""
    try:
        # File names that are not valid Unicode are written with escapes.
        write_text(Path(path), "\n".join(report.text() for report in reports))
    except OSError as error:
        raise path_error(path, error, "a place for the report") from None


def check_pairs(
    pairs: PairFolder | Sequence[Pair],
    classes: int,
    unknown_label: int | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    *,
    instances: bool = False,
    size: Size | None = None,
    cache_path: Path | str | None = None,
    first_id: int = 0,
) -> Report[Pair]:
    """Decode every pair and report which can be trained on.

    A pair is good if both files decode to the end, its ids are first_id..first_id+classes-1 or
    `unknown_label`, and both files have one size, or one aspect ratio within 1%. A color of indexed
    labels must mean one id in all of them. In a PairFolder, files without a partner and stems that
    several files share are faults too.

    instances: each pair needs an instance map of its label's size. size: (height, width) that
    training resizes to, for the notes. progress: called as `progress(done, total)`. cache_path:
    file of the results; good pairs whose files did not change are not read again.

    Raises UserError if `instances` is set and no pair has an instance map.
    """
    folder: PairFolder | None = None
    if isinstance(pairs, PairFolder):
        folder, pairs = pairs, pairs.pairs
    listed = list(pairs)
    if instances and listed and all(pair.instance_path is None for pair in listed):
        raise UserError(
            f"{listed[0].label_path.parent.parent}: expected a folder of instance maps (as "
            "COCO-Stuff's train_inst), got none. Add it or remove --instances."
        )
    class_ids = range(first_id, first_id + classes)
    facts_of = inspect_pairs(listed, class_ids.stop, instances, workers, progress, cache_path)
    fix = explain_ids({one for facts in facts_of for one in facts.ids}, class_ids, unknown_label)
    conflicts = find_color_conflicts(
        [(pair.label_path, facts.colors) for pair, facts in zip(listed, facts_of, strict=True)]
    )
    good: list[Pair] = []
    good_facts: list[Facts] = []
    faults = _unpaired_files(folder) if folder is not None else []
    for pair, facts in zip(listed, facts_of, strict=True):
        found = _pair_faults(pair, facts, class_ids, unknown_label, instances, fix)
        if pair.label_path in conflicts:
            found.append(_as_fault(pair.stem, conflicts[pair.label_path]))
        faults += found
        if not found:
            good.append(pair)
            good_facts.append(facts)
    stems = {pair.stem for pair in listed} | {fault.stem for fault in faults}
    return Report(
        good=good,
        faults=sorted(faults, key=lambda fault: (fault.stem, str(fault.path))),
        notes=_pair_notes(good_facts, class_ids, unknown_label, size),
        checked=len(stems),
        source=f"{folder.root}, {folder.form}" if folder is not None else "",
        unused=folder.unused if folder is not None else [],
    )


def check_photos(
    folder: PhotoFolder,
    workers: int = 2,
    progress: Progress | None = None,
    *,
    size: Size | None = None,
    cache_path: Path | str | None = None,
) -> Report[Photo]:
    """Decode every photo of a folder and report which can be trained on.

    Stems that several files share are faults too. Arguments as in `check_pairs`.
    """
    facts_of = inspect_photos(folder.photos, workers, progress, cache_path)
    faults = _shared_stems(folder.duplicates)
    for photo, facts in zip(folder.photos, facts_of, strict=True):
        faults += [Fault(photo.stem, Path(path), *rest) for path, *rest in facts.broken]
    good = [pair for pair in zip(folder.photos, facts_of, strict=True) if not pair[1].broken]
    return Report(
        good=[photo for photo, _ in good],
        faults=sorted(faults, key=lambda fault: (fault.stem, str(fault.path))),
        notes=_photo_notes([facts for _, facts in good], size),
        checked=len(folder.photos) + len(folder.duplicates),
        source=str(folder.root),
        noun="photo",
        unused=folder.unused,
    )


def _as_fault(stem: str, error: ImageFileError) -> Fault:
    return Fault(stem, error.path, error.rule, error.value, error.fix)


def _pair_faults(
    pair: Pair,
    facts: Facts,
    class_ids: range,
    unknown_label: int | None,
    instances: bool,
    fix: str,
) -> list[Fault]:
    """Return the faults of a pair; `fix` is that of wrong ids."""
    faults = [Fault(pair.stem, Path(path), *rest) for path, *rest in facts.broken]
    wrong = [one for one in facts.ids if one not in class_ids and one != unknown_label]
    if wrong:
        ids = ", ".join(map(str, wrong[:5])) + ", ..." * (len(wrong) > 5)
        rule = show_ids(class_ids, unknown_label)
        faults.append(Fault(pair.stem, pair.label_path, rule, f"id {ids}", fix))
    if facts.image_size and facts.label_size and not _agree(facts.image_size, facts.label_size):
        fix = "give both files one size"
        if facts.image_rotated:
            fix += ". The photo is rotated by its EXIF orientation, which may be wrong"
        rule = "its photo's size (height x width) or aspect ratio"
        value = f"label {_show(facts.label_size)}, photo {_show(facts.image_size)}"
        faults.append(Fault(pair.stem, pair.label_path, rule, value, fix))
    if instances:
        rule = "an instance map of its label's size"
        if pair.instance_path is None:
            fix = "add the map, or remove --instances"
            faults.append(Fault(pair.stem, pair.label_path, rule, "none", fix))
        elif facts.instance_size and facts.label_size and facts.instance_size != facts.label_size:
            value = f"map {_show(facts.instance_size)}, label {_show(facts.label_size)}"
            fix = "export the map again"
            faults.append(Fault(pair.stem, pair.instance_path, rule, value, fix))
    return faults


def _unpaired_files(folder: PairFolder) -> list[Fault]:
    """Return the faults of files without a partner, and of stems that several files share."""
    reason_of = {stem_of(one.path): one for one in folder.unused}
    faults = []
    for paths, partner in (
        (folder.images_without_label, "label"),
        (folder.labels_without_image, "photo"),
    ):
        for path in paths:
            rule = f"a partner: a {partner} of the same stem"
            found, fix = "none", f"add the {partner} or remove this file"
            other = reason_of.get(stem_of(path))
            if other is not None:
                reason, _, convert = other.reason.partition("; ")
                found = f"{show_path(other.path.name)}, {reason}"
                fix = convert or f"give the {partner} the suffix of its format"
            faults.append(Fault(stem_of(path), path, rule, found, fix))
    return faults + _shared_stems(folder.duplicates)


def _shared_stems(duplicates: Mapping[str, Sequence[Path]]) -> list[Fault]:
    faults = []
    for stem, paths in duplicates.items():
        names = ", ".join(show_path(path.name) for path in paths)
        fix = "keep one and rename or remove the others"
        faults.append(Fault(stem, paths[0], "one file per stem", names, fix))
    return faults


def _pair_notes(
    facts: Sequence[Facts], class_ids: range, unknown_label: int | None, size: Size | None
) -> list[str]:
    unequal: Counter[tuple[Size, Size]] = Counter()
    ids: set[int] = set()
    for one in facts:
        assert one.image_size is not None and one.label_size is not None
        if one.image_size != one.label_size:
            unequal[one.image_size, one.label_size] += 1
        ids.update(one.ids)
    notes = _photo_notes(facts, size)
    for (photo, label), number in unequal.most_common(_SHOWN_SIZES):
        notes.append(f"{_count(number, 'label')} of {_show(label)} with a photo of {_show(photo)}")
    seen = {one for one in ids if one in class_ids and one != unknown_label}
    if class_ids.start:
        last = len(class_ids) - 1
        notes.append(f"ids {class_ids.start}..{class_ids.stop - 1} are read as 0..{last}")
    if ids:
        note = f"{len(seen)} of {_count(len(class_ids), 'class', 'classes')} occur"
        if unknown_label is not None:
            note += f"; unknown ({unknown_label}) does" + " not" * (unknown_label not in ids)
        notes.append(note)
    return notes


def _photo_notes(facts: Iterable[Facts], size: Size | None) -> list[str]:
    sizes: Counter[Size] = Counter()
    modes: Counter[str] = Counter()
    rotated = 0
    for one in facts:
        assert one.image_size is not None
        sizes[one.image_size] += 1
        if one.image_mode != "RGB":
            modes[one.image_mode] += 1
        rotated += one.image_rotated
    notes = []
    if size is not None:
        others = [(old, n) for old, n in sizes.most_common() if old != size]
        for old, number in others[:_SHOWN_SIZES]:
            stretch = max(_ratio(old, size), 1 / _ratio(old, size)) - 1
            note = f"{_count(number, 'photo')} of {_show(old)} resized to {_show(size)}"
            if stretch > _ASPECT_TOLERANCE:
                note += f", stretched by {100 * stretch:.0f}%"
            notes.append(note)
        rest = others[_SHOWN_SIZES:]
        if rest:
            number = sum(number for _, number in rest)
            notes.append(f"{_count(number, 'photo')} of {len(rest)} other sizes resized too")
    for mode, number in modes.most_common():
        notes.append(f"{_count(number, 'photo')} of mode {mode} read as RGB")
    if rotated:
        notes.append(f"{_count(rotated, 'photo')} rotated by the EXIF orientation")
    return notes


def _agree(one: Size, other: Size) -> bool:
    return one == other or abs(_ratio(one, other) - 1) <= _ASPECT_TOLERANCE


def _ratio(one: Size, other: Size) -> float:
    return one[1] * other[0] / (one[0] * other[1])


def _show(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
