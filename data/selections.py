"""Selections: which stems of a dataset a phase trains on.

A selection is a text file, <subset>.txt: one stem per line; empty lines, and lines that begin with
'# ', are skipped. A name that would not come back from a line of its own stands there as a JSON
string: "a\\nb". All of a dataset stand in one folder: a run's own if it has some, as when the
dataset is read-only, else DIR/selections.
"""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from data.folders import PICTURE_SUFFIXES, Pair, Photograph
from options.errors import UserError
from options.json_text import parse_json
from options.paths import exists, expand, is_file, read_file, show_path

Item = TypeVar("Item", bound=Pair | Photograph)

SUBSETS = ("total", "selection_1", "selection_2")
# Names that are shown for each reason why some match no pair.
_SHOWN = 3
# What an editor may show as the end of a line, or not show at all, and what UTF-8 has not.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")


@dataclass(frozen=True)
class Missed:
    """The names of one list that belong to no good pair: how many, of how many, and why.

    `bad` of the `missed` are names of pairs that were found and cannot be used.
    """

    path: Path
    missed: int
    listed: int
    reasons: tuple[str, ...]
    bad: int = 0

    def __str__(self) -> str:
        return (
            f"{show_path(self.path)}: {self.missed} of {self.listed} names match no pair: "
            f"{'; '.join(self.reasons)}"
        )


def selection_path(folder: Path, subset: str) -> Path:
    """Return where the stems of a subset are written."""
    return folder / f"{subset}.txt"


def selections_folder(input_path: Path | str, own: Path) -> Path:
    """Return the folder of the selections to train on: `own`, of a run, if it has any."""
    return own if _has_any(own) else expand(input_path) / "selections"


def subsets_to_make(folder: Path, subsets: Sequence[str]) -> list[str]:
    """Return those of `subsets` that need a list of stems, if the folder has no list at all.

    If it has one, none: it may be a person's, and nothing replaces that unasked.
    """
    if _has_any(folder):
        return []
    return [subset for subset in dict.fromkeys(subsets) if subset != "total"]


def stem_to_line(stem: str) -> str:
    """Return the line of a list that `line_to_stem` reads as this stem, whatever it holds."""
    if not _UNSAFE.search(stem) and line_to_stem(stem) == stem:
        return stem
    return json.dumps(stem)


def line_to_stem(line: str) -> str:
    """Return the stem, in Unicode's form NFC, that a line of a list names; '' if it names none."""
    line = line.strip()
    if line == "#" or line.startswith("# "):
        return ""
    return unicodedata.normalize("NFC", unquote(line))


def stem_to_cell(stem: str) -> str:
    """Return a stem as a cell of a CSV table, which `unquote` reads as this stem.

    CSV holds any name that UTF-8 does.
    """
    written = stem.encode("utf-8", "ignore").decode()
    return stem if written == unquote(stem) == stem else json.dumps(stem)


def unquote(text: str) -> str:
    """Return what a JSON string says, and any other text as it is."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        # A name may happen to have quotes at both ends.
        with contextlib.suppress(ValueError):
            return str(parse_json(text))
    return text


def write_stems(stems: Iterable[str]) -> str:
    """Return a text in the form of a selection, from which `parse_stems` reads the same stems."""
    return "".join(f"{stem_to_line(stem)}\n" for stem in stems)


def parse_stems(text: str) -> frozenset[str]:
    """Return the stems of a text in the form of a selection."""
    # Not splitlines: names may have its other ends of lines inside.
    stems = (line_to_stem(line) for line in re.split(r"\r\n|\r|\n", text))
    return frozenset(stem for stem in stems if stem)


def read_stems(path: Path) -> frozenset[str]:
    """Read a list of stems: UTF-8, or UTF-16 with its mark; raises UserError if it is not."""
    content = read_file(path, "a readable list of names")
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return parse_stems(content.decode(encoding))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{show_path(path)}: expected readable UTF-8 text, one name per line, got other bytes "
            f"in line {line}. Save it as UTF-8."
        ) from None


def read_selection(folder: Path, subset: str) -> frozenset[str] | None:
    """Return the stems of a subset, or None for all: 'total' if it has no file.

    Raises UserError if the subset has no such name, or its file is missing, unreadable or empty.
    """
    if subset not in SUBSETS:
        raise UserError(f"a subset must be one of {', '.join(SUBSETS)}: {subset}")
    path = selection_path(folder, subset)
    if not is_file(path):
        if subset == "total" and not exists(path):
            return None
        raise UserError(
            f"the subset {subset} needs its list of stems: {show_path(path)} is not there; make it "
            f"with: python -m tools.filter_dataset --input_path DIR --output_path {folder}"
        )
    stems = read_stems(path)
    if not stems:
        raise UserError(
            f"{show_path(path)}: expected at least one stem, got none. Write one per line."
        )
    return stems


def select_pairs(pairs: Sequence[Item], folder: Path, subset: str) -> list[Item]:
    """Return the pairs of a subset in the order given.

    Raises UserError as `read_selection` does, and if no pair is left.
    """
    stems = read_selection(folder, subset)
    if stems is None:
        return list(pairs)
    chosen = [pair for pair in pairs if pair.stem in stems]
    if not chosen:
        path = selection_path(folder, subset)
        missed = Missed(path, len(stems), len(stems), explain_misses(stems, pairs))
        raise UserError(
            f"{missed}. Expected file names of the dataset without folder and suffix. Correct the "
            "list or make it anew with tools.filter_dataset."
        )
    return chosen


def find_misses(
    pairs: Sequence[Pair | Photograph], folder: Path, subset: str, bad: Collection[str] = ()
) -> Missed | None:
    """Return the names of a subset's list that match none of `pairs`, or None if all do.

    bad: stems of files that were found and cannot be used, for the reason. Raises UserError as
    `read_selection` does.
    """
    stems = read_selection(folder, subset)
    known = {pair.stem for pair in pairs}
    missed = (stems or frozenset()) - known
    if not missed or stems is None:
        return None
    reasons = explain_misses(missed, pairs, bad)
    bad_names = len(missed & set(bad))
    return Missed(selection_path(folder, subset), len(missed), len(stems), reasons, bad_names)


def require_matches(missed: Missed, limit: float) -> None:
    """Raise UserError if a greater share of a list's names than `limit` matches no pair at all."""
    if missed.missed - missed.bad > limit * missed.listed:
        raise UserError(
            f"{missed}. Expected at most {100 * limit:g}% (--list-miss-limit). Correct the list, "
            "make it anew with tools.filter_dataset, or raise the limit."
        )


def explain_misses(
    missed: Iterable[str], pairs: Sequence[Pair | Photograph], bad: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the likely reasons why names match no pair, each with a count and some names."""
    known = {pair.stem for pair in pairs}
    broken = set(bad)
    folded = {_fold(stem): stem for stem in sorted(known | broken, reverse=True)}
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for name in sorted(missed):
        reason = _why_missed(name, known, broken, folded)
        counts[reason] += 1
        examples.setdefault(reason, []).append(show_path(name))
    return tuple(
        f"{count} {reason} ({', '.join(examples[reason][:_SHOWN])}{', ...' * (count > _SHOWN)})"
        for reason, count in counts.most_common()
    )


def _why_missed(name: str, known: set[str], broken: set[str], folded: dict[str, str]) -> str:
    if name in broken:
        return "of pairs that are bad"
    base = re.split(r"[/\\]", name)[-1]
    stem, dot, suffix = base.rpartition(".")
    bare = stem if dot and f".{suffix.lower()}" in PICTURE_SUFFIXES else base
    if bare in known | broken:
        return "with a suffix" if base == name else "with a folder"
    if _fold(bare) in folded:
        return "in another spelling or of another copy"
    if "," in name and name.partition(",")[0].strip('"') in known:
        return "with more than a name in the line"
    return "not in this dataset"


def _fold(name: str) -> str:
    """Fold what people and programs change in a name: case, spaces, width, 'copy', '(2)'."""
    folded = "".join(unicodedata.normalize("NFKC", name).casefold().split())
    return re.sub(r"(-?copy|-?副本|\(\d+\))+$", "", folded) or folded


def _has_any(folder: Path) -> bool:
    return any(exists(selection_path(folder, subset)) for subset in SUBSETS)
