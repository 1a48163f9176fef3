"""Near-duplicate layouts: their similarities, their groups, and the pairs to keep of a group.

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
# Lower similarities are not searched: no threshold is below this.
LEAST_SIMILARITY = 0.7
_BLOCK = 512
# Class shares are compared in the whole grid first, then in this many cells.
_CELLS = (3, 4)


@dataclass(frozen=True)
class Links:
    """The strongest links between layouts: a maximum spanning forest of their similarities.

    first, second: int32 (E,), numbers of layouts. similarity: float32 (E,). For any threshold,
    these few links connect the same groups as all links above it.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    similarity: NDArray[np.float32]
    count: int


def layout_grid(view: View) -> NDArray[np.uint16]:
    """Return the ids at the centers of 24 x 32 cells, uint16 (768,)."""
    return resize_layout(view.layout, *GRID).astype(np.uint16).ravel()


def photo_fingerprint(view: View) -> NDArray[np.int8]:
    """Return the photo's pattern independent of exposure, int8 (768,).

    L* resized to 24 x 32, minus its Gaussian mean of 4 cells, divided by its standard deviation;
    in units of 1/32.
    """
    small = cv2.resize(view.lab[..., 0], GRID[::-1], interpolation=cv2.INTER_AREA)
    pattern = small - cv2.GaussianBlur(small, (0, 0), 4)
    pattern /= max(float(pattern.std()), 0.1)
    return np.clip(np.rint(pattern * 32), -127, 127).astype(np.int8).ravel()


def layout_similarity(one: NDArray[np.uint16], other: NDArray[np.uint16]) -> float:
    """Share of the 24 x 32 cells in which two layouts have the same class; 0..1."""
    return float((one == other).mean())


def photo_similarity(fingerprints: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return Pearson's correlation of the patterns of photos, (n, 768) to (n, n); -1..1."""
    values = fingerprints.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return values @ values.T


def link_layouts(
    grids: NDArray[np.uint16],
    least: float = LEAST_SIMILARITY,
    progress: Callable[[int, int], None] | None = None,
) -> Links:
    """Find the strongest links of similarity `least` or more between layouts (M, 768).

    Exact: a pair is skipped only if the shares of its classes, in the whole or in 12 cells, prove
    that its similarity is lower.
    """
    count = len(grids)
    _, dense = np.unique(grids, return_inverse=True)
    dense = dense.reshape(grids.shape)
    kinds = int(dense.max(initial=0)) + 1
    # Bytes compare faster; more than 256 classes in one dataset are rare.
    codes = dense.astype(np.uint8 if kinds <= 256 else np.uint16)
    whole = _shares(codes, kinds, (1, 1))
    cells = _shares(codes, kinds, _CELLS)
    # Sorted by the shares, likely partners are in the same blocks, and other blocks are empty.
    order = np.argsort(whole.argmax(axis=1) * 1000 + whole.max(axis=1), kind="stable")
    codes, whole, cells = codes[order], whole[order], cells[order]
    limit = grids.shape[1] * (1 - least) if count else 0.0
    none = np.zeros(0, np.int32)
    kept = Links(none, none, np.zeros(0, np.float32), count)
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        ones, others = _candidates(whole, cells, start, end, limit)
        similarity = np.empty(len(ones), np.float32)
        for low in range(0, len(ones), 16384):
            part = np.s_[low : low + 16384]
            similarity[part] = (codes[ones[part]] == codes[others[part]]).mean(axis=1)
        close = similarity >= least
        kept = _strongest(
            np.concatenate([kept.first, ones[close]]),
            np.concatenate([kept.second, others[close]]),
            np.concatenate([kept.similarity, similarity[close]]),
            count,
        )
        if progress is not None:
            progress(end, count)
    return Links(
        order[kept.first].astype(np.int32),
        order[kept.second].astype(np.int32),
        kept.similarity,
        count,
    )


def nearest_similarity(links: Links) -> NDArray[np.float64]:
    """Return each layout's similarity to its nearest layout, float64 (M,); 0 without a link."""
    best = np.zeros(links.count)
    np.maximum.at(best, links.first, links.similarity)
    np.maximum.at(best, links.second, links.similarity)
    return best


def group_layouts(links: Links, threshold: float) -> list[list[int]]:
    """Group layouts of similarity `threshold` or more by union-find; return groups of at least two.

    Members are sorted; groups are sorted by their first member.
    """
    sets = DisjointSet(range(links.count))
    # Tolerance for float32 rounding, far below the step of 1/768.
    strong = links.similarity >= threshold - 1e-6
    for one, other in zip(links.first[strong].tolist(), links.second[strong].tolist(), strict=True):
        sets.merge(one, other)
    return sorted(sorted(group) for group in sets.subsets() if len(group) > 1)


def select_from_group(
    fingerprints: NDArray[np.int8],
    quality: Sequence[float],
    limit: int,
    same_photo: float,
    required: Sequence[bool] | None = None,
) -> list[int]:
    """Select at most `limit` members of a group: the best one, then the most different ones.

    Of similar photos (correlation `same_photo` or more, grouped by union-find) only the best is a
    candidate. Farthest-first traversal adds the candidate whose highest correlation with the
    selected ones, minus 0.01 times its quality rank (0 worst, 1 best), is lowest. `required`
    members are always selected.
    """
    count = len(quality)
    similarity = photo_similarity(fingerprints)
    sets = DisjointSet(range(count))
    for one, other in np.argwhere(np.triu(similarity >= same_photo, 1)).tolist():
        sets.merge(one, other)
    fixed = [bool(one) for one in required] if required is not None else [False] * count
    best_first = sorted(range(count), key=lambda item: (not fixed[item], -quality[item], item))
    rank = np.zeros(count)
    rank[best_first] = np.linspace(1, 0, count)
    seen: set[int] = set()
    candidates = []
    for item in best_first:
        photo = sets[item]
        if photo not in seen or fixed[item]:
            candidates.append(item)
        seen.add(photo)
    selected = [item for item in candidates if fixed[item]] or candidates[:1]
    rest = [item for item in candidates if item not in set(selected)]
    nearest = similarity[:, selected].max(axis=1)
    while rest and len(selected) < limit:
        following = min(rest, key=lambda item: (nearest[item] - 0.01 * rank[item], item))
        rest.remove(following)
        selected.append(following)
        nearest = np.maximum(nearest, similarity[:, following])
    return sorted(selected)


def _shares(codes: NDArray, kinds: int, cells: tuple[int, int]) -> NDArray:
    """Return the class counts per cell of a coarse grid: float32 (M, cells * kinds)."""
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
    """Return pairs (one in start..end-1, other > one) that may differ in at most `limit` cells.

    The number of differing cells is at least half the L1 distance of the class counts.
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
    first: NDArray[np.int32], second: NDArray[np.int32], similarity: NDArray[np.float32], count: int
) -> Links:
    """Return the maximum spanning forest of links."""
    # SciPy treats zeros as missing links, so equal layouts have distance 1, not 0.
    places = (first.astype(np.int32), second.astype(np.int32))
    graph = coo_array((2.0 - similarity, places), shape=(count, count)).tocsr()
    forest = minimum_spanning_tree(graph).tocoo()
    return Links(
        forest.row.astype(np.int32),
        forest.col.astype(np.int32),
        (2.0 - forest.data).astype(np.float32),
        count,
    )
