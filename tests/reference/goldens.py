"""Reads golden files and compares arrays with them; needs only NumPy.

    golden = load("spade_generator_normal_layout")
    network = SPADEGenerator(**golden.options)
    load_strictly(network, golden.section("state"))
    image = network(golden.section("in")["condition"])
    assert golden.difference("out/train.image", image).absolute < 1e-4

A golden holds, under `section/name` keys:

    in         inputs; "in/cotangent.NAME" is the factor of out/NAME: the gradients are those of
               the sum over NAME of (out/NAME * in/cotangent.NAME)
    state      the state dict before the first pass, with the published names
    out        outputs; the prefix "train." or "eval." of a name is the mode
    grad       gradients: "grad/state.NAME" of a parameter, "grad/in.NAME" of an input
    after      the state after the training pass (or passes) of out/train.*
    change     in optimizer goldens: parameter after the steps minus parameter before

To keep the files small, reproducible arrays are stored as a recipe (shape, range, seed), and large
results as a sketch: the norm, 8 projections on random signs and, for an output, 1024 of the values.
`section` samples the recipes; `difference` handles both forms. Parameters whose gradient is zero by
construction (a bias before a normalization) have only rounding noise as gradient, and therefore no
grad, after or change entry; `free` names them.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parents[1] / "goldens"

# Names in the files -> names of this project.
RENAMED = {'"halvings"': '"num_downsamples"', '"in/photograph"': '"in/photo"'}
PROJECTIONS = 8
SAMPLES = 1024


@dataclass(frozen=True)
class Difference:
    """Difference of an array from the golden one.

    absolute: the largest difference of a value (of the 1024 stored ones for a sketched array; nan
    if only norm and projections are stored). relative: the norm of the difference over the golden
    norm; for a sketched array the unbiased estimate from the 8 projections, accurate within a
    factor of 2.
    """

    absolute: float
    relative: float


def sample_recipe(recipe: dict[str, Any]) -> NDArray[Any]:
    """The array of a recipe.

    kind "uniform": float32, uniform in [low, high); `rows` along `axis` have their own seeds.
    "unit": float32, uniform in [-1, 1) scaled to length 1. "blocks": int32 (N, H, W) ids below
    `high` in rectangles; a fraction `speckles` of them (default 0.1) are random single pixels.
    """
    random = np.random.RandomState(recipe["seed"])
    shape = tuple(recipe["shape"])
    if recipe["kind"] == "uniform":
        values = sample_uniform(recipe, recipe["seed"], shape)
        for row, seed in recipe.get("rows", {}).items():
            rows = np.moveaxis(values, recipe["axis"], 0)
            rows[int(row)] = sample_uniform(recipe, seed, rows.shape[1:])
        return values
    if recipe["kind"] == "unit":
        values = 2 * random.random_sample(shape) - 1
        return (values / np.sqrt(np.sum(values * values))).astype(np.float32)
    if recipe["kind"] == "blocks":
        _, height, width = shape
        ids = np.zeros(shape, np.int32)
        for image in ids:
            for _ in range(24):
                top, left = random.randint(0, height), random.randint(0, width)
                tall, wide = random.randint(2, height), random.randint(2, width)
                image[top : top + tall, left : left + wide] = random.randint(0, recipe["high"])
        # On uniform areas alone the gradients of the first layers cancel to rounding errors.
        speckles = random.randint(0, recipe["high"], shape)
        share = recipe.get("speckles", 0.1)
        return np.where(random.random_sample(shape) < share, speckles, ids).astype(np.int32)
    raise ValueError(f"unknown recipe kind: {recipe['kind']!r}")


def sample_uniform(
    recipe: dict[str, Any], seed: int, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Numbers in the range of a "uniform" recipe, with another seed and shape."""
    # NumPy's compatibility policy freezes the streams of RandomState, but not of default_rng.
    random = np.random.RandomState(seed)
    values = recipe["low"] + (recipe["high"] - recipe["low"]) * random.random_sample(shape)
    return np.asarray(values, np.float32)


def settle(state: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A state with spectral norm's u and v after one power iteration, as in a trained network.

    Miyato et al. 2018, algorithm 1: v <- W'u / |W'u|, u <- Wv / |Wv|. Random u and v are unrelated
    to W: in evaluation the division by u'Wv would make the weights far too large.
    """
    settled = dict(state)
    for name in [name for name in state if name.endswith("weight_u")]:
        weight = np.asarray(state[name.removesuffix("_u") + "_orig"], np.float64)
        matrix = weight.reshape(len(weight), -1)
        v = matrix.T @ np.asarray(state[name], np.float64)
        v /= np.linalg.norm(v)
        u = matrix @ v
        settled[name.removesuffix("u") + "v"] = v.astype(np.float32)
        settled[name] = (u / np.linalg.norm(u)).astype(np.float32)
    return settled


def seed_of(text: str) -> int:
    """The seed of a name, the same on every machine and in every process."""
    return zlib.crc32(text.encode())


def sketch(key: str, array: NDArray[Any]) -> NDArray[np.float64]:
    """The norm of an array and its projections on random signs."""
    flat = np.asarray(array, np.float64).ravel()
    random = np.random.RandomState(seed_of(key))
    result = [float(np.sqrt(flat @ flat))]
    for _ in range(PROJECTIONS):
        signs = random.randint(0, 2, flat.size).astype(np.float64) * 2 - 1
        result.append(float(flat @ signs))
    return np.array(result)


def subsample(key: str, array: NDArray[Any]) -> NDArray[np.float32]:
    """The values of an array at random positions that depend only on key and size."""
    flat = np.asarray(array).ravel()
    places = np.random.RandomState(seed_of("sample " + key)).randint(0, flat.size, SAMPLES)
    return flat[places].astype(np.float32)


@dataclass
class Golden:
    """One golden file. `arrays` holds the full arrays; the methods read the other forms."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    free: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    sketches: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    samples: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    shapes: dict[str, list[int]] = field(default_factory=dict)

    def keys(self, section: str) -> list[str]:
        """The names in a section, without the section, in the order of writing."""
        start = section + "/"
        return [key[len(start) :] for key in self.shapes if key.startswith(start)]

    def get(self, key: str) -> NDArray[Any]:
        """A full array by its key; raises KeyError for a sketched one."""
        if key in self.recipes:
            return sample_recipe(self.recipes[key])
        return self.arrays[key]

    def section(self, section: str) -> dict[str, NDArray[Any]]:
        """All arrays of a section by name; "in" and "state" are always complete."""
        return {name: self.get(f"{section}/{name}") for name in self.keys(section)}

    def difference(self, key: str, array: NDArray[Any]) -> Difference:
        """Compares an array with the golden one; raises ValueError if the shapes differ."""
        array = np.asarray(array)
        if list(array.shape) != self.shapes[key]:
            raise ValueError(f"{key}: shape {list(array.shape)}, golden {self.shapes[key]}")
        if not np.all(np.isfinite(array)):
            return Difference(float("inf"), float("inf"))
        if key not in self.sketches:
            golden = np.asarray(self.get(key), np.float64)
            gap = np.asarray(array, np.float64) - golden
            norm = float(np.sqrt(np.sum(golden * golden)))
            absolute = float(np.max(np.abs(gap))) if gap.size else 0.0
            return Difference(absolute, _ratio(float(np.sqrt(np.sum(gap * gap))), norm))
        golden_sketch = self.sketches[key]
        gaps = sketch(key, array) - golden_sketch
        relative = _ratio(float(np.sqrt(np.mean(gaps[1:] ** 2))), float(golden_sketch[0]))
        if key not in self.samples:
            return Difference(float("nan"), relative)
        gap = subsample(key, array).astype(np.float64) - self.samples[key]
        return Difference(float(np.max(np.abs(gap))), relative)


def _ratio(gap: float, norm: float) -> float:
    if norm > 0:
        return gap / norm
    return 0.0 if gap == 0 else float("inf")


def load(name: str, folder: Path = FOLDER) -> Golden:
    """Reads tests/goldens/NAME.npz."""
    with np.load(folder / f"{name}.npz", allow_pickle=False) as stored:
        text = bytes(stored["meta"]).decode()
        for name_in_file, own_name in RENAMED.items():
            text = text.replace(name_in_file, own_name)
        meta = json.loads(text)
        arrays = {key: stored[key] for key in stored.files if "/" in key}
        rows = dict(zip(meta["sketched"], stored["sketches"], strict=True))
        values = dict(zip(meta["sampled"], stored["samples"], strict=True))
    return Golden(
        name=name,
        options=meta["options"],
        free=meta["free"],
        notes=meta["notes"],
        arrays=arrays,
        recipes=meta["recipes"],
        sketches=rows,
        samples=values,
        shapes=meta["shapes"],
    )


def names(start: str = "", folder: Path = FOLDER) -> list[str]:
    """The sorted names of the golden files that begin with `start`."""
    return sorted(path.stem for path in folder.glob(f"{start}*.npz"))
