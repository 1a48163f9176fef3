"""Spectral norm of published weights: missing vectors are completed, stale ones renewed.

    arrays, notes = complete_spectral_norm("spade", arrays, path)

A layer with spectral norm computes with weight_orig / sigma, and sigma = u'Wv (Miyato et al. 2018).
Files hold weight_orig, u and v; or a part of them; or the quotient alone. The weights that a
network computes with are the same in every form.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from options.errors import UserError
from weights.published_names import Family, spectral_layers
from weights.state_dicts import Arrays
from weights.variables import show_shape

# PyTorch's names of `nn.utils.parametrizations.spectral_norm` -> those of `nn.utils.spectral_norm`.
PARAMETRIZED = {
    ".parametrizations.weight.original": ".weight_orig",
    ".parametrizations.weight.0._u": ".weight_u",
    ".parametrizations.weight.0._v": ".weight_v",
}
# Vectors are stale if the cosine of u and W v, in the median of all layers, is below this.
KEPT_VECTORS = 0.5
STALE = "the start of the power iteration: one iteration is added, as in training"
NOTES = {
    "folded": "weights have no weight_orig: they count as normalized",
    "derived": "layers lack weight_u or weight_v: one follows from the other",
    "guessed": "layers lack weight_u and weight_v: their weights are divided by the largest "
    "singular value, which training approximates",
}


def complete_spectral_norm(family: Family, arrays: Arrays, path: Path) -> tuple[Arrays, list[str]]:
    """Return the arrays with weight_orig, weight_u and weight_v in each layer with spectral norm.

    Missing ones follow from the others, such that weight_orig / u'Wv is the weight of the file. The
    second result describes, in words, what is not read from the file. Raises UserError if the parts
    of a layer differ in size, or if a weight is all zeros.
    """
    arrays = _rename_parametrizations(arrays)
    counts = dict.fromkeys(NOTES, 0)
    for layer in spectral_layers(family, arrays):
        way = _complete_layer(arrays, layer, path)
        if way is not None:
            counts[way] += 1
    return arrays, [f"{count} {NOTES[way]}" for way, count in counts.items() if count]


def _rename_parametrizations(arrays: Arrays) -> Arrays:
    renamed: Arrays = {}
    for name, array in arrays.items():
        for ending, published in PARAMETRIZED.items():
            if name.endswith(ending):
                name = name.removesuffix(ending) + published
        renamed[name] = array
    return renamed


def _complete_layer(
    arrays: Arrays, layer: str, path: Path
) -> Literal["folded", "derived", "guessed"] | None:
    """Complete a layer in place; return the way, None if it is complete or empty."""
    weight = arrays.get(f"{layer}.weight_orig")
    u, v = (arrays.get(f"{layer}.weight_{letter}") for letter in "uv")
    quotient = arrays.get(f"{layer}.weight")
    _check_sizes(f"{path}: {layer}", weight, u, v, quotient)
    way: Literal["folded", "derived", "guessed"]
    if weight is None and quotient is not None:
        del arrays[f"{layer}.weight"]
        arrays[f"{layer}.weight_orig"] = quotient
        u, v = _unit_sigma(quotient, f"{path}: {layer}.weight")
        way = "folded"
    elif weight is None or (u is not None and v is not None):
        return None
    else:
        way = "derived" if u is not None or v is not None else "guessed"
        u, v = _complete_vectors(weight, u, v)
        if quotient is not None:  # PyTorch before 1.0 kept it
            del arrays[f"{layer}.weight"]
            v = v * (_ratio(weight, quotient) / (u @ as_matrix(weight) @ v))
    arrays[f"{layer}.weight_u"] = np.asarray(u, np.float32)
    arrays[f"{layer}.weight_v"] = np.asarray(v, np.float32)
    return way


def _check_sizes(
    name: str,
    weight: np.ndarray | None,
    u: np.ndarray | None,
    v: np.ndarray | None,
    quotient: np.ndarray | None,
) -> None:
    """Raise UserError unless the parts of a layer are of one size."""
    full = quotient if weight is None else weight
    if full is None:
        return
    rows = len(full) if full.ndim > 1 else 0
    fits = rows > 0 and full.size > 0
    fits = fits and (quotient is None or quotient.shape == full.shape)
    fits = fits and (u is None or u.shape == (rows,))
    if not fits or not (v is None or v.shape == (full.size // rows,)):
        shapes = [
            f"{leaf} {show_shape(array.shape)}"
            for leaf, array in (("weight_orig", full), ("weight_u", u), ("weight_v", v))
            if array is not None
        ]
        raise UserError(
            f"{name}: expected a weight and vectors of its rows and columns, got "
            f"{', '.join(shapes)}. Name another file"
        )


def _unit_sigma(weight: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return u and v with u'Wv = 1 to the last bit in float32: one number of W and its inverse."""
    matrix = np.asarray(weight, np.float32).reshape(len(weight), -1)
    flat = matrix.reshape(-1)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        inverse = np.float32(1) / flat
        exact = np.where(flat * inverse == 1, np.abs(flat), 0)
    place = int(exact.argmax())
    if not exact[place]:
        raise UserError(f"{name}: expected a normalized weight, got zeros. Name another file")
    row, column = divmod(place, matrix.shape[1])
    u, v = np.zeros(matrix.shape[0], np.float32), np.zeros(matrix.shape[1], np.float32)
    u[row], v[column] = 1, inverse[place]
    return u, v


def _complete_vectors(
    weight: np.ndarray, u: np.ndarray | None, v: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return u and v: a missing one by a step of power iteration, both by its limit."""
    matrix = as_matrix(weight)
    if v is not None:
        v = np.asarray(v, np.float64)
        return _unit(matrix @ v), v
    if u is None:
        u = np.linalg.eigh(matrix @ matrix.T)[1][:, -1]
    u = np.asarray(u, np.float64)
    return u, _unit(matrix.T @ u)


def _ratio(weight: np.ndarray, quotient: np.ndarray) -> float:
    """Return the number by which a weight was divided, in least squares."""
    divided = as_matrix(quotient)
    return float(np.vdot(as_matrix(weight), divided) / max(float(np.vdot(divided, divided)), 1e-30))


def renew_vectors(arrays: Arrays) -> tuple[Arrays, dict[str, str]]:
    """Add one power iteration if u and v are stale; return the arrays, and name -> reason.

    The first version of this design, the only one that kept `weight` next to `weight_orig`, trained
    with one iteration from its initial vectors and never stored the result: its files hold the
    start of each iteration (Miyato et al. 2018, algorithm 1).

    arrays: by the project's names.
    """
    ending = ".spectral_norm.u"
    layers = [name.removesuffix(ending) for name in arrays if name.endswith(ending)]
    renewed = dict(arrays)
    cosines = []
    for layer in layers:
        matrix = as_matrix(arrays[f"{layer}.weight"])
        u, v = (np.asarray(arrays[f"{layer}.spectral_norm.{x}"], np.float64) for x in "uv")
        cosines.append(float(_unit(u) @ _unit(matrix @ v)))
        v = _unit(matrix.T @ u)
        renewed[f"{layer}.spectral_norm.v"] = v.astype(np.float32)
        renewed[f"{layer}.spectral_norm.u"] = _unit(matrix @ v).astype(np.float32)
    # The median, because in a layer of few channels u may be near W v by chance.
    if not cosines or np.median(cosines) > KEPT_VECTORS:
        return arrays, {}
    return renewed, {f"{layer}.spectral_norm.u, v of the file": STALE for layer in layers}


def keep_sigma(
    weight: np.ndarray, part: np.ndarray, u: np.ndarray, v: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """Return a v for a `part` of a weight's columns with the sigma of the weight.

    The other results are the sigma of the weight, and that of the part, which is the same unless
    the part is too small.
    """
    wide = np.asarray(u, np.float64)
    sigma = float(wide @ as_matrix(weight) @ np.asarray(v, np.float64))
    direction = wide @ as_matrix(part)
    length = max(float(direction @ direction), 1e-30)
    changed = (sigma * direction / length).astype(np.float32)
    return changed, sigma, float(wide @ as_matrix(part) @ changed.astype(np.float64))


def as_matrix(weight: np.ndarray) -> np.ndarray:
    """Return a weight as a float64 matrix, a row per output channel."""
    return np.asarray(weight, np.float64).reshape(len(weight), -1)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
