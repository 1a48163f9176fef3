"""Layouts that are alike: how alike, in which groups, and who stays of a group.

links = link_layouts(grids)                # once for all thresholds
groups = group_layouts(links, 0.95)        # union-find
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

from data.cleaning.view import View
from data.transforms import resize_layout

GRID = (24, 32)
# Layouts less alike than this are no near-duplicates by any threshold.
LEAST_LIKENESS = 0.7
_BLOCK = 512
# Class shares are looked at in the whole grid first, then in this many cells.
_CELLS = (3, 4)


@dataclass(frozen=True)
class Links:
    """The strongest links between layouts: a maximum spanning forest of their likenesses.

    first, second: int32 (E,), numbers of layouts. likeness: float32 (E,). Whatever the threshold,
    these few links connect the same groups as all links above it.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    likeness: NDArray[np.float32]
    count: int


def layout_grid(view: View) -> NDArray[np.uint16]:
    """Return the ids at the centres of 24 x 32 cells, uint16 (768,)."""
    return resize_layout(view.layout, *GRID).astype(np.uint16).ravel()


def photograph_print(view: View) -> NDArray[np.int8]:
    """Return the photograph's pattern without its light, int8 (768,).

    L* shrunk to 24 x 32, less its Gaussian mean of 4 cells, divided by its standard deviation; in
    units of 1/32.
    """
    small = cv2.resize(view.lab[..., 0], GRID[::-1], interpolation=cv2.INTER_AREA)
    pattern = small - cv2.GaussianBlur(small, (0, 0), 4)
    pattern /= max(float(pattern.std()), 0.1)
    return np.clip(np.rint(pattern * 32), -127, 127).astype(np.int8).ravel()


def layout_likeness(one: NDArray[np.uint16], other: NDArray[np.uint16]) -> float:
    """Share of the 24 x 32 cells in which two layouts have the same class; 0..1."""
    return float((one == other).mean())


def photograph_likeness(prints: NDArray[np.int8]) -> NDArray[np.float32]:
    """Pearson's correlation of photographs' patterns, (n, 768) to (n, n); -1..1."""
    values = prints.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return values @ values.T


def link_layouts(
    grids: NDArray[np.uint16],
    least: float = LEAST_LIKENESS,
    progress: Callable[[int, int], None] | None = None,
) -> Links:
    """Find the strongest links of likeness `least` and more between layouts (M, 768).

    Exact: pairs are passed over only where the shares of their classes, in the whole or in 12
    cells, tell that they cannot be as alike as that.
    """
    count = len(grids)
    _, dense = np.unique(grids, return_inverse=True)
    dense = dense.reshape(grids.shape)
    kinds = int(dense.max(initial=0)) + 1
    # Bytes compare faster; over 256 classes in one dataset are rare.
    codes = dense.astype(np.uint8 if kinds <= 256 else np.uint16)
    whole = _shares(codes, kinds, (1, 1))
    cells = _shares(codes, kinds, _CELLS)
    # Sorted by the shares, likely partners come to lie in the same blocks; others fall out whole.
    order = np.argsort(whole.argmax(axis=1) * 1000 + whole.max(axis=1), kind="stable")
    codes, whole, cells = codes[order], whole[order], cells[order]
    limit = grids.shape[1] * (1 - least) if count else 0.0
    none = np.zeros(0, np.int32)
    kept = Links(none, none, np.zeros(0, np.float32), count)
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        ones, others = _candidates(whole, cells, start, end, limit)
        likeness = np.empty(len(ones), np.float32)
        for low in range(0, len(ones), 16384):
            part = np.s_[low : low + 16384]
            likeness[part] = (codes[ones[part]] == codes[others[part]]).mean(axis=1)
        alike = likeness >= least
        kept = _strongest(
            np.concatenate([kept.first, ones[alike]]),
            np.concatenate([kept.second, others[alike]]),
            np.concatenate([kept.likeness, likeness[alike]]),
            count,
        )
        if progress is not None:
            progress(end, count)
    return Links(
        order[kept.first].astype(np.int32),
        order[kept.second].astype(np.int32),
        kept.likeness,
        count,
    )


def nearest_likeness(links: Links) -> NDArray[np.float64]:
    """Return each layout's likeness to the one most like it, float64 (M,); 0 below the least."""
    best = np.zeros(links.count)
    np.maximum.at(best, links.first, links.likeness)
    np.maximum.at(best, links.second, links.likeness)
    return best


def group_layouts(links: Links, threshold: float) -> list[list[int]]:
    """Join layouts of likeness `threshold` and more (union-find); return groups of two and more.

    Members are sorted, and so are the groups by their first members.
    """
    sets = DisjointSet(range(links.count))
    # float32 of 0.95 is a little more or less than 0.95; a 768th is far more than that.
    strong = links.likeness >= threshold - 1e-6
    for one, other in zip(links.first[strong].tolist(), links.second[strong].tolist(), strict=True):
        sets.merge(one, other)
    return sorted(sorted(group) for group in sets.subsets() if len(group) > 1)


def choose_of_group(
    prints: NDArray[np.int8],
    quality: Sequence[float],
    few: int,
    same_photograph: float,
    sure: Sequence[bool] | None = None,
) -> list[int]:
    """Choose who stays of one group: the best, then the most different ones, `few` at most.

    Of photographs that are alike (correlation `same_photograph` and more, by union-find) only the
    best can stay. The rest are taken by farthest-first traversal: the next is the one whose highest
    correlation with the chosen, less a hundredth of its rank of quality (0 worst .. 1 best), is
    lowest. `sure` ones stay in any case.
    """
    count = len(quality)
    likeness = photograph_likeness(prints)
    sets = DisjointSet(range(count))
    for one, other in np.argwhere(np.triu(likeness >= same_photograph, 1)).tolist():
        sets.merge(one, other)
    surely = [bool(one) for one in sure] if sure is not None else [False] * count
    best_first = sorted(range(count), key=lambda item: (not surely[item], -quality[item], item))
    rank = np.zeros(count)
    rank[best_first] = np.linspace(1, 0, count)
    seen: set[int] = set()
    candidates = []
    for item in best_first:
        kind = sets[item]
        if kind not in seen or surely[item]:
            candidates.append(item)
        seen.add(kind)
    chosen = [item for item in candidates if surely[item]] or candidates[:1]
    rest = [item for item in candidates if item not in set(chosen)]
    nearest = likeness[:, chosen].max(axis=1)
    while rest and len(chosen) < few:
        following = min(rest, key=lambda item: (nearest[item] - 0.01 * rank[item], item))
        rest.remove(following)
        chosen.append(following)
        nearest = np.maximum(nearest, likeness[:, following])
    return sorted(chosen)


def _shares(codes: NDArray, kinds: int, cells: tuple[int, int]) -> NDArray:
    """Count classes in each cell of a coarse grid: float32 (M, cells * kinds)."""
    count = len(codes)
    rows, columns = cells
    grid = codes.reshape(count, rows, GRID[0] // rows, columns, GRID[1] // columns)
    grid = grid.swapaxes(2, 3).reshape(count * rows * columns, codes.shape[1] // (rows * columns))
    shares = np.zeros((len(grid), kinds), np.float32)
    for low in range(0, len(grid), 65536):
        part = grid[low : low + 65536].astype(np.int64)
        keys = part + np.arange(len(part))[:, None] * kinds
        shares[low : low + 65536] = np.bincount(keys.ravel(), minlength=len(part) * kinds).reshape(
            -1, kinds
        )
    return shares.reshape(count, rows * columns * kinds)


def _candidates(
    whole: NDArray[np.float32], cells: NDArray[np.float32], start: int, end: int, limit: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return pairs (one in start..end-1, other > one) that may differ in `limit` cells or fewer.

    Cells that differ are at least half the L1 distance of the counts of classes.
    """
    ones, others = [], []
    for one in range(start, end):
        far = np.abs(whole[one + 1 :] - whole[one]).sum(axis=1)
        near = np.flatnonzero(far <= 2 * limit + 1e-3)
        if len(near):
            near += one + 1
            far = np.abs(cells[near] - cells[one]).sum(axis=1)
            near = near[far <= 2 * limit + 1e-3]
            ones.append(np.full(len(near), one))
            others.append(near)
    if not ones:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    return np.concatenate(ones), np.concatenate(others)


def _strongest(
    first: NDArray[np.int32], second: NDArray[np.int32], likeness: NDArray[np.float32], count: int
) -> Links:
    """Keep the maximum spanning forest."""
    # SciPy takes zeros for missing links, so the distance of equal layouts is 1 and not 0.
    places = (first.astype(np.int32), second.astype(np.int32))
    graph = coo_array((2.0 - likeness, places), shape=(count, count)).tocsr()
    forest = minimum_spanning_tree(graph).tocoo()
    return Links(
        forest.row.astype(np.int32),
        forest.col.astype(np.int32),
        (2.0 - forest.data).astype(np.float32),
        count,
    )
