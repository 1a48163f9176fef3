"""The table of a selection: which run, and which seed, each layout's image comes from.

    {"table": {"a": "RUN", "b": "RUN2"}, "seeds": {"b": 3}}      as tools.select writes it
    {"b": "RUN2"}                                                 the table alone

A layout without an entry has the image of the main run, and of the seed in --seed.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.listing import listed
from options.errors import UserError, quote
from options.json_text import parse_json
from options.paths import read_file, show_path

MOST_SEED = 2**32 - 1


@dataclass(frozen=True)
class ImageTable:
    """Stem of a layout -> run, and stem -> seed, for those that have an entry."""

    runs: dict[str, str]
    seeds: dict[str, int] = field(default_factory=dict)


def read_table(path: Path, stems: Collection[str], runs: Sequence[str]) -> ImageTable:
    """Read a table, for layouts of these stems and for these runs.

    Raises UserError if the file cannot be read, names a stem twice, or names an unknown stem, run
    or seed.
    """
    content = _parse(path)
    if isinstance(content.get("table"), dict):
        table, seeds = content["table"], content.get("seeds", {})
    else:
        table, seeds = content, {}
    if not isinstance(seeds, dict):
        raise _error(path, "seeds by the stems of layouts", quote(str(seeds)), "Correct seeds")
    known = set(stems)
    for entries in (table, seeds):
        unknown = [stem for stem in _stems(path, entries) if stem not in known]
        if unknown:
            found = f"{len(unknown)} others ({listed(unknown)})"
            raise _error(path, "stems of the layouts", found, "Correct or remove them")
    for stem, run in table.items():
        if run not in runs:
            expected = " or ".join(runs)
            raise _error(
                path, f"{expected} for each layout", f"{quote(str(run))} for {show_path(stem)}",
                "Correct it, or name the run with --with",
            )  # fmt: skip
    for stem, seed in seeds.items():
        if type(seed) is not int or not 0 <= seed <= MOST_SEED:
            found = f"{quote(str(seed))} for {show_path(stem)}"
            raise _error(path, f"seeds from 0 to {MOST_SEED}", found, "Correct it")
    return ImageTable(
        dict(zip(_stems(path, table), table.values(), strict=True)),
        dict(zip(_stems(path, seeds), seeds.values(), strict=True)),
    )


def _parse(path: Path) -> dict[str, Any]:
    text = read_file(path, "a table, layout -> run")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise _twice(path, name)
            found[name] = value
        return found

    try:
        content = parse_json(text, object_pairs_hook=unique)
    except UserError:
        raise
    except ValueError as error:
        raise _error(path, "JSON", " ".join(str(error).split()), "Correct it") from None
    if not isinstance(content, dict):
        raise _error(path, 'a table {"stem": "run"}', type(content).__name__, "Correct it")
    return content


def _stems(path: Path, entries: dict[str, Any]) -> list[str]:
    """The stems in Unicode NFC, as those of layouts; UserError if two become equal."""
    stems = [unicodedata.normalize("NFC", name) for name in entries]
    stem, count = Counter(stems).most_common(1)[0] if stems else ("", 0)
    if count > 1:
        raise _twice(path, stem)
    return stems


def _twice(path: Path, name: str) -> UserError:
    return _error(path, "each layout once", f"{show_path(name)} twice", "Remove one of them")


def _error(path: Path, expected: str, found: str, fix: str) -> UserError:
    return UserError(f"{show_path(path)}: expected {expected}, got {found}. {fix}")
