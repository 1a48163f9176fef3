"""The report of a conversion: contents of the source, inferred options, the next command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from options.errors import list_names
from weights.infer_options import Inferred
from weights.recognize import Part
from weights.state_dicts import TITLES
from weights.variables import show_shape


def describe_part(part: Part) -> list[str]:
    """Describe a network and the arrays that are left out."""
    dtypes = sorted({str(array.dtype) for array in part.arrays.values()})
    place = f" under {part.key}" if part.key else ""
    lines = [
        f"{part.path.name}{place}: {TITLES[part.family]}, {len(part.arrays)} tensors, "
        f"{sum(array.size for array in part.arrays.values()):,} numbers, {', '.join(dtypes)}"
    ]
    reasons: dict[str, list[str]] = {}
    for name, array in part.kept.items():
        reasons.setdefault("kept for --to torch", []).append(f"{name} {show_shape(array.shape)}")
    for name, reason in part.dropped.items():
        reasons.setdefault(reason, []).append(name)
    lines += [f"  not used: {list_names(names)}: {reason}" for reason, names in reasons.items()]
    return [*lines, *(f"note: {note}" for note in part.notes)]


def describe_options(found: Inferred) -> list[str]:
    """Describe the inferred options, one line, and the remarks."""
    data, generator = found.options.data, found.options.generator
    values = {"content": "photos (--task translation)"}
    if found.layout is not None:
        unknown = "none" if data.unknown_label is None else f"label {data.unknown_label}"
        values = {
            "classes": f"{data.classes}, unknown {unknown}",
            "instance channel": "yes" if data.instances else "no",
        }
    values |= {
        "size": f"{data.height} x {data.width}",
        "channels": str(generator.channels),
        "downsamples": str(generator.num_downsamples),
        "norm": generator.norm,
        "style vector": str(generator.latent_size) if generator.vae else "none",
    }
    if generator.spec.style_stream:
        values["style stream"] = "yes" if generator.style_stream else "no"
        values["start"] = "style vector" if generator.vae else generator.start
    return [
        f"found: {', '.join(f'{name} {value}' for name, value in values.items())}",
        *(f"note: {remark}" for remark in found.remarks),
    ]


def describe_next(target: Path, found: Inferred, parts: Sequence[Part]) -> str:
    """Describe the command that generates images with a converted file."""
    data, style = found.options.data, found.options.generator.style
    flags, source = "", "LABELS"
    if found.layout is None:
        flags, source = " --img_path STYLES", "CONTENT"
    elif style == "photo":
        flags = " --style PHOTO"
    elif style == "vector" and len(parts) == 1:
        flags = " --style noise"
    if data.instances:
        flags += " --instance_path INSTANCES"
    return (
        f"generate with it: bash test.sh --checkpoint {target} --input_path {source} "
        f"--output_path OUT{flags} --size {data.height} {data.width}"
    )
