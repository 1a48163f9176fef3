"""Selections: the stems of a dataset that a phase trains on.

A selection is a text file, <subset>.txt, with one stem per line. Empty lines and lines that begin
with '# ' are skipped. A name that a plain line cannot hold is written as a JSON string: "a\\nb".
All selections of a dataset are in one folder: DIR/selections, or the run folder's selections if it
has any (for read-only datasets).
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

from data.folders import Pair, Photo
from data.listing import IMAGE_SUFFIXES
from options.errors import UserError
from options.json_text import parse_json
from options.paths import exists, expand, is_file, read_file, show_path
from options.schedule import SUBSETS

Item = TypeVar("Item", bound=Pair | Photo)

# Names shown per reason why names match no pair.
_SHOWN = 3
# Characters that editors treat as a line end or hide, and characters that UTF-8 lacks.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")


@dataclass(frozen=True)
class Missed:
    """Names of a list that match no good pair: `missed` of `listed`, and the reasons.

    bad: how many of the missed names are those of pairs with a fault.
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
    """Return the path of a subset's list."""
    return folder / f"{subset}.txt"


def selections_folder(input_path: Path | str, own: Path) -> Path:
    """Return the folder of the selections: `own` (of the run) if it has any, else the dataset's."""
    return own if _has_any(own) else expand(input_path) / "selections"


def subsets_to_make(folder: Path, subsets: Sequence[str]) -> list[str]:
    """Return those of `subsets` that need a list, if the folder has no list at all.

    Returns none otherwise: the list may be the user's, which is never replaced unasked.
    """
    if _has_any(folder):
        return []
    return [subset for subset in dict.fromkeys(subsets) if subset != "total"]


def stem_to_line(stem: str) -> str:
    """Return the line that `line_to_stem` reads as this stem, for any characters."""
    if not _UNSAFE.search(stem) and line_to_stem(stem) == stem:
        return stem
    return json.dumps(stem)


def line_to_stem(line: str) -> str:
    """Return the stem on a line of a list, in Unicode NFC; '' if there is none."""
    line = line.strip()
    if line == "#" or line.startswith("# "):
        return ""
    return unicodedata.normalize("NFC", unquote(line))


def stem_to_cell(stem: str) -> str:
    """Return the CSV cell that `unquote` reads as this stem.

    A name that UTF-8 cannot encode becomes a JSON string.
    """
    written = stem.encode("utf-8", "ignore").decode()
    return stem if written == unquote(stem) == stem else json.dumps(stem)


def unquote(text: str) -> str:
    """Return the text of a JSON string, any other text unchanged."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        # A name may have quotes at both ends by chance.
        with contextlib.suppress(ValueError):
            return str(parse_json(text))
    return text


def write_stems(stems: Iterable[str]) -> str:
    """Return the text of a selection, which `parse_stems` reads as the same stems."""
    return "".join(f"{stem_to_line(stem)}\n" for stem in stems)


def parse_stems(text: str) -> frozenset[str]:
    """Return the stems of the text of a selection."""
    # Not splitlines: names may contain the other line ends that it knows.
    stems = (line_to_stem(line) for line in re.split(r"\r\n|\r|\n", text))
    return frozenset(stem for stem in stems if stem)


def read_stems(path: Path) -> frozenset[str]:
    """Read a list of stems in UTF-8, or UTF-16 with a byte order mark; UserError for others."""
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
    """Return the stems of a subset, or None for all stems ('total' without a file).

    Raises UserError if there is no such subset, or if its file is missing, unreadable or empty.
    """
    if subset not in SUBSETS:
        raise UserError(f"subset: expected one of {', '.join(SUBSETS)}, got {subset!r}.")
    path = selection_path(folder, subset)
    if not is_file(path):
        if subset == "total" and not exists(path):
            return None
        raise UserError(
            f"{show_path(path)}: expected the list of stems of {subset}, got nothing there. Create "
            f"it: python -m tools.filter_dataset --input_path DIR --output_path {folder}"
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
            "list or create it again with tools.filter_dataset."
        )
    return chosen


def find_misses(
    pairs: Sequence[Pair | Photo], folder: Path, subset: str, bad: Collection[str] = ()
) -> Missed | None:
    """Return the names of a subset's list that match none of `pairs`, or None if all match.

    bad: stems of pairs with a fault. Raises UserError as `read_selection` does.
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
    """Raise UserError if more than the share `limit` of a list's names matches no pair at all."""
    if missed.missed - missed.bad > limit * missed.listed:
        raise UserError(
            f"{missed}. Expected at most {100 * limit:g}% (--list-miss-limit). Correct the list, "
            "create it again with tools.filter_dataset, or raise the limit."
        )


def explain_misses(
    missed: Iterable[str], pairs: Sequence[Pair | Photo], bad: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the likely reasons why names match no pair, with counts and some names."""
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
        return "of bad pairs"
    base = re.split(r"[/\\]", name)[-1]
    stem, dot, suffix = base.rpartition(".")
    bare = stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else base
    if bare in known | broken:
        return "with a suffix" if base == name else "with a folder"
    if _fold(bare) in folded:
        return "with another spelling or copy number"
    if "," in name and name.partition(",")[0].strip('"') in known:
        return "with more than a name on the line"
    return "not in this dataset"


def _fold(name: str) -> str:
    """Normalize what users and programs change in names: case, spaces, width, 'copy', '(2)'."""
    folded = "".join(unicodedata.normalize("NFKC", name).casefold().split())
    return re.sub(r"(-?copy|-?副本|\(\d+\))+$", "", folded) or folded


def _has_any(folder: Path) -> bool:
    return any(exists(selection_path(folder, subset)) for subset in SUBSETS)
