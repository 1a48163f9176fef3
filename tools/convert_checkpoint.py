"""Turn published weights into this project's snapshots, and snapshots into .pth files.

    python -m tools.convert_checkpoint latest_net_G.pth coco.safetensors
    python -m tools.convert_checkpoint FOLDER model.safetensors         # latest_net_G and _E of it
    python -m tools.convert_checkpoint model.safetensors FOLDER --to torch
    python -m tools.convert_checkpoint all.pth model.safetensors --key netG_ema
    bash test.sh --checkpoint model.safetensors --input_path LABELS --output_path OUT
    bash test.sh --checkpoint translates.safetensors --input_path CONTENT --img_path STYLES \
        --output_path OUT

SRC is a file of NVlabs/SPADE, EndlessSora/TSIT, this design's first version in Jittor, or VGG-19 of
torchvision or Jittor, or a folder that holds *_net_G and with it *_net_E. Of several networks in
one file the generator and its encoder are taken, or what --key names. PyTorch is not needed, and
nothing that a file holds is run.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.ownership import OutputFolder
from models.published import Family, to_published
from options.errors import UserError, list_names
from options.run import RunOptions
from tools.arguments import ToolParser, exit_codes
from training.checkpoint import PICKLES, SNAPSHOT_FORMAT, read_snapshot
from training.file_kind import weights_kind
from training.finite import require_finite
from training.foreign import (
    KNOWN,
    PHOTOGRAPH_CHANNELS,
    Hints,
    Part,
    describe,
    keep_channels,
    read_hints,
    read_parts,
    snapshot_arrays,
    take_kept,
)
from training.state_dicts import TITLES, Arrays
from training.tensor_file import read_metadata, read_tensors, write_tensors
from training.torch_file import write_archive

NETWORK_FORMAT = "jittor-landscape network 1"
LETTERS = {"generator": "G", "encoder": "E"}
FIX = "name another DST"


def convert(
    source: Path,
    target: Path,
    to: str,
    hints: Hints,
    weights: str = "ema",
    key: str | None = None,
) -> list[str]:
    """Convert and return the report's lines.

    Raises UserError if the source is not understood, the target is of the wrong form, or a file is
    in the way that is not this program's.
    """
    if to == "project":
        _check_suffix(target)
    if source.is_file() and weights_kind(source) == "safetensors":
        kind = read_metadata(source).get("format")
        if kind in (SNAPSHOT_FORMAT, NETWORK_FORMAT):
            if to == "project":
                raise UserError(f"{source} is a file of this project already; say --to torch")
            if key is not None:
                raise UserError(f"--key: {source} is a file of this project, without keys")
            return _unpack(source, target, str(kind), weights)
    lines = _check_target(target) if to == "project" else _check_torch(target, ())
    parts = _read_parts(source, key)
    if to == "torch":
        lines = [line for part in parts for line in _describe_part(part)]
        published = {_file_name(part, parts): _published(part.family, part) for part in parts}
        return lines + _write_torch_files(target, published)
    generators = [part for part in parts if part.family in ("spade", "tsit")]
    if not generators:
        if len(parts) > 1:
            raise UserError(f"{source}: without a generator, convert one file at a time")
        (part,) = parts
        _check_lone(part)
        metadata = {"format": NETWORK_FORMAT, "family": part.family}
        kept = {f"kept.{name}": array for name, array in part.kept.items()}
        _write_target(target, part.arrays | kept, metadata)
        return [*lines, *_describe_part(part), f"written: {target}"]
    own = read_hints(generators[0].path.parent)
    options, remarks = describe(parts, hints, own)
    channels = _layout_channels(options)
    if generators[0].layout_channels > channels:
        parts = [keep_channels(p, channels) if p.family != "encoder" else p for p in parts]
    for part in parts:
        lines += _describe_part(part)
    lines += _describe_options(options, remarks)
    _check_shapes(options, parts)
    metadata = {
        "format": SNAPSHOT_FORMAT,
        "options": options.to_json(),
        "epoch": "0",
        "step": "0",
        "phase": "",
        "classes": str(options.data.classes + (options.data.unknown_label is not None)),
        "converted": ", ".join(dict.fromkeys(part.path.name for part in parts)),
    }
    _write_target(target, snapshot_arrays(parts), metadata)
    return [*lines, f"written: {target}", _advise(target, options, parts)]


def _check_suffix(target: Path) -> None:
    if target.suffix != ".safetensors":
        raise UserError(f"DST is a .safetensors file: {target} is not; write {target}.safetensors")


def _check_target(target: Path) -> list[str]:
    """Check that a converted file can be written, and say if it replaces an earlier one.

    Converted files say so inside. A snapshot of a training never gives way, nor does any other
    file. Raises UserError.
    """
    OutputFolder(target.parent, FIX).check([])
    if not os.path.lexists(target):
        return []
    found = "this program did not convert it"
    if target.is_symlink() or not target.is_file():
        found = "it is no file"
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


def _read_parts(source: Path, key: str | None) -> list[Part]:
    """The networks of a file, or the generator and encoder of a folder."""
    if not source.is_dir():
        return read_parts(source, key)
    if key is not None:
        raise UserError(f"--key: expected a file, got the folder {source}. Name the file in it")
    parts = []
    for letter in "GE":
        found = sorted(path for path in source.glob(f"*_net_{letter}.*") if path.suffix in PICKLES)
        latest = [path for path in found if path.stem == f"latest_net_{letter}"]
        if len(latest or found) > 1:
            raise UserError(
                f"{source} holds {len(found)} files *_net_{letter}: {found[0].name}, "
                f"{found[1].name}; put those that belong together into a folder of their own"
            )
        parts += [part for path in latest or found for part in read_parts(path)]
    if not any(part.family in ("spade", "tsit") for part in parts):
        raise UserError(f"a folder holds *_net_G.pth (or .pkl): {source} does not; name a file")
    return parts


def _layout_channels(options: RunOptions) -> int:
    data = options.data
    if data.task == "translation":
        return PHOTOGRAPH_CHANNELS
    return data.classes + (data.unknown_label is not None) + data.instances


def _check_shapes(options: RunOptions, parts: Sequence[Part]) -> None:
    """Raise UserError where a name or shape is not the networks' that the options describe."""
    from tools.start import start_jittor

    start_jittor("cpu")
    from models.methods import create_method
    from training.variables import check_arrays, name_variables

    networks = create_method(options).networks  # nothing is computed: shapes alone are read
    names = {part.network for part in parts}
    arrays = {
        f"{part.network}.{name}": array for part in parts for name, array in part.arrays.items()
    }
    variables = name_variables({name: networks[name] for name in names if name in networks})
    check_arrays(variables, arrays, ", ".join(dict.fromkeys(str(part.path) for part in parts)))


def _check_lone(part: Part) -> None:
    """The same for a network that does not draw."""
    from tools.start import start_jittor

    start_jittor("cpu")
    from models.networks.discriminator import MultiScaleDiscriminator
    from models.networks.encoder import StyleEncoder
    from models.networks.vgg import VGG19
    from training.variables import check_arrays

    arrays = part.arrays
    network: StyleEncoder | MultiScaleDiscriminator | VGG19
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
    else:
        network = VGG19()
    check_arrays(network.state_dict(), arrays, str(part.path))


def _unpack(source: Path, target: Path, kind: str, weights: str) -> list[str]:
    """This project's file as .pth files under the published names."""
    if kind == NETWORK_FORMAT:
        arrays, metadata = read_tensors(source)
        require_finite(arrays, source)
        family: Family = metadata["family"]  # type: ignore[assignment]
        kept = {n.removeprefix("kept."): a for n, a in arrays.items() if n.startswith("kept.")}
        own = {name: array for name, array in arrays.items() if f"kept.{name}" not in arrays}
        own = {name: array for name, array in own.items() if not name.startswith("kept.")}
        part = Part(source, family, own, kept)
        return _write_torch_files(target, {f"{source.stem}.pth": _published(family, part)})
    snapshot = read_snapshot(source)
    chosen = snapshot.weights(weights)
    generator = snapshot.options.generator.generator
    if generator != "spade" and generator != "tsit":
        raise UserError(
            f"published names are known of spade and tsit: {source} holds a {generator} generator, "
            "which stays in the project's form"
        )
    published = {}
    families: dict[str, Family] = {"generator": generator, "encoder": "encoder"}
    for network, family in families.items():
        own = {
            name.removeprefix(f"{network}."): array
            for name, array in chosen.items()
            if name.startswith(f"{network}.")
        }
        if own:
            part = Part(source, family, own, take_kept(snapshot.arrays, network))
            published[f"latest_net_{LETTERS[network]}.pth"] = _published(family, part)
    return _write_torch_files(target, published)


def _published(family: Family, part: Part) -> Arrays:
    return to_published(family, part.arrays) | part.kept


def _check_torch(target: Path, names: Sequence[str]) -> list[str]:
    """Check that .pth files can be written, and say which earlier ones they replace.

    `names` are those of a folder's files; a lone .pth has its own. Raises UserError.
    """
    single = target.suffix == ".pth"
    if single and len(names) > 1:
        raise UserError(
            f"DST of {' and '.join(names)} is a folder: {target} is a file's name; name a folder"
        )
    folder = target.parent if single else target
    replaced = OutputFolder(folder, FIX).check([target.name] if single else names)
    return [f"replaces: {folder / name}, an earlier conversion" for name in replaced]


def _write_torch_files(target: Path, files: dict[str, Arrays]) -> list[str]:
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


def _file_name(part: Part, parts: Sequence[Part]) -> str:
    shared = [other for other in parts if other.path == part.path]
    if len(shared) > 1:
        return f"{part.path.stem}_net_{LETTERS[part.network]}.pth"
    return f"{part.path.stem}.pth"


def _describe_part(part: Part) -> list[str]:
    kinds = sorted({str(array.dtype) for array in part.arrays.values()})
    place = f" under {part.key}" if part.key else ""
    lines = [
        f"{part.path.name}{place}: {TITLES[part.family]}, {len(part.arrays)} tensors, "
        f"{sum(array.size for array in part.arrays.values()):,} numbers, {', '.join(kinds)}"
    ]
    reasons: dict[str, list[str]] = {}
    for name, array in part.kept.items():
        reasons.setdefault("kept for --to torch", []).append(f"{name} {_size(array)}")
    for name, why in part.dropped.items():
        reasons.setdefault(why, []).append(name)
    lines += [f"  not used: {list_names(names)}: {why}" for why, names in reasons.items()]
    return [*lines, *(f"note: {note}" for note in part.notes)]


def _size(array: np.ndarray) -> str:
    return "x".join(map(str, array.shape)) or "scalar"


def _describe_options(options: RunOptions, remarks: Sequence[str]) -> list[str]:
    data, generator = options.data, options.generator
    unknown = "none" if data.unknown_label is None else f"label {data.unknown_label}"
    found = {"content": "photographs (--task translation)"}
    if data.task == "synthesis":
        found = {
            "classes": f"{data.classes}, unknown {unknown}",
            "instance channel": "yes" if data.instances else "no",
        }
    found |= {
        "size": f"{data.height} x {data.width}",
        "channels": str(generator.channels),
        "halvings": str(generator.halvings),
        "norm": generator.norm,
        "style vector": str(generator.latent_size) if generator.vae else "none",
    }
    if generator.generator == "tsit":
        found["style stream"] = "yes" if generator.style_stream else "no"
        found["start"] = "style vector" if generator.vae else generator.start
    return [
        f"found: {', '.join(f'{name} {value}' for name, value in found.items())}",
        *(f"note: {remark}" for remark in remarks),
    ]


def _advise(target: Path, options: RunOptions, parts: Sequence[Part]) -> str:
    flags, source = "", "LABELS"
    if options.data.task == "translation":
        flags, source = " --img_path STYLES", "CONTENT"
    elif options.generator.generator == "tsit" and options.generator.style_stream:
        flags = " --style PHOTOGRAPH"
    elif options.generator.vae and len(parts) == 1:
        flags = " --style noise"
    if options.data.instances:
        flags += " --instance_path INSTANCES"
    return (
        f"draw with it: bash test.sh --checkpoint {target} --input_path {source} --output_path OUT"
        f"{flags} --size {options.data.height} {options.data.width}"
    )


@exit_codes(stopped="stopped: nothing was written")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 for what the user must mend, 130 for Ctrl-C."""
    arguments = _parser().parse_args(argv)
    hints = Hints(
        size=None if arguments.size is None else tuple(arguments.size),
        halvings=arguments.halvings,
        classes=arguments.classes,
        unknown_label=arguments.unknown_label,
        instances=arguments.instances,
    )
    source = Path(arguments.source).expanduser()
    target = Path(arguments.target).expanduser()
    try:
        for line in convert(source, target, arguments.to, hints, arguments.weights, arguments.key):
            print(line)
    except OSError as error:
        raise UserError(f"DST must be written: {error}") from None
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser("convert_checkpoint", __doc__)
    add = parser.add_argument
    add("source", metavar="SRC", help="a file of weights, or a folder with *_net_G and *_net_E")
    add("target", metavar="DST", help="a .safetensors file; for --to torch a .pth file or a folder")
    add("--to", choices=("project", "torch"), default="project", help="what to write (project)")
    known = ", ".join(str(channels) for channels in sorted(KNOWN))
    add(
        "--classes", type=int, metavar="N",
        help=f"classes of the layouts; fewer than there are planes drops the rest (known: {known})",
    )  # fmt: skip
    add("--unknown-label", "--unknown_label", type=int, metavar="ID", help="id of the last class")
    add("--instances", action="store_true", default=None, help="the last plane is of borders")
    add("--size", type=int, nargs=2, metavar=("H", "W"), help="of the pictures, in pixels")
    add("--halvings", type=int, choices=(4, 5, 6), help="of SPADE: 5 is normal, 6 more")
    add("--key", metavar="NAME", help="which of several networks in one file; dotted if nested")
    add("--weights", choices=("ema", "raw"), default="ema", help="of a snapshot, to torch (ema)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
