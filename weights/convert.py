"""Convert published weights to this project's files, and those to .pth files.

    lines = to_project(Path("latest_net_G.pth"), Path("coco.safetensors"), Hints())
    lines = to_torch(Path("coco.safetensors"), Path("FOLDER"))

The lines are a report for the user. A generator, with its encoder, becomes a snapshot, a SegFormer
a segmenter's file; any other network becomes a file of its own. Arrays that a network never reads
are kept under `kept.`, so that the way back gives every tensor of the source.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.ownership import OutputFolder
from options.errors import UserError, list_names
from options.train import RunOptions
from weights.conversion_report import describe_next, describe_options, describe_part
from weights.file_kind import weights_kind
from weights.finite import require_finite
from weights.infer_options import Hints, infer_options, read_hints
from weights.layout_planes import keep_planes
from weights.published_names import GENERATOR_FAMILIES, Family, UnknownNames, to_published
from weights.recognize import NETWORK_FORMAT, Part, read_parts
from weights.safetensors_file import read_metadata, read_tensors, write_tensors
from weights.segmenters import (
    KEPT,
    SEGMENTER_FORMAT,
    create_converted,
    infer_encoder,
    read_segmenter,
    segmenter_metadata,
)
from weights.snapshots import SNAPSHOT_FORMAT, read_snapshot, snapshot_metadata
from weights.state_dicts import TITLES, Arrays
from weights.torch_file import write_archive

PICKLES = (".pth", ".pt", ".ckpt", ".pkl", ".pickle")
LETTERS = {"generator": "G", "encoder": "E"}
FIX = "name another DST"


def to_project(source: Path, target: Path, hints: Hints, key: str | None = None) -> list[str]:
    """Convert published weights; return the lines of the report.

    key: which of several networks in the source, dotted. Raises UserError if the source is unknown
    or contradicts the hints, and if another program's file is in the way.
    """
    if target.suffix != ".safetensors":
        raise UserError(
            f"DST: expected a .safetensors file, got {target}. Write {target}.safetensors"
        )
    if _own_format(source) is not None:
        raise UserError(
            f"SRC: expected published weights, got {source}, a file of this project already. "
            "Add --to torch"
        )
    lines = _check_target(target)
    parts = _read_source(source, key)
    if not any(part.network == "generator" for part in parts):
        return [*lines, *_convert_network(source, target, parts)]
    return [*lines, *_convert_generator(target, parts, hints)]


def to_torch(source: Path, target: Path, weights: str = "ema", key: str | None = None) -> list[str]:
    """Convert to .pth files under published names; return the lines of the report.

    weights: 'ema' or 'raw', of a snapshot. Raises UserError as `to_project`, and for a generator
    without published names.
    """
    kind = _own_format(source)
    if kind is not None and key is not None:
        raise UserError(
            f"--key: expected a published file, got {source}, a file of this project, without "
            "keys. Remove --key"
        )
    if kind == SNAPSHOT_FORMAT:
        return _write_torch(target, _unpack_snapshot(source, weights))
    if kind == SEGMENTER_FORMAT:
        return _write_torch(target, _unpack_segmenter(source))
    if kind == NETWORK_FORMAT:
        return _write_torch(target, _unpack_network(source))
    _check_torch(target, ())
    parts = _read_source(source, key)
    lines = [line for part in parts for line in describe_part(part)]
    files = {_torch_name(part, parts): _publish(part) for part in parts}
    return lines + _write_torch(target, files)


def _own_format(source: Path) -> str | None:
    """Return the format of a file of this project, None for any other source."""
    if not source.is_file() or weights_kind(source) != "safetensors":
        return None
    kind = read_metadata(source).get("format")
    return kind if kind in (SNAPSHOT_FORMAT, SEGMENTER_FORMAT, NETWORK_FORMAT) else None


def _read_source(source: Path, key: str | None) -> list[Part]:
    """Read the networks of a file, or the generator and encoder of a folder."""
    if not source.is_dir():
        return read_parts(source, key)
    if key is not None:
        raise UserError(f"--key: expected a file, got the folder {source}. Name the file in it")
    parts = []
    for letter in LETTERS.values():
        found = sorted(path for path in source.glob(f"*_net_{letter}.*") if path.suffix in PICKLES)
        latest = [path for path in found if path.stem == f"latest_net_{letter}"]
        if len(latest or found) > 1:
            raise UserError(
                f"{source}: expected one file *_net_{letter}, got {len(found)}: {found[0].name}, "
                f"{found[1].name}. Move those that belong together into their own folder"
            )
        parts += [part for path in latest or found for part in read_parts(path)]
    if not any(part.network == "generator" for part in parts):
        raise UserError(
            f"SRC: expected a folder with a *_net_G.pth (or .pkl), got {source} without one. "
            "Name a file"
        )
    return parts


def _convert_network(source: Path, target: Path, parts: Sequence[Part]) -> list[str]:
    if len(parts) > 1:
        raise UserError(
            f"{source}: expected one network, got {len(parts)} without a generator. "
            "Convert one file at a time"
        )
    (part,) = parts
    if part.family in ("segformer", "segformer_hugging_face"):
        return _convert_segmenter(target, part)
    _check_network(part)
    kept = {f"kept.{name}": array for name, array in part.kept.items()}
    _write_target(target, part.arrays | kept, {"format": NETWORK_FORMAT, "family": part.family})
    return [*describe_part(part), f"written: {target}"]


def _convert_segmenter(target: Path, part: Part) -> list[str]:
    from runtime.start import start_jittor

    start_jittor("cpu")
    network = create_converted(part)
    encoder = network.encoder
    metadata = segmenter_metadata(
        network.shape, network.classes, encoder.norms, encoder.mean, encoder.deviation
    )
    metadata["converted"] = part.path.name
    _write_target(target, part.arrays | {f"{KEPT}{n}": a for n, a in part.kept.items()}, metadata)
    return [
        *describe_part(part),
        f"found: variant {metadata['variant']}, classes {network.classes}, norms {encoder.norms}",
        f"note: colors are assumed to be standardized as published: mean {metadata['mean']}, "
        f"deviation {metadata['deviation']}",
        f"written: {target}",
    ]


def _convert_generator(target: Path, parts: Sequence[Part], hints: Hints) -> list[str]:
    generator = next(part for part in parts if part.network == "generator")
    found = infer_options(parts, hints, read_hints(generator.path.parent))
    if generator.layout_channels > found.channels:
        parts = [keep_planes(p, found.channels) if p.layout_channels else p for p in parts]
    lines = [line for part in parts for line in describe_part(part)]
    lines += describe_options(found)
    _check_shapes(found.options, parts)
    arrays: Arrays = {}
    for part in parts:
        arrays |= {f"raw.{part.network}.{name}": array for name, array in part.arrays.items()}
    for part in parts:
        arrays |= {f"kept.{part.network}.{name}": array for name, array in part.kept.items()}
    metadata = snapshot_metadata(found.options, epoch=0, step=0, phase="")
    metadata["converted"] = ", ".join(dict.fromkeys(part.path.name for part in parts))
    _write_target(target, arrays, metadata)
    return [*lines, f"written: {target}", describe_next(target, found, parts)]


def _unpack_snapshot(source: Path, weights: str) -> dict[str, Arrays]:
    """Return the .pth files of a snapshot: name -> arrays."""
    snapshot = read_snapshot(source)
    generator = snapshot.options.generator.generator
    known = GENERATOR_FAMILIES.get(generator)
    if known is None:
        raise UserError(
            f"SRC: expected a generator with published names ({', '.join(GENERATOR_FAMILIES)}), "
            f"got {source}, a {generator} generator. It has no other format"
        )
    arrays = snapshot.weights(weights)
    families: dict[str, Family] = {"generator": known, "encoder": "encoder"}
    files = {}
    for network, family in families.items():
        if own := _take(arrays, network):
            kept = _take(snapshot.arrays, f"kept.{network}")
            files[f"latest_net_{LETTERS[network]}.pth"] = _publish(Part(source, family, own, kept))
    return files


def _unpack_segmenter(source: Path) -> dict[str, Arrays]:
    """Return the .pth file of a segmenter: name -> arrays."""
    from runtime.start import start_jittor

    start_jittor("cpu")
    segmenter = read_segmenter(source)
    family: Family = "segformer" if segmenter.norms == "nvlabs" else "segformer_hugging_face"
    part = Part(source, family, segmenter.arrays, segmenter.kept)
    return {f"{source.stem}.pth": _publish(part)}


def _unpack_network(source: Path) -> dict[str, Arrays]:
    """Return the .pth file of a network without a generator: name -> arrays."""
    arrays, metadata = read_tensors(source)
    require_finite(arrays, source)
    family = next((family for family in TITLES if family == metadata.get("family")), None)
    if family is None:
        raise UserError(
            f"{source}: expected a family in its metadata ({', '.join(TITLES)}), got "
            f"{metadata.get('family', 'none')[:40]!r}. Convert the published file again"
        )
    kept = _take(arrays, "kept")
    own = {n: a for n, a in arrays.items() if n not in kept and not n.startswith("kept.")}
    return {f"{source.stem}.pth": _publish(Part(source, family, own, kept))}


def _take(arrays: Arrays, prefix: str) -> Arrays:
    """Return the arrays of a prefix, without it."""
    start = f"{prefix}."
    return {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}


def _publish(part: Part) -> Arrays:
    try:
        return to_published(part.family, part.arrays) | part.kept
    except UnknownNames as error:
        raise UserError(
            f"{part.path}: expected the names of the {TITLES[part.family]}, got others: "
            f"{list_names(error.names)}. Name another file"
        ) from None


def _torch_name(part: Part, parts: Sequence[Part]) -> str:
    shared = [other for other in parts if other.path == part.path]
    if len(shared) > 1:
        return f"{part.path.stem}_net_{LETTERS[part.network]}.pth"
    return f"{part.path.stem}.pth"


def _check_target(target: Path) -> list[str]:
    """Check that a converted file can be written; return the line that announces a replacement.

    Metadata mark converted files. Raises UserError for any other file in the way, such as the
    snapshot of a training.
    """
    OutputFolder(target.parent, FIX).check([])
    if not os.path.lexists(target):
        return []
    found = "this program did not convert it"
    if target.is_symlink() or not target.is_file():
        found = "it is not a file"
    else:
        try:
            metadata = read_metadata(target)
        except UserError:
            metadata = {}
        if "converted" in metadata or metadata.get("format") == NETWORK_FORMAT:
            return [f"replaces: {target}, an earlier conversion"]
        if metadata.get("format") == SNAPSHOT_FORMAT:
            found = "it is the snapshot of a training"
    raise UserError(f"{target} is in the way: {found}; move it away, or {FIX}")


def _write_target(target: Path, arrays: Arrays, metadata: dict[str, str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    _check_target(target)
    write_tensors(target, arrays, metadata)


def _check_torch(target: Path, names: Sequence[str]) -> list[str]:
    """Check that .pth files can be written; return the lines that announce replacements.

    names: of the files, if the target is a folder. Raises UserError for another file in the way.
    """
    single = target.suffix == ".pth"
    if single and len(names) > 1:
        raise UserError(
            f"DST: expected a folder for {' and '.join(names)}, got the file name {target}. "
            "Name a folder"
        )
    folder = target.parent if single else target
    replaced = OutputFolder(folder, FIX).check([target.name] if single else names)
    return [f"replaces: {folder / name}, an earlier conversion" for name in replaced]


def _write_torch(target: Path, files: Mapping[str, Arrays]) -> list[str]:
    lines = _check_torch(target, list(files))
    single = target.suffix == ".pth"
    folder = target.parent if single else target
    named = {target.name if single else name: arrays for name, arrays in files.items()}
    OutputFolder(folder, FIX).write(
        {name: functools.partial(write_archive, arrays=arrays) for name, arrays in named.items()}
    )
    return lines + [
        f"written: {folder / name}, {len(arrays)} tensors" for name, arrays in named.items()
    ]


def _check_shapes(options: RunOptions, parts: Sequence[Part]) -> None:
    """Raise UserError if names or shapes are not those of the networks of the options."""
    from runtime.start import start_jittor

    start_jittor("cpu")
    from models.gans import create_method
    from weights.variables import check_arrays, name_variables

    networks = create_method(options).networks  # computes nothing: only shapes are read
    names = {part.network for part in parts}
    arrays = {
        f"{part.network}.{name}": array for part in parts for name, array in part.arrays.items()
    }
    variables = name_variables({name: networks[name] for name in names if name in networks})
    check_arrays(variables, arrays, ", ".join(dict.fromkeys(str(part.path) for part in parts)))


def _check_network(part: Part) -> None:
    """Raise UserError if names or shapes are not those of a network of its family."""
    from runtime.start import start_jittor

    start_jittor("cpu")
    from models.networks.discriminator import MultiScaleDiscriminator
    from models.networks.encoder import StyleEncoder
    from models.networks.segformer import MixTransformer
    from models.networks.vgg import VGG19
    from weights.variables import check_arrays

    arrays = part.arrays
    network: StyleEncoder | MultiScaleDiscriminator | MixTransformer | VGG19
    if part.family == "encoder":
        network = StyleEncoder(
            channels=len(arrays["layers.0.weight"]), latent_size=len(arrays["mean.weight"])
        )
    elif part.family == "discriminator":
        places = {tuple(name.split(".")[1:4]) for name in arrays if ".middle." in name}
        network = MultiScaleDiscriminator(
            layout_channels=part.layout_channels,
            channels=len(arrays["discriminators.0.first.weight"]),
            layers=1 + len({index for _, _, index in places}),
            scales=len({name.split(".")[1] for name in arrays}),
        )
    elif part.family in ("mit", "mit_hugging_face"):
        widths, blocks = infer_encoder(arrays, part.path, "")
        network = MixTransformer(widths=widths, blocks=blocks)
    else:
        network = VGG19()
    check_arrays(network.state_dict(), arrays, str(part.path))
