"""Selections: which stems of a dataset a phase trains on.

A selection is a text file, <subset>.txt: one stem a line; empty lines, and lines that begin with
'# ', are skipped. All of a dataset stand in one folder: a run's own where it has some, as where the
dataset is read-only, else DIR/selections.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from data.folders import Pair, Photograph
from options.errors import UserError

Item = TypeVar("Item", bound=Pair | Photograph)

SUBSETS = ("total", "selection_1", "selection_2")


def selection_path(folder: Path, subset: str) -> Path:
    """Return where the stems of a subset are written."""
    return folder / f"{subset}.txt"


def selections_folder(input_path: Path | str, own: Path) -> Path:
    """Return the folder of the selections to train on: `own`, of a run, where it has any."""
    return own if _has_any(own) else Path(input_path).expanduser() / "selections"


def subsets_to_make(folder: Path, subsets: Sequence[str]) -> list[str]:
    """Return those of `subsets` that need a list of stems where the folder has no list at all.

    Where it has one, none: it may be a person's, and nothing replaces that unasked.
    """
    if _has_any(folder):
        return []
    return [subset for subset in dict.fromkeys(subsets) if subset != "total"]


def parse_stems(text: str) -> frozenset[str]:
    """Return the stems of a text in the form of a selection, each in Unicode's form NFC."""
    lines = (unicodedata.normalize("NFC", line.strip()) for line in text.splitlines())
    return frozenset(line for line in lines if line and line != "#" and not line.startswith("# "))


def read_selection(folder: Path, subset: str) -> frozenset[str] | None:
    """Return the stems of a subset, or None for all: 'total' where it has no file.

    Raises UserError where the subset has no such name, its file is missing, unreadable or empty.
    """
    if subset not in SUBSETS:
        raise UserError(f"a subset must be one of {', '.join(SUBSETS)}: {subset}")
    path = selection_path(folder, subset)
    if not path.is_file():
        if subset == "total":
            return None
        raise UserError(
            f"the subset {subset} needs its list of stems: {path} is not there; "
            f"make it with: python -m tools.filter_dataset --input_path DIR --output_path {folder}"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"a selection must be readable UTF-8 text: {path}: {error}") from None
    stems = parse_stems(text)
    if not stems:
        raise UserError(f"a selection must name at least one stem: {path} names none")
    return stems


def select_pairs(pairs: Sequence[Item], folder: Path, subset: str) -> list[Item]:
    """Return the pairs of a subset in the order given.

    Raises UserError as `read_selection` does, and where no pair is left.
    """
    stems = read_selection(folder, subset)
    if stems is None:
        return list(pairs)
    chosen = [pair for pair in pairs if pair.stem in stems]
    if not chosen:
        raise UserError(
            f"a selection must name stems of the dataset: none of the {len(stems)} in "
            f"{selection_path(folder, subset)} (such as {min(stems)}) is a good pair; lines are "
            "file names without suffix"
        )
    return chosen


def _has_any(folder: Path) -> bool:
    return any(selection_path(folder, subset).exists() for subset in SUBSETS)
