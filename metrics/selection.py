"""Choices among images by measured numbers: a split of the layouts, variants, swaps in blocks.

wanted = best_variants(shares, start, margin=0.01)
swapped = swap_in_blocks(features, start, wanted, gains, photos)
swapped.choice                  # index of a variant per layout
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.frechet import Statistics, frechet_distance, statistics_of

BLOCK = 16  # images per swap at most; one evaluation of the set's distance decides about them
LEAST_BLOCKS = 32  # of few images there are as many decisions as images


def choosing_half(stems: Sequence[str]) -> NDArray[np.bool_]:
    """Return which layouts a choice may see (N,): half of them, rounded up; the others report.

    Those whose stems have the lowest SHA-256: a split at random, without a seed, that neither the
    order of the layouts nor their numbering moves.
    """
    digests = [hashlib.sha256(one.encode("utf-8", "surrogateescape")).digest() for one in stems]
    order = sorted(range(len(stems)), key=digests.__getitem__)
    first = np.zeros(len(stems), bool)
    first[order[: -(-len(stems) // 2)]] = True
    return first


def best_variants(
    shares: NDArray[np.floating], start: NDArray[np.integer], margin: float
) -> NDArray[np.int64]:
    """Return the variant with the highest share per layout (N,).

    shares: (V, N). start: variant per layout (N,), which stays unless the best one is higher by
    `margin` or more. Of equal ones the first is taken.
    """
    best = shares.argmax(axis=0)
    rows = np.arange(shares.shape[1])
    gain = shares[best, rows] - shares[start, rows]
    return np.where((best != start) & (gain >= margin), best, start).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Swaps:
    """The result of `swap_in_blocks`: variant per layout (N,), distances, numbers of blocks."""

    choice: NDArray[np.int64]
    before: float
    after: float
    kept: int
    tried: int


def swap_in_blocks(
    features: Sequence[NDArray[np.floating]],
    start: NDArray[np.integer],
    wanted: NDArray[np.integer],
    gains: NDArray[np.floating],
    photos: Statistics,
    block: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Swaps:
    """Swap images for those of other variants, as long as the set does not leave the photos.

    features: (N, D) per variant. start, wanted: variants per layout (N,). gains: (N,); the layouts
    that differ are swapped in blocks, those of the highest gain first. A block is kept if the
    Frechet distance of the whole set to `photos` falls or stays. block: images per block; None for
    a 32nd of the images to swap, 1 to 16.
    """
    stacked = np.stack([np.asarray(one) for one in features])  # (V, N, D)
    rows = np.arange(len(start))

    def distance(choice: NDArray[np.integer]) -> float:
        return frechet_distance(statistics_of(stacked[choice, rows]), photos)

    choice = np.asarray(start, np.int64).copy()
    before = after = distance(choice)
    order = np.argsort(-np.asarray(gains), kind="stable")
    order = order[wanted[order] != choice[order]]
    if block is None:
        block = min(max(1, len(order) // LEAST_BLOCKS), BLOCK)
    kept, blocks = 0, -(-len(order) // block)
    for number in range(blocks):
        part = order[number * block : (number + 1) * block]
        trial = choice.copy()
        trial[part] = wanted[part]
        found = distance(trial)
        if found <= after:
            choice, after, kept = trial, found, kept + 1
        if progress is not None:
            progress(number + 1, blocks)
    return Swaps(choice, before, after, kept, blocks)
