"""Infer the options of a published generator: from its weights, from opt.txt, from the user.

    found = infer_options(parts, Hints(size=(256, 256)), read_hints(folder))
    found.options, found.remarks

Names and shapes determine most of the architecture. Hints add the rest; without a hint, the value
of the publication is taken, with a remark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from data.classes import CONTEST_CLASSES
from options.errors import UserError
from options.generators import GENERATORS, ContentKind
from options.groups import DataOptions, GeneratorOptions
from options.paths import read_file
from options.train import RunOptions
from weights.published_names import Family
from weights.recognize import Part

# TSIT's names of tasks -> their content: semantic image synthesis, and two that start from photos.
CONTENT: dict[str, ContentKind] = {"SIS": "layout", "AST": "photo", "MMIS": "photo"}
PHOTO_CHANNELS = 3
CONTEST_CHANNELS = 255  # planes that this design's first version made of the contest's classes
# SPADE's names of depths. Only the deepest has another number of blocks, MOST_BLOCKS.
SPADE_DEPTHS = GENERATORS["spade"].depth_words
MOST_BLOCKS = 8


@dataclass(frozen=True)
class Published:
    """The published models with one number of layout planes."""

    classes: int
    unknown_label: int | None = None
    instances: bool = False
    size: tuple[int, int] = (256, 256)
    num_downsamples: int = SPADE_DEPTHS["normal"]


_CONTEST = Published(len(CONTEST_CLASSES), size=(384, 512))
_CITYSCAPES = Published(35, size=(256, 512), num_downsamples=SPADE_DEPTHS["more"])
# Number of layout planes -> the published models.
PUBLISHED = {
    184: Published(182, 255, instances=True),  # COCO-Stuff
    183: Published(182, 255),
    182: Published(182),
    151: Published(150, 255),  # ADE20K
    36: replace(_CITYSCAPES, instances=True),
    35: _CITYSCAPES,
    CONTEST_CHANNELS: _CONTEST,
    len(CONTEST_CLASSES): _CONTEST,
}
_UNPUBLISHED = Published(0)


@dataclass(frozen=True)
class Hints:
    """Properties that are not in the weights, from the user or from opt.txt; None if unknown."""

    size: tuple[int, int] | None = None
    num_downsamples: int | None = None
    classes: int | None = None
    unknown_label: int | None = None
    instances: bool | None = None
    fadain_alpha: float | None = None
    content: ContentKind | None = None

    def over(self, other: Hints) -> Hints:
        """Return these hints, completed by others."""
        mine = {name: value for name, value in vars(self).items() if value is not None}
        return replace(other, **mine)


@dataclass(frozen=True)
class LayoutPlanes:
    """The planes of a layout: one per class, then the unknown label's, then instance boundaries."""

    classes: int
    unknown_label: int | None
    instances: bool

    @property
    def channels(self) -> int:
        """Number of planes."""
        return self.classes + (self.unknown_label is not None) + self.instances


@dataclass(frozen=True)
class Inferred:
    """The options of a generator.

    Attributes:
        layout: None if the content is photos.
        remarks: the properties that are not in the weights, in words.
    """

    options: RunOptions
    layout: LayoutPlanes | None
    remarks: tuple[str, ...]

    @property
    def channels(self) -> int:
        """Number of content planes that the networks read."""
        return PHOTO_CHANNELS if self.layout is None else self.layout.channels


def read_hints(folder: Path) -> Hints:
    """Read the opt.txt that SPADE and TSIT write next to their weights; empty if there is none."""
    path = folder / "opt.txt"
    if not path.is_file():
        return Hints()
    text = read_file(path).decode("utf-8", "replace")
    found = dict(re.findall(r"^\s*(\w+): (.*?)\s*(?:\[default: .*\])?$", text, re.MULTILINE))
    try:
        width = int(found["crop_size"])
        return Hints(
            size=(round(width / float(found["aspect_ratio"])), width),
            num_downsamples=SPADE_DEPTHS.get(found.get("num_upsampling_layers", "normal")),
            classes=int(found["label_nc"]),
            unknown_label=255 if found.get("contain_dontcare_label") == "True" else None,
            instances=found.get("no_instance") == "False",
            fadain_alpha=float(found["alpha"]) if "alpha" in found else None,
            content=CONTENT.get(found.get("task", "")),
        )
    except (KeyError, ValueError, ArithmeticError) as error:
        fault = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{path}: expected numbers as crop_size, aspect_ratio and label_nc, got {fault}. "
            "Fix or remove the file"
        ) from None


def infer_options(parts: Sequence[Part], hints: Hints, from_file: Hints) -> Inferred:
    """Infer the options of a generator's snapshot.

    hints: the user's. from_file: those of opt.txt. Raises UserError if hints contradict the weights
    or if this project cannot run the generator.
    """
    generator = next(part for part in parts if part.network == "generator")
    remarks: list[str] = []
    layout = _infer_layout(generator, hints, from_file, remarks)
    found = _read_architecture(generator)
    published = PUBLISHED.get(generator.layout_channels, _UNPUBLISHED)
    given = hints.over(from_file)
    depth = _infer_depth(found, given, published, remarks)
    height, width = _infer_size(found, depth, hints, given, published, remarks)
    start = _infer_start(generator, found, layout)
    content_channels = PHOTO_CHANNELS if layout is None else layout.channels
    settings: dict[str, Any] = {}
    if found.content_channels not in (None, content_channels):
        settings["content_channels"] = found.content_channels
    if found.fadain and given.fadain_alpha is not None:
        settings["fadain_alpha"] = given.fadain_alpha
    if found.latent_size is not None:
        settings["latent_size"] = found.latent_size
    data: dict[str, Any] = {"task": "translation"} if layout is None else vars(layout)
    options = RunOptions(
        data=DataOptions(height=height, width=width, **data),
        generator=GeneratorOptions(
            generator=found.family,
            channels=found.channels,
            num_downsamples=depth,
            vae=found.latent_size is not None,
            style_stream=found.style_stream,
            start=start,
            norm=found.norm,
            **settings,
        ),
    )
    return Inferred(options.validate(), layout, tuple(remarks))


@dataclass(frozen=True)
class _Architecture:
    """The properties of a generator that follow from its names and shapes.

    Attributes:
        latent_size: None without a style vector.
        coarsest: pixels of the coarsest map; None without a style vector.
        first_channels: planes that the first layer reads; the latent size with a style vector.
        style_stream: the value of the option, which is on for a SPADE too.
        fadain: whether the style stream's FAdaIN is there.
        content_channels: channels inside the first block of the content stream; None without one.
    """

    family: Family
    blocks: int
    channels: int
    latent_size: int | None
    coarsest: int | None
    first_channels: int
    style_stream: bool
    fadain: bool
    content_channels: int | None
    norm: Literal["batch", "instance"]


def _read_architecture(generator: Part) -> _Architecture:
    arrays = generator.arrays
    first, last = arrays["first.weight"], arrays["last.weight"]
    blocks = len({name.split(".")[1] for name in arrays if name.startswith("blocks.")})
    widest = int(arrays["blocks.0.conv_0.weight"].shape[0])
    channels = int(last.shape[1])
    if generator.family == "spade" and blocks == MOST_BLOCKS:
        channels *= 2  # the block more halves them
    latent = first.ndim == 2
    inner = arrays.get("content_stream.blocks.0.conv_0.weight")
    takes_photo = any(name.startswith("style_stream.") for name in arrays)
    return _Architecture(
        family=generator.family,
        blocks=blocks,
        channels=channels,
        latent_size=int(first.shape[1]) if latent else None,
        coarsest=first.shape[0] // widest if latent else None,
        first_channels=int(first.shape[1]),
        style_stream=takes_photo or not GENERATORS[generator.family].style_stream,
        fadain=takes_photo,
        content_channels=None if inner is None else len(inner),
        norm="batch" if any(name.endswith(".running_mean") for name in arrays) else "instance",
    )


def _infer_layout(
    generator: Part, hints: Hints, from_file: Hints, remarks: list[str]
) -> LayoutPlanes | None:
    """Infer the planes of the layout; None if they are the colors of photos."""
    channels = generator.layout_channels
    may_translate = "translation" in GENERATORS[generator.family].tasks
    if may_translate and channels == PHOTO_CHANNELS and hints.classes is None:
        if from_file.content is None:
            remarks.append(
                "3 content planes are taken as photos (--task translation); if they are 3 classes, "
                "add --classes 3"
            )
        if from_file.content != "layout":
            return None
    named = (hints.classes, hints.unknown_label, hints.instances) != (None, None, None)
    if not named and from_file.classes not in (None, CONTEST_CHANNELS):
        hints = from_file
    elif not named and channels in PUBLISHED:
        published = PUBLISHED[channels]
        hints = Hints(
            classes=published.classes,
            unknown_label=published.unknown_label,
            instances=published.instances,
        )
        remarks.append(
            f"{channels} layout planes are taken as {_describe_planes(hints, published.classes)}; "
            "see --classes, --unknown-label and --instances"
        )
    others = (hints.unknown_label is not None) + bool(hints.instances)
    classes = channels - others if hints.classes is None else hints.classes
    planes = LayoutPlanes(classes, hints.unknown_label, bool(hints.instances))
    if planes.channels > channels or (others and planes.channels < channels) or classes < 1:
        raise UserError(
            f"{generator.path}: expected {planes.channels} layout planes "
            f"({_describe_planes(hints, classes)}), got {channels}. See --classes, --unknown-label "
            "and --instances"
        )
    return planes


def _describe_planes(hints: Hints, classes: int) -> str:
    parts = [f"{classes} classes"]
    if hints.unknown_label is not None:
        parts.append(f"unknown label {hints.unknown_label}")
    if hints.instances:
        parts.append("instance boundaries")
    return ", ".join(parts)


def _infer_depth(
    found: _Architecture, given: Hints, published: Published, remarks: list[str]
) -> int:
    """Infer the number of downsamples."""
    if found.family != "spade":
        return found.blocks
    if found.blocks == MOST_BLOCKS:
        return SPADE_DEPTHS["most"]
    if given.num_downsamples is not None:
        return given.num_downsamples
    depth = published.num_downsamples
    if found.coarsest is not None:
        size = given.size or published.size
        depths = (SPADE_DEPTHS["normal"], SPADE_DEPTHS["more"])
        depth = next((n for n in depths if _fits(size, n, found.coarsest)), depth)
    word = next(word for word, n in SPADE_DEPTHS.items() if n == depth)
    remarks.append(
        f"{depth} downsamples ({word}) are taken from the publication: the weights of "
        "different depths look alike; see --num-downsamples"
    )
    return depth


def _infer_size(
    found: _Architecture,
    depth: int,
    hints: Hints,
    given: Hints,
    published: Published,
    remarks: list[str],
) -> tuple[int, int]:
    """Infer (height, width) of the images."""
    size = given.size or published.size
    if given.size is None and min(size) < 2 << depth:
        size = (2 << depth, 2 << depth)
    if found.coarsest is not None and not _fits(size, depth, found.coarsest):
        if hints.size is not None:
            raise UserError(
                f"--size: expected the size that the style vector was trained for, of "
                f"{found.coarsest} pixels after {depth} downsamples, got {size[0]} x {size[1]}. "
                "Remove the flag, or name that size"
            )
        rows = next(h for h in range(int(found.coarsest**0.5), 0, -1) if found.coarsest % h == 0)
        size = (rows << depth, found.coarsest // rows << depth)
    if given.size is None:
        remarks.append(f"size {size[0]} x {size[1]} is not in the weights; see --size")
    return size


def _fits(size: tuple[int, int], depth: int, coarsest: int) -> bool:
    """Whether a size has so many pixels after so many downsamples."""
    step = 1 << depth
    return not (size[0] | size[1]) % step and size[0] // step * (size[1] // step) == coarsest


def _infer_start(
    generator: Part, found: _Architecture, layout: LayoutPlanes | None
) -> Literal["layout", "noise"]:
    """Infer the input of the first layer; UserError for photos without a style stream."""
    if layout is None:
        if found.latent_size is not None or not found.style_stream:
            style = "no style" if found.latent_size is None else "a style vector"
            raise UserError(
                f"{generator.path}: expected a style stream, as the content is photos, got "
                f"{style}. This project cannot run such a TSIT"
            )
        return "noise"
    if found.latent_size is not None or found.first_channels == generator.layout_channels:
        return "layout"
    return "noise" if GENERATORS[found.family].style_stream else "layout"
