"""Held-out pairs: never trained on, so that an accuracy on them tells how good a network is.

    rest, held_out = split_pairs(pairs, 0.1)
    validation = find_validation_pairs(Path("DIR"))     # the pairs in DIR/val, None without

The pairs in DIR/val are held out if there are any, else a fixed share of the training pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from data.folders import Pair, PairFolder, find_pairs
from options.errors import UserError
from options.paths import is_folder

VALIDATION = "val"
FRACTION = 0.1  # the default of --held-out


def find_validation_pairs(root: Path) -> PairFolder | None:
    """Find the pairs in DIR/val; None if it holds no pairs, such as test layouts alone."""
    folder = root / VALIDATION
    if not is_folder(folder):
        return None
    try:
        found = find_pairs(folder)
    except UserError:
        return None
    return found if found.pairs else None


def pairs_for_ceiling(root: Path, pairs: Sequence[Pair]) -> tuple[list[Pair], str]:
    """Return pairs that a segmenter trained on this dataset has not seen, and which they are.

    pairs: those of the dataset. The second result names the pairs in a note.
    """
    validation = find_validation_pairs(root)
    if validation is not None:
        return validation.pairs, f"pairs in {VALIDATION}"
    return split_pairs(pairs, FRACTION)[1], f"pairs that --held-out {FRACTION:g} leaves out"


def split_pairs(pairs: Sequence[Pair], fraction: float) -> tuple[list[Pair], list[Pair]]:
    """Split pairs into those to train on and about `fraction` of them, held out.

    A hash of the stem decides, so that a pair stays on its side when others are added. At least
    one pair is held out, and one stays, if `fraction` is above 0 and there are two.
    """
    ranks = {pair: _rank(pair.stem) for pair in pairs}
    if fraction <= 0 or len(pairs) < 2:
        return list(pairs), []
    lowest, highest = min(ranks.values()), max(ranks.values())
    held = [p for p in pairs if (ranks[p] < fraction or ranks[p] == lowest) and ranks[p] < highest]
    chosen = set(held)
    return [pair for pair in pairs if pair not in chosen], held


def _rank(stem: str) -> float:
    """A number from 0 to 1 that depends on the stem alone."""
    digest = hashlib.sha256(f"held out {stem}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "little") / 2**64
