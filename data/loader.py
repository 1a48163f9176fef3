"""Batches of layouts and photographs, read ahead by helper processes.

with BatchLoader(pairs, height=384, width=512, batch_size=2) as loader:
    for batch in loader.epoch(0):
        ...
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.classes import CONTEST_CLASSES
from data.folders import Pair, Photograph
from data.images import read_image
from data.labels import Colors, LabelError, read_colored_label, read_instances
from data.transforms import (
    crop,
    flip,
    instance_edges,
    map_unknown,
    normalise,
    resize_image,
    resize_layout,
)
from data.workers import InlinePool, ProcessPool

# What a seed is used for, so that no two uses share a stream.
_ORDER, _AUGMENT, _STYLE_ORDER, _STYLE_AUGMENT = 0, 1, 2, 3


@dataclass(frozen=True)
class Batch:
    """N pairs of one size, or N photographs as content with one each of the style.

    `layout` is int32 (N, H, W) of class ids, `edges` float32 (N, 1, H, W), 1 on the borders of
    objects, or None, `image` float32 (N, 3, H, W) in -1..1. Where photographs are the content,
    they stand in `layout`, in the form of `image`, which is the style. `stems` are the layouts' or
    the contents'. The arrays belong to the receiver.
    """

    layout: NDArray[Any]
    edges: NDArray[np.float32] | None
    image: NDArray[np.float32]
    stems: list[str]


def read_layout(
    path: Path | str,
    height: int | None = None,
    width: int | None = None,
    *,
    classes: int = len(CONTEST_CLASSES),
    unknown_label: int | None = None,
    first_id: int = 0,
) -> NDArray[np.int32]:
    """Read a layout as classes int32 (H, W), resized to the nearest pixel if a size is given.

    The id `first_id` becomes class 0, `unknown_label` class `classes`. Raises LabelError if the
    file cannot be read or has another id outside first_id..first_id+classes-1.
    """
    layout, _ = read_colored_layout(
        path, classes=classes, unknown_label=unknown_label, first_id=first_id
    )
    if height is not None and width is not None:
        layout = resize_layout(layout, height, width)
    return map_unknown(layout, classes, unknown_label, first_id)


def read_colored_layout(
    path: Path | str, *, classes: int, unknown_label: int | None, first_id: int
) -> tuple[NDArray[np.int32], Colors]:
    """Read a layout's ids int32 (H, W), as stored, and the color of each id of an indexed one.

    Raises LabelError as `read_layout` does.
    """
    end = first_id + classes
    layout, colors = read_colored_label(path, end)
    if int(layout.max()) >= end or first_id:
        wrong = (layout < first_id) | (layout >= end)
        wrong &= layout != (-1 if unknown_label is None else unknown_label)
        if wrong.any():
            allowed = f"{first_id}..{end - 1}" + f" or {unknown_label}" * (
                unknown_label is not None
            )
            row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
            value = f"id {layout[row, column]} at row {row}, column {column}"
            fix = "fix the label, or see --classes, --first-id and --unknown-label of the training"
            raise LabelError(path, f"ids {allowed}", value, fix)
    return layout, colors


def read_photograph(path: Path | str, height: int, width: int) -> NDArray[np.uint8]:
    """Read a photograph as uint8 RGB (height, width, 3), antialiased. Raises ImageError."""
    return resize_image(read_image(path, height, width), height, width)


@dataclass(frozen=True)
class _Recipe:
    height: int
    width: int
    classes: int
    unknown_label: int | None
    instances: bool
    flip: bool
    load_scale: float
    seed: int
    unpaired: bool
    first_id: int


@dataclass(frozen=True)
class _Task:
    """What to read into one slot: (row, place in the epoch, index of the pair, of the style)."""

    epoch: int
    slot: int
    rows: tuple[tuple[int, int, int, int], ...]


_Pool = InlinePool[_Task, None] | ProcessPool[_Task, None]


class BatchLoader:
    """Reads pairs in a random order that depends on seed and epoch alone.

    `batch_size` is that of one process. Of each global batch of `batch_size * world_size` pairs,
    rank r takes the r-th part, so that two ranks with batches of 1 see together what one process
    with batches of 2 sees. An incomplete last batch is dropped; where there are fewer pairs than
    one global batch, pairs repeat to fill it. With `epoch_images` an epoch has that many pictures:
    other ones each epoch where there are more pairs, and each pair several times where there are
    fewer. A pair's mirroring and crop depend on the seed, the
    epoch and its place in it, never on the number of workers. `load_scale` resizes to that many
    times the size before the crop.

    With `styles` the pairs are photographs instead, each of which gets one of `styles` at its place
    in the epoch: all in a random order of their own, again and again. The two are mirrored and
    cropped independently.

    `workers` helper processes read some batches ahead; 0 reads in this process, when asked. They
    start with the first epoch and end with `close()`, with the loader or with this process.
    Raises ValueError where an argument is out of range.
    """

    def __init__(
        self,
        pairs: Sequence[Pair | Photograph],
        *,
        height: int,
        width: int,
        batch_size: int,
        styles: Sequence[Photograph] = (),
        classes: int = len(CONTEST_CLASSES),
        unknown_label: int | None = None,
        instances: bool = False,
        flip: bool = True,
        load_scale: float = 1.0,
        epoch_images: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 2,
        first_id: int = 0,
    ) -> None:
        _check_range("pairs", len(pairs), 1)
        _check_range("height", height, 1)
        _check_range("width", width, 1)
        _check_range("batch_size", batch_size, 1)
        _check_range("classes", classes, 1, 65535)
        _check_range("load_scale", load_scale, 1)
        _check_range("seed", seed, 0)
        _check_range("world_size", world_size, 1)
        _check_range("rank", rank, 0, world_size - 1)
        _check_range("workers", workers, 0)
        self._pairs = list(pairs)
        self._styles = list(styles)
        unpaired = isinstance(pairs[0], Photograph)
        _check_range("styles", len(styles), int(unpaired), None if unpaired else 0)
        self._epoch_images = len(pairs) if epoch_images is None else epoch_images
        _check_range("epoch_images", self._epoch_images, 1)
        self._recipe = _Recipe(
            height,
            width,
            classes,
            unknown_label,
            instances,
            flip,
            load_scale,
            seed,
            unpaired,
            first_id,
        )
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._rank = rank
        self._world_size = world_size
        self._workers = workers
        # Enough batches ahead that every helper has one picture to read and one to go on with.
        self._slots = max(3, -(-2 * workers // batch_size) + 1)
        self._buffers: _Buffers | None = None
        self._pool: _Pool | None = None
        self._turn: object | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the same for every rank."""
        return max(1, self._epoch_images // (self._batch_size * self._world_size))

    def epoch(self, epoch: int, first_step: int = 0) -> Generator[Batch, None, None]:
        """Return the batches of an epoch from `first_step` on, without reading those before it.

        One epoch is read at a time: a later one ends an unfinished earlier one. Raises ValueError
        where epoch or step is out of range; its iteration raises PictureError, which names the
        file, where one cannot be read.
        """
        _check_range("epoch", epoch, 0)
        _check_range("first_step", first_step, 0, self.steps_per_epoch)
        return self._iterate(epoch, first_step)

    def close(self) -> None:
        """End the helper processes; a later epoch starts new ones."""
        self._turn = None
        if self._pool is not None:
            self._pool.close()
        self._pool = None
        self._buffers = None

    def __enter__(self) -> BatchLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _iterate(self, epoch: int, first_step: int) -> Generator[Batch, None, None]:
        if self._turn is not None:
            self.close()
        turn = self._turn = object()
        order = self._order(epoch)
        styles = self._style_order(epoch, len(order))
        steps = self.steps_per_epoch
        missing = dict.fromkeys(range(first_step, steps), 0)
        whole = False
        try:
            pool, buffers = self._start()
            for step in range(first_step, min(first_step + self._slots, steps)):
                missing[step] = self._request(pool, epoch, step, order, styles)
            for step in range(first_step, steps):
                while missing[step]:
                    answered, _ = pool.receive()
                    missing[answered] -= 1
                batch = buffers.take(step % self._slots, self._stems(step, order))
                following = step + self._slots
                if following < steps:
                    missing[following] = self._request(pool, epoch, following, order, styles)
                yield batch
                if self._turn is not turn:
                    raise RuntimeError("a later epoch, or close(), ended this one")
            whole = True
        finally:
            if self._turn is turn:
                self._turn = None
                if not whole:
                    # Helpers may still be writing into the buffers.
                    self.close()

    def _order(self, epoch: int) -> NDArray[np.int64]:
        wanted = max(self._epoch_images, self._batch_size * self._world_size)
        return self._mix(len(self._pairs), wanted, epoch, _ORDER)

    def _style_order(self, epoch: int, wanted: int) -> NDArray[np.int64]:
        """The style of each place in the epoch; -1 where pairs have their own photographs."""
        if not self._styles:
            return np.full(wanted, -1)
        return self._mix(len(self._styles), wanted, epoch, _STYLE_ORDER)

    def _mix(self, count: int, wanted: int, epoch: int, purpose: int) -> NDArray[np.int64]:
        if not self._shuffle:
            return np.resize(np.arange(count), wanted)
        random = _random(self._recipe.seed, epoch, purpose)
        rounds = [random.permutation(count) for _ in range(-(-wanted // count))]
        return np.concatenate(rounds)[:wanted]

    def _positions(self, step: int) -> range:
        first = (step * self._world_size + self._rank) * self._batch_size
        return range(first, first + self._batch_size)

    def _stems(self, step: int, order: NDArray[np.int64]) -> list[str]:
        return [self._pairs[order[position]].stem for position in self._positions(step)]

    def _request(
        self,
        pool: _Pool,
        epoch: int,
        step: int,
        order: NDArray[np.int64],
        styles: NDArray[np.int64],
    ) -> int:
        """Hand in the parts of a batch and return how many."""
        rows = [
            (row, position, int(order[position]), int(styles[position]))
            for row, position in enumerate(self._positions(step))
        ]
        parts = min(max(1, self._workers), len(rows))
        for part in range(parts):
            pool.submit(step, _Task(epoch, step % self._slots, tuple(rows[part::parts])))
        return parts

    def _start(self) -> tuple[_Pool, _Buffers]:
        if self._pool is None or self._buffers is None:
            self._buffers = _Buffers(self._recipe, self._slots, self._batch_size)
            arguments = (self._pairs, self._styles, self._recipe, self._buffers)
            if self._workers:
                files = (self._buffers.file,)
                self._pool = ProcessPool(_Filler, arguments, self._workers, files)
            else:
                self._pool = InlinePool(_Filler, arguments)
        return self._pool, self._buffers


class _Buffers:
    """Batches in memory that helper processes share, a byte a value where that is enough.

    The memory is a file without a name: /dev/shm, where Python's shared memory lies, is 64 MB in
    many containers and kills the process that writes beyond.
    """

    def __init__(self, recipe: _Recipe, slots: int, batch_size: int) -> None:
        self._form = (recipe, slots, batch_size)
        self.file = _nameless_file()
        os.ftruncate(self.file, sum(self._sizes()))
        self._map()

    def __getstate__(self) -> dict[str, Any]:
        return {"_form": self._form, "file": self.file}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.close(self.file)

    def take(self, slot: int, stems: list[str]) -> Batch:
        """Copy one batch out."""
        contents = self.contents[slot]
        return Batch(
            layout=normalise(contents) if self._form[0].unpaired else contents.astype(np.int32),
            edges=None if self.edges is None else self.edges[slot].astype(np.float32),
            image=normalise(self.images[slot]),
            stems=stems,
        )

    def _sizes(self) -> tuple[int, int, int]:
        """Return the bytes of all contents (layouts or photographs), images and edges."""
        recipe, slots, batch_size = self._form
        pixels = slots * batch_size * recipe.height * recipe.width
        return (3 if recipe.unpaired else 2) * pixels, 3 * pixels, recipe.instances * pixels

    def _map(self) -> None:
        recipe, slots, batch_size = self._form
        sizes = self._sizes()
        memory = np.frombuffer(mmap.mmap(self.file, sum(sizes)), dtype=np.uint8)
        contents, images, edges = np.split(memory, np.cumsum(sizes)[:2])
        frame = (recipe.height, recipe.width)
        planes = (3, *frame) if recipe.unpaired else frame
        kind = np.uint8 if recipe.unpaired else np.uint16
        self.contents = contents.view(kind).reshape(slots, batch_size, *planes)
        self.images = images.reshape(slots, batch_size, 3, *frame)
        self.edges = edges.reshape(slots, batch_size, 1, *frame) if recipe.instances else None


class _Filler:
    """Reads pairs into the buffers, in whatever process."""

    def __init__(
        self,
        pairs: Sequence[Pair | Photograph],
        styles: Sequence[Photograph],
        recipe: _Recipe,
        buffers: _Buffers,
    ) -> None:
        self._pairs = pairs
        self._styles = styles
        self._recipe = recipe
        self._buffers = buffers

    def __call__(self, task: _Task) -> None:
        for row, position, index, style in task.rows:
            pair, edges = self._pairs[index], None
            if isinstance(pair, Photograph):
                content = self._read_photograph(pair, task.epoch, _AUGMENT, position)
                content = content.transpose(2, 0, 1)
                image = self._read_photograph(
                    self._styles[style], task.epoch, _STYLE_AUGMENT, position
                )
            else:
                content, image, edges = self._read(pair, task.epoch, position)
            self._buffers.contents[task.slot, row] = content
            self._buffers.images[task.slot, row] = image.transpose(2, 0, 1)
            if self._buffers.edges is not None and edges is not None:
                self._buffers.edges[task.slot, row, 0] = edges

    def _read(
        self, pair: Pair, epoch: int, position: int
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
        recipe = self._recipe
        random = _random(recipe.seed, epoch, _AUGMENT, position)
        height, width, mirrored, top, left = self._draw(random)
        planes: list[NDArray[Any]] = [
            read_layout(
                pair.label_path,
                height,
                width,
                classes=recipe.classes,
                unknown_label=recipe.unknown_label,
                first_id=recipe.first_id,
            ),
            read_photograph(pair.image_path, height, width),
        ]
        if recipe.instances:
            planes.append(resize_layout(_instances(pair), height, width))
        planes = [crop(plane, top, left, recipe.height, recipe.width) for plane in planes]
        if mirrored:
            planes = [flip(plane) for plane in planes]
        edges = instance_edges(planes[2]) if recipe.instances else None
        return planes[0], planes[1], edges

    def _read_photograph(
        self, photograph: Photograph, epoch: int, use: int, position: int
    ) -> NDArray[Any]:
        height, width, mirrored, top, left = self._draw(
            _random(self._recipe.seed, epoch, use, position)
        )
        image: NDArray[Any] = read_photograph(photograph.path, height, width)
        image = crop(image, top, left, self._recipe.height, self._recipe.width)
        return flip(image) if mirrored else image

    def _draw(self, random: np.random.Generator) -> tuple[int, int, bool, int, int]:
        """The size to read at, whether to mirror, and where to crop."""
        recipe = self._recipe
        height = round(recipe.height * recipe.load_scale)
        width = round(recipe.width * recipe.load_scale)
        # Drawn whether used or not: one option's change leaves the other's numbers alone.
        mirrored = bool(random.integers(2)) and recipe.flip
        top = int(random.integers(height - recipe.height + 1))
        left = int(random.integers(width - recipe.width + 1))
        return height, width, mirrored, top, left


def _instances(pair: Pair) -> NDArray[np.int32]:
    if pair.instance_path is None:
        rule = "with instances, each pair must have an instance map"
        raise LabelError(pair.label_path, rule, "there is none", "leave --instances out")
    return read_instances(pair.instance_path)


def _random(*entropy: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("batches")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _check_range(name: str, value: float, least: float, most: float | None = None) -> None:
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"{least}..{most}"
        raise ValueError(f"{name} must be {bounds}: {value}")
