"""Sources of generated images: layouts or content photos, behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from data.content import find_run_layouts
from data.folders import CONTENT, find_content, find_test_layouts
from data.images import ImageFileError, inspect_image
from data.label_ids import find_color_conflicts
from data.labels import Colors, read_instances
from data.listing import describe_unused
from data.reading import read_colored_layout, read_layout, read_photo
from data.workers import run_all
from inference.contact_sheet import render_layout
from inference.styles import (
    Reference,
    Sources,
    label_reading,
    nearest_styles,
    random_styles,
    require_dataset,
)
from options.errors import UserError
from options.groups import DataOptions
from options.test import TestOptions
from weights.snapshots import Snapshot

SHOWN_FAULTS = 5
CONTEST_SIZE = (384, 512)

Shape: TypeAlias = tuple[int, int]  # (height, width)


class Conditioner(ABC):
    """Finds, checks and reads the sources of images.

    Attributes:
        noun: name of a source in messages.
        title: name of its column in contact sheets.
        reference: the rule of `--style reference`.
    """

    noun: str
    title: str
    reference: Reference

    def __init__(self, data: DataOptions) -> None:
        self.data = data

    @property
    @abstractmethod
    def image_size(self) -> Shape:
        """Size of the written images unless the user asks for another one."""

    @abstractmethod
    def find(self, options: TestOptions, snapshot: Snapshot) -> tuple[Sources, list[str]]:
        """Find the sources, and notes about unused files. Raises UserError if there are none."""

    @abstractmethod
    def check(self, paths: Sequence[Path]) -> list[Shape]:
        """Decode the sources and return their sizes; UserError lists the bad ones."""

    @abstractmethod
    def read(self, path: Path, size: Shape) -> NDArray[Any]:
        """Read a source for the synthesizer: ids int32 (H, W), or a photo uint8 (H, W, 3)."""

    @abstractmethod
    def render(self, content: NDArray[Any], cell: Shape) -> NDArray[np.uint8]:
        """Render what `read` returns for a contact sheet, uint8 (H, W, 3)."""

    @abstractmethod
    def thumbnail(self, path: Path, cell: Shape) -> tuple[NDArray[np.uint8], set[int]]:
        """A source rendered for a contact sheet, and the class ids in it for a legend."""


@final
class LayoutConditioner(Conditioner):
    """Semantic layouts."""

    noun = title = "layout"
    reference = staticmethod(nearest_styles)

    @property
    def image_size(self) -> Shape:
        return CONTEST_SIZE

    def find(self, options: TestOptions, snapshot: Snapshot) -> tuple[Sources, list[str]]:
        if options.input_path is not None:
            found = find_test_layouts(options.input_path)
        else:
            found = find_run_layouts(require_dataset(snapshot, "--input_path LABELS"))
        sources = Sources(found.root, found.paths, found.paths[: options.limit])
        return sources, describe_unused(found.unused)

    def check(self, paths: Sequence[Path]) -> list[Shape]:
        return _check_files(
            _LayoutChecker, (label_reading(self.data),), paths, self.data.workers, self.noun
        )

    def read(self, path: Path, size: Shape) -> NDArray[np.int32]:
        return read_layout(path, *size, **label_reading(self.data))

    def render(self, content: NDArray[Any], cell: Shape) -> NDArray[np.uint8]:
        return render_layout(content, self.data.layout_classes, cell)

    def thumbnail(self, path: Path, cell: Shape) -> tuple[NDArray[np.uint8], set[int]]:
        layout = read_layout(path, **label_reading(self.data))
        return self.render(layout, cell), set(np.unique(layout).tolist())


@final
class PhotoConditioner(Conditioner):
    """Content photos of a translation."""

    noun = "photo"
    title = CONTENT
    reference = staticmethod(random_styles)

    @property
    def image_size(self) -> Shape:
        return self.data.height, self.data.width

    def find(self, options: TestOptions, snapshot: Snapshot) -> tuple[Sources, list[str]]:
        dataset = options.input_path or require_dataset(snapshot, "--input_path CONTENT")
        found = find_content(dataset)
        known = [photo.path for photo in found.photos]
        return Sources(found.root, known, known[: options.limit]), describe_unused(found.unused)

    def check(self, paths: Sequence[Path]) -> list[Shape]:
        return _check_files(_PhotoChecker, (), paths, self.data.workers, self.noun)

    def read(self, path: Path, size: Shape) -> NDArray[np.uint8]:
        return read_photo(path, *size)

    def render(self, content: NDArray[Any], cell: Shape) -> NDArray[np.uint8]:
        return content

    def thumbnail(self, path: Path, cell: Shape) -> tuple[NDArray[np.uint8], set[int]]:
        return read_photo(path, *cell), set()


CONDITIONERS: dict[str, type[Conditioner]] = {
    "synthesis": LayoutConditioner,
    "translation": PhotoConditioner,
}


def conditioner_of(data: DataOptions) -> Conditioner:
    """The conditioner of the task that a generator was trained for."""
    return CONDITIONERS[data.task](data)


def check_photos(paths: Sequence[Path], workers: int) -> None:
    """Decode style photos; UserError lists the bad ones."""
    _check_files(_PhotoChecker, (), sorted(set(paths)), workers, "style photo")


def check_instances(paths: Sequence[Path], shapes: Sequence[Shape], workers: int) -> None:
    """Decode instance maps, each of the size of its layout; UserError lists the bad ones."""
    shape_of = dict(zip(paths, shapes, strict=True))
    _check_files(_InstanceChecker, (shape_of,), paths, workers, "instance map")


@dataclass(frozen=True)
class _Facts:
    """Size of a decoded file, and the colors of an indexed label."""

    shape: Shape
    colors: Colors = ()


class _LayoutChecker:
    """Decodes a layout in any process; returns its facts, or the fault."""

    def __init__(self, reading: dict[str, Any]) -> None:
        self.reading = reading

    def __call__(self, path: Path) -> _Facts | str:
        try:
            layout, colors = read_colored_layout(path, **self.reading)
            height, width = layout.shape
            return _Facts((height, width), colors)
        except ImageFileError as error:
            return str(error)


class _PhotoChecker:
    """Decodes a photo in any process; returns its facts, or the fault."""

    def __call__(self, path: Path) -> _Facts | str:
        try:
            facts = inspect_image(path)
        except ImageFileError as error:
            return str(error)
        return _Facts((facts.height, facts.width))


class _InstanceChecker:
    """Decodes an instance map in any process; it must have the size of its layout."""

    def __init__(self, shapes: dict[Path, Shape]) -> None:
        self.shapes = shapes

    def __call__(self, path: Path) -> _Facts | str:
        try:
            height, width = read_instances(path).shape
        except ImageFileError as error:
            return str(error)
        wanted = self.shapes[path]
        if (height, width) != wanted:
            return (
                f"{path}: expected the size of its layout, {wanted[0]} x {wanted[1]}, got "
                f"{height} x {width}"
            )
        return _Facts((height, width))


def _check_files(
    checker: Callable[..., Callable[[Path], _Facts | str]],
    arguments: tuple[Any, ...],
    paths: Sequence[Path],
    workers: int,
    noun: str,
) -> list[Shape]:
    """Sizes (height, width) of files; UserError lists the bad ones."""
    answers = run_all(checker, arguments, paths, workers=workers)
    faults = [answer for answer in answers if isinstance(answer, str)]
    facts = [answer for answer in answers if not isinstance(answer, str)]
    if not faults:
        labels = [(path, one.colors) for path, one in zip(paths, facts, strict=True)]
        faults = [str(fault) for fault in find_color_conflicts(labels).values()]
    if faults:
        more = f" And {len(faults) - SHOWN_FAULTS} more." if len(faults) > SHOWN_FAULTS else ""
        raise UserError(
            f"{len(faults)} of {len(paths)} {noun}s are invalid: "
            f"{' '.join(faults[:SHOWN_FAULTS])}{more}"
        )
    return [one.shape for one in facts]
