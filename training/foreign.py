"""Published weights under the project's names: which network it is, and what it was built as.

    parts = read_parts(Path("latest_net_G.pth"))          # names and values, of G and perhaps E
    options, remarks = describe(parts, Hints(size=(256, 256)), read_hints(folder))
    arrays = snapshot_arrays(parts)                       # as a generator's snapshot has them

Known by their names and shapes: the generators, encoders and discriminators of NVlabs/SPADE and
EndlessSora/TSIT, in PyTorch's files and in the Jittor pickles of this design's first public
version, and VGG-19 of torchvision and Jittor. Whatever form spectral norm is saved in, the weights
that a network computes with are the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.published import (
    BATCH_COUNT,
    Family,
    UnknownNames,
    project_names,
    spectral_layers,
)
from options.errors import UserError, list_names
from options.paths import read_file
from options.run import DataOptions, GeneratorOptions, RunOptions
from training.finite import require_finite
from training.state_dicts import TITLES, Arrays, Found, choose, find_networks
from training.weights_file import read_weights_file

NETWORKS: dict[Family, str] = {
    "spade": "generator",
    "tsit": "generator",
    "encoder": "encoder",
    "discriminator": "discriminator",
}
GENERATOR_WEIGHTS = ("first.weight", "last.weight", "blocks.0.conv_0.weight")
# Weights whose shapes say how a network was built.
READ_OFF: dict[Family, tuple[str, ...]] = {
    "spade": (*GENERATOR_WEIGHTS, "blocks.0.norm_0.shared.weight"),
    "tsit": (*GENERATOR_WEIGHTS, "content_stream.blocks.0.conv_0.weight"),
    "encoder": ("layers.0.weight", "mean.weight"),
    "discriminator": ("discriminators.0.first.weight",),
}
VGG_READ = r"features\.(1?\d|2[0-8])\."  # up to relu5_1
# TSIT's names of tasks: semantic synthesis, and two that start from photographs.
TASKS = {"SIS": "synthesis", "AST": "translation", "MMIS": "translation"}
PHOTOGRAPH_CHANNELS = 3
CONTEST_CLASSES = 29
CONTEST_CHANNELS = 255  # what this design's first version made of its 29 classes
# Below this median cosine u is not W v of its own weight: a port that never kept u and v.
KEPT_VECTORS = 0.5


@dataclass(frozen=True)
class Known:
    """What the published models of one depth of layout planes are."""

    classes: int
    unknown_label: int | None = None
    instances: bool = False
    size: tuple[int, int] = (256, 256)
    halvings: int = 5


KNOWN = {
    184: Known(182, 255, True),  # COCO-Stuff
    183: Known(182, 255),
    182: Known(182),
    151: Known(150, 255),  # ADE20K
    36: Known(35, None, True, (256, 512), 6),  # Cityscapes
    35: Known(35, None, False, (256, 512), 6),
    CONTEST_CHANNELS: Known(CONTEST_CLASSES, size=(384, 512)),
    CONTEST_CLASSES: Known(CONTEST_CLASSES, size=(384, 512)),
}


@dataclass(frozen=True)
class Part:
    """One network: `arrays` by the project's names, `kept` what it never reads, by its own names.

    `dropped` gives the reason for each name that is left out for good, `notes` say what was not
    read off the file; `key` is where in the file it stands.
    """

    path: Path
    family: Family
    arrays: Arrays
    kept: Arrays = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    key: str = ""

    @property
    def network(self) -> str:
        """Its name in a method; empty where it is in none."""
        return NETWORKS.get(self.family, "")

    @property
    def layout_channels(self) -> int:
        """Depth of the layout planes that it reads; 0 where it reads none."""
        if self.family == "spade":
            return int(self.arrays["blocks.0.norm_0.shared.weight"].shape[1])
        if self.family == "tsit":
            return int(self.arrays["content_stream.blocks.0.conv_0.weight"].shape[1])
        if self.family == "discriminator":
            return int(self.arrays["discriminators.0.first.weight"].shape[1]) - 3
        return 0


@dataclass(frozen=True)
class Hints:
    """What a file does not tell, as the user or an opt.txt says it; None where neither does."""

    size: tuple[int, int] | None = None
    halvings: int | None = None
    classes: int | None = None
    unknown_label: int | None = None
    instances: bool | None = None
    fadain_alpha: float | None = None
    task: str | None = None

    def over(self, other: Hints) -> Hints:
        """These hints, and the other's where these have none."""
        mine = {name: value for name, value in vars(self).items() if value is not None}
        return replace(other, **mine)


def read_parts(path: Path, key: str | None = None) -> list[Part]:
    """Read a file of published weights: one network, or a generator and its encoder.

    `key`, dotted, says which one of several to take. Raises UserError if the file cannot be read,
    holds no network of the families or more than one that would do, or numbers that are not finite.
    """
    return recognise(read_weights_file(path), path, key)


def recognise(content: Any, path: Path, key: str | None = None) -> list[Part]:
    """The network whose state `content` holds, with a generator its encoder; as `read_parts`."""
    if not isinstance(content, dict) or not content:
        kind = "an empty dict" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise UserError(f"{path}: expected tensors by name, got {kind}. Name another file")
    contents = find_networks(content)
    chosen = choose(contents, path, key)
    left = {n.key: f"{n.title}, see --key" for n in contents.networks if n not in chosen}
    left |= {name: "of none of the networks" for name in contents.names}
    parts = [_read_network(found, path) for found in chosen]
    first = replace(parts[0], dropped=parts[0].dropped | contents.dropped | left)
    return [first, *parts[1:]]


def _read_network(found: Found, path: Path) -> Part:
    family, arrays = found.family, dict(found.arrays)
    assert family is not None
    require_finite(arrays, path)
    dropped: dict[str, str] = {}
    notes: list[str] = []
    kept = {n: a for n, a in arrays.items() if n.rpartition(".")[2] == BATCH_COUNT}
    if family == "vgg19":
        arrays = {f"features.{n}" if n[0].isdigit() else n: a for n, a in arrays.items()}
        kept |= {name: array for name, array in arrays.items() if not re.match(VGG_READ, name)}
    else:
        arrays, notes = _use_published_spectral_norm(family, arrays, path)
    first_version = [name for name in arrays if f"{name}_orig" in arrays]
    for name in first_version:
        del arrays[name]
        dropped[name] = "follows from weight_orig, weight_u and weight_v"
    try:
        names = project_names(family, [name for name in arrays if name not in kept])
    except UnknownNames as error:
        raise UserError(
            f"{path}: looks like the {TITLES[family]}, but {len(error.names)} of {len(arrays)} "
            f"names are not of it: {list_names(error.names)}. Only networks as published, with "
            "spectral norm, can be converted"
        ) from None
    whole_numbers = [n for n in names if not np.issubdtype(arrays[n].dtype, np.floating)]
    if whole_numbers:
        kinds = sorted({str(arrays[name].dtype) for name in whole_numbers})
        raise UserError(
            f"{path}: expected weights that are floats, got {', '.join(kinds)} in "
            f"{len(whole_numbers)} tensors: {list_names(whole_numbers)}. These are quantized: take "
            "the file from before that"
        )
    own = {mine: arrays[name] for name, mine in names.items()}
    lacking = [n for n in READ_OFF.get(family, ()) if own.get(n, np.zeros(())).ndim not in (2, 4)]
    if lacking:
        raise UserError(
            f"{path}: looks like the {TITLES[family]}, but lacks {list_names(lacking)}. "
            "Name a whole file"
        )
    part = Part(path, family, own, kept, dropped, tuple(notes), found.key)
    return _renew_vectors(part) if first_version else part


# PyTorch's `torch.nn.utils.parametrizations.spectral_norm` in the names of its `spectral_norm`.
PARAMETRIZED = {
    ".parametrizations.weight.original": ".weight_orig",
    ".parametrizations.weight.0._u": ".weight_u",
    ".parametrizations.weight.0._v": ".weight_v",
}


def _use_published_spectral_norm(
    family: Family, arrays: Arrays, path: Path
) -> tuple[Arrays, list[str]]:
    """The arrays with weight_orig, weight_u and weight_v in each layer with spectral norm.

    The network divides weight_orig by sigma = u'Wv. What a file lacks of the three follows from
    the others, such that the quotient is the weight that the file stands for.
    """
    renamed: Arrays = {}
    for name, array in arrays.items():
        for ending, published in PARAMETRIZED.items():
            if name.endswith(ending):
                name = name.removesuffix(ending) + published
        renamed[name] = array
    arrays = renamed
    folded: list[str] = []
    derived: list[str] = []
    guessed: list[str] = []
    for layer in spectral_layers(family, arrays):
        weight = arrays.get(f"{layer}.weight_orig")
        u, v = (arrays.get(f"{layer}.weight_{letter}") for letter in "uv")
        quotient = arrays.get(f"{layer}.weight")
        _check_vectors(f"{path}: {layer}", weight, u, v, quotient)
        if weight is None and quotient is not None:
            del arrays[f"{layer}.weight"]
            arrays[f"{layer}.weight_orig"] = quotient
            u, v = _vectors_of_one(quotient, f"{path}: {layer}.weight")
            folded.append(layer)
        elif weight is None or (u is not None and v is not None):
            continue
        else:
            (derived if u is not None or v is not None else guessed).append(layer)
            u, v = _complete_vectors(weight, u, v)
            if quotient is not None:  # PyTorch before 1.0 kept it
                del arrays[f"{layer}.weight"]
                v = v * (_ratio(weight, quotient) / (u @ _matrix(weight) @ v))
        arrays[f"{layer}.weight_u"] = np.asarray(u, np.float32)
        arrays[f"{layer}.weight_v"] = np.asarray(v, np.float32)
    notes = []
    if folded:
        notes.append(
            f"{len(folded)} weights have no weight_orig: they are taken as normalized already"
        )
    if derived:
        notes.append(f"{len(derived)} layers lack weight_u or weight_v: one follows from the other")
    if guessed:
        notes.append(
            f"{len(guessed)} layers lack weight_u and weight_v: the largest singular value divides "
            "their weights, which training comes near to"
        )
    return arrays, notes


def _check_vectors(
    name: str,
    weight: np.ndarray | None,
    u: np.ndarray | None,
    v: np.ndarray | None,
    quotient: np.ndarray | None,
) -> None:
    """Raise UserError unless the parts of one spectral norm are of one size."""
    whole = quotient if weight is None else weight
    if whole is None:
        return
    rows = len(whole) if whole.ndim > 1 else 0
    fits = rows > 0 and whole.size > 0
    fits = fits and (quotient is None or quotient.shape == whole.shape)
    fits = fits and (u is None or u.shape == (rows,))
    if not fits or not (v is None or v.shape == (whole.size // rows,)):
        shapes = [
            f"{leaf} {'x'.join(map(str, array.shape)) or 'scalar'}"
            for leaf, array in (("weight_orig", whole), ("weight_u", u), ("weight_v", v))
            if array is not None
        ]
        raise UserError(
            f"{name}: expected a weight and vectors of its rows and columns, got "
            f"{', '.join(shapes)}. Name another file"
        )


def _vectors_of_one(weight: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """u and v with u'Wv = 1 to the last bit in float32: one number of W, and its inverse."""
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
    """u and v, where one is missing by a step of power iteration, both by its limit."""
    matrix = _matrix(weight)
    if v is not None:
        v = np.asarray(v, np.float64)
        return _unit(matrix @ v), v
    if u is None:
        u = np.linalg.eigh(matrix @ matrix.T)[1][:, -1]
    u = np.asarray(u, np.float64)
    return u, _unit(matrix.T @ u)


def _ratio(weight: np.ndarray, quotient: np.ndarray) -> float:
    """The number by which a weight was divided, in least squares."""
    divided = _matrix(quotient)
    return float(np.vdot(_matrix(weight), divided) / max(float(np.vdot(divided, divided)), 1e-30))


def _renew_vectors(part: Part) -> Part:
    """Take one power iteration where u and v are not those of the weights.

    This design's first version, alone in keeping `weight` beside `weight_orig`, trained with one
    iteration from the vectors that it began with, and never stored the result: what is in the file
    is where each iteration began (Miyato et al. 2018, algorithm 1).
    """
    ending = ".spectral_norm.u"
    layers = [name.removesuffix(ending) for name in part.arrays if name.endswith(ending)]
    arrays = dict(part.arrays)
    cosines = []
    for layer in layers:
        matrix = _matrix(arrays[f"{layer}.weight"])
        u, v = (np.asarray(arrays[f"{layer}.spectral_norm.{x}"], np.float64) for x in "uv")
        cosines.append(float(_unit(u) @ _unit(matrix @ v)))
        v = _unit(matrix.T @ u)
        arrays[f"{layer}.spectral_norm.v"] = v.astype(np.float32)
        arrays[f"{layer}.spectral_norm.u"] = _unit(matrix @ v).astype(np.float32)
    # Of all layers together: in a layer of few channels u may be near W v by chance.
    if not cosines or np.median(cosines) > KEPT_VECTORS:
        return part
    reason = "only where the power iteration began: one iteration taken, as in training"
    note = {f"{layer}.spectral_norm.u, v as they were": reason for layer in layers}
    return replace(part, arrays=arrays, dropped=part.dropped | note)


def _matrix(weight: np.ndarray) -> np.ndarray:
    return np.asarray(weight, np.float64).reshape(len(weight), -1)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def read_hints(folder: Path) -> Hints:
    """What the opt.txt that SPADE and TSIT write beside their weights says; empty without one."""
    path = folder / "opt.txt"
    if not path.is_file():
        return Hints()
    text = read_file(path).decode("utf-8", "replace")
    found = dict(re.findall(r"^\s*(\w+): (.*?)\s*(?:\[default: .*\])?$", text, re.MULTILINE))
    try:
        width = int(found["crop_size"])
        size = (round(width / float(found["aspect_ratio"])), width)
        depths = {"normal": 5, "more": 6, "most": 7}
        return Hints(
            size=size,
            halvings=depths.get(found.get("num_upsampling_layers", "normal")),
            classes=int(found["label_nc"]),
            unknown_label=255 if found.get("contain_dontcare_label") == "True" else None,
            instances=found.get("no_instance") == "False",
            fadain_alpha=float(found["alpha"]) if "alpha" in found else None,
            task=TASKS.get(found.get("task", "")),
        )
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path}: crop_size, aspect_ratio and label_nc are read from it: {error} is off; mend "
            "or remove it"
        ) from None


def describe(parts: Sequence[Part], hints: Hints, from_file: Hints) -> tuple[RunOptions, list[str]]:
    """The options of a generator's snapshot, and a line on each that was not read off the weights.

    `hints` are the user's, `from_file` those of an opt.txt. Raises UserError where they contradict
    the weights.
    """
    generator = next(part for part in parts if part.network == "generator")
    remarks: list[str] = []
    layout = _describe_layout(generator, hints, from_file, remarks)
    planes = layout.channels if layout else PHOTOGRAPH_CHANNELS
    arrays = generator.arrays
    first = arrays["first.weight"]
    blocks = len({name.split(".")[1] for name in arrays if name.startswith("blocks.")})
    widest = int(arrays["blocks.0.conv_0.weight"].shape[0])
    channels = int(arrays["last.weight"].shape[1])
    if blocks == 8 and _is_spade(generator):
        channels *= 2
    vae = first.ndim == 2
    lowest = first.shape[0] // widest if vae else None
    known = KNOWN.get(generator.layout_channels, Known(0))
    given = hints.over(from_file)
    if generator.family == "tsit":
        halvings = blocks
    elif blocks == 8:
        halvings = 7
    elif given.halvings is not None:
        halvings = given.halvings
    else:
        halvings = _guess_halvings(given.size or known.size, known.halvings, lowest)
        remarks.append(
            f"halvings {halvings} ({'normal' if halvings == 5 else 'more'}) is taken from what is "
            "published: names and shapes are alike; see --halvings"
        )
    size = given.size or known.size
    if given.size is None and min(size) < 2 << halvings:
        size = (2 << halvings, 2 << halvings)
    if lowest is not None and not _fits(size, halvings, lowest):
        if hints.size is not None:
            raise UserError(
                f"--size must be the one that the style vector was trained for, of {lowest} pixels "
                f"after {halvings} halvings: {size[0]} x {size[1]} is not; leave it out, or name "
                "another"
            )
        height = next(h for h in range(int(lowest**0.5), 0, -1) if lowest % h == 0)
        size = (height << halvings, lowest // height << halvings)
    if given.size is None:
        remarks.append(f"size {size[0]} x {size[1]} is not in the weights; see --size")
    style_stream = generator.family == "spade" or any(n.startswith("style_stream.") for n in arrays)
    start = "layout"
    if generator.family == "tsit" and not vae and first.shape[1] != generator.layout_channels:
        start = "noise"
    if layout is None:
        if vae or not style_stream:
            raise UserError(
                f"{generator.path}: a TSIT that takes photographs as content takes its style from "
                f"its style stream: this one has {'a style vector' if vae else 'none'}; it cannot "
                "be drawn with"
            )
        start = "noise"
    inner = arrays.get("content_stream.blocks.0.conv_0.weight")
    settings: dict[str, Any] = {}
    if inner is not None and len(inner) != planes:
        settings["content_channels"] = len(inner)
    if generator.family == "tsit" and style_stream and given.fadain_alpha is not None:
        settings["fadain_alpha"] = given.fadain_alpha
    if vae:
        settings["latent_size"] = int(first.shape[1])
    settings_of_data: dict[str, Any] = {"task": "translation"}
    if layout is not None:
        settings_of_data = vars(layout)
    statistics = any(name.endswith(".running_mean") for name in arrays)
    options = RunOptions(
        data=DataOptions(height=size[0], width=size[1], **settings_of_data),
        generator=GeneratorOptions(
            generator="spade" if _is_spade(generator) else "tsit",
            channels=channels,
            halvings=halvings,
            vae=vae,
            style_stream=style_stream,
            start=start,  # type: ignore[arg-type]
            norm="batch" if statistics else "instance",
            **settings,
        ),
    )
    return options.validate(), remarks


@dataclass(frozen=True)
class _LayoutPlanes:
    classes: int
    unknown_label: int | None
    instances: bool

    @property
    def channels(self) -> int:
        return self.classes + (self.unknown_label is not None) + self.instances


def _describe_layout(
    generator: Part, hints: Hints, from_file: Hints, remarks: list[str]
) -> _LayoutPlanes | None:
    """What each plane of the layout is; None where the planes are photographs' colours."""
    channels = generator.layout_channels
    if generator.family == "tsit" and channels == PHOTOGRAPH_CHANNELS and hints.classes is None:
        if from_file.task is None:
            remarks.append(
                "3 content planes are taken as photographs, --task translation; where they are 3 "
                "classes, say --classes 3"
            )
        if from_file.task != "synthesis":
            return None
    told = (hints.classes, hints.unknown_label, hints.instances) != (None, None, None)
    if not told and from_file.classes is not None and from_file.classes != CONTEST_CHANNELS:
        hints = from_file
    elif not told and channels in KNOWN:
        known = KNOWN[channels]
        hints = Hints(
            classes=known.classes, unknown_label=known.unknown_label, instances=known.instances
        )
        remarks.append(
            f"{channels} layout planes are taken as {known.classes} classes"
            + (f", unknown label {known.unknown_label}" if known.unknown_label is not None else "")
            + (", and borders of objects" if known.instances else "")
            + "; see --classes, --unknown-label and --instances"
        )
    others = (hints.unknown_label is not None) + bool(hints.instances)
    classes = channels - others if hints.classes is None else hints.classes
    planes = _LayoutPlanes(classes, hints.unknown_label, bool(hints.instances))
    if planes.channels > channels or (others and planes.channels < channels) or classes < 1:
        raise UserError(
            f"{generator.path}: the layout has {channels} planes: {classes} classes"
            f"{', an unknown one' * (hints.unknown_label is not None)}"
            f"{', and borders' * planes.instances} are {planes.channels}; see --classes, "
            "--unknown-label and --instances"
        )
    return planes


def _is_spade(part: Part) -> bool:
    return part.family == "spade"


def _guess_halvings(size: tuple[int, int], published: int, lowest: int | None) -> int:
    if lowest is None:
        return published
    return next((n for n in (5, 6) if _fits(size, n, lowest)), published)


def _fits(size: tuple[int, int], halvings: int, lowest: int) -> bool:
    step = 1 << halvings
    return not (size[0] | size[1]) % step and size[0] // step * (size[1] // step) == lowest


def keep_channels(part: Part, count: int) -> Part:
    """The network without the layout planes from `count` on, which ids below it never light.

    A convolution over a plane of zeros adds nothing. Spectral norm divides by sigma = u'Wv of the
    whole weight: v is changed so that what is left of W has the same sigma.

    Raises UserError where sigma came out otherwise by more than rounding.
    """
    arrays = dict(part.arrays)
    channels = part.layout_channels
    dropped = dict(part.dropped)
    for name, weight in part.arrays.items():
        if not _reads_layout(part, name):
            continue
        rest = weight[:, channels:]  # a discriminator's colours
        arrays[name] = np.concatenate([weight[:, :count], rest], axis=1)
        dropped[f"{name}[:, {count}:{channels}]"] = f"read by ids from {count} on alone"
        layer = name.removesuffix(".weight")
        u = arrays.get(f"{layer}.spectral_norm.u")
        if u is None:
            continue
        v = np.asarray(arrays[f"{layer}.spectral_norm.v"], np.float64)
        wide = np.asarray(u, np.float64)
        sigma = wide @ _matrix(weight) @ v
        direction = wide @ _matrix(arrays[name])
        length = max(float(direction @ direction), 1e-30)
        changed = (sigma * direction / length).astype(np.float32)
        found = wide @ _matrix(arrays[name]) @ changed.astype(np.float64)
        if not abs(found - sigma) <= 1e-6 * abs(sigma):
            raise UserError(
                f"{part.path}: unused planes may go where nothing changes: sigma of {layer} would "
                f"be {found:g}, not {sigma:g}; keep them with --classes {channels}"
            )
        arrays[f"{layer}.spectral_norm.v"] = changed
    return replace(part, arrays=arrays, dropped=dropped)


def _reads_layout(part: Part, name: str) -> bool:
    if part.family == "spade" and name.endswith(".shared.weight"):
        return True
    if part.family == "discriminator":
        return name.endswith(".first.weight")
    if name == "first.weight":
        shape = part.arrays[name].shape
        return len(shape) == 4 and shape[1] == part.layout_channels
    return part.family == "tsit" and name in (
        "content_stream.blocks.0.conv_0.weight",
        "content_stream.blocks.0.conv_s.weight",
    )


def snapshot_arrays(parts: Sequence[Part]) -> Arrays:
    """Generator and encoder as a snapshot has them; what they never read under `kept.`."""
    arrays: Arrays = {}
    for part in parts:
        arrays |= {f"raw.{part.network}.{name}": array for name, array in part.arrays.items()}
    for part in parts:
        arrays |= {f"kept.{part.network}.{name}": array for name, array in part.kept.items()}
    return arrays


def take_kept(arrays: Mapping[str, np.ndarray], network: str) -> Arrays:
    """Back from `snapshot_arrays`: what `network` never reads, by its published names."""
    start = f"kept.{network}."
    return {n.removeprefix(start): array for n, array in arrays.items() if n.startswith(start)}
