"""Batches of layouts and photos that helper processes read ahead of time.

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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.classes import CONTEST_CLASSES
from data.folders import Pair, Photo
from data.images import read_image
from data.labels import LabelError, read_instances
from data.random_crops import CropRecipe, random_crop
from data.reading import read_layout, read_photo
from data.transforms import crop, flip, instance_edges, normalize, resize_layout
from data.workers import InlinePool, ProcessPool

# Purposes of random numbers; each has its own stream.
_ORDER, _AUGMENT, _STYLE_ORDER, _STYLE_AUGMENT = 0, 1, 2, 3


@dataclass(frozen=True)
class Batch:
    """N pairs, or N content photos with one style photo each.

    content: layouts, int32 (N, H, W) class ids; or photos, float32 (N, 3, H, W) in -1..1.
    edges: instance boundaries, float32 (N, 1, H, W), 0 or 1; None without instances.
    image: photos of the layouts, or style photos, float32 (N, 3, H, W) in -1..1.
    stems: of the contents.

    The arrays are copies that the receiver owns.
    """

    content: NDArray[Any]
    edges: NDArray[np.float32] | None
    image: NDArray[np.float32]
    stems: list[str]


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
    crops: CropRecipe | None


@dataclass(frozen=True)
class _Task:
    """Rows to read into one slot: (row, position in the epoch, index of the pair, of the style)."""

    epoch: int
    slot: int
    rows: tuple[tuple[int, int, int, int], ...]


_Pool = InlinePool[_Task, None] | ProcessPool[_Task, None]


class BatchLoader:
    """Reads pairs in a random order that depends only on the seed and the epoch.

    batch_size: per process. Rank r reads the r-th part of each global batch of
    `batch_size * world_size` pairs, so two ranks with batches of 1 read the same pairs as one
    process with batches of 2. An incomplete last batch is dropped; pairs repeat if they are fewer
    than one global batch.
    epoch_images: images per epoch. Each epoch samples other ones if there are more pairs, and
    repeats pairs if there are fewer.
    load_scale: pairs are resized to this multiple of the size, then cropped. Flip and crop depend
    on the seed, the epoch and the position in it, not on the number of workers.
    crops: makes crops of random scale and color instead, of the photos at their own aspect ratios;
    `flip` and `load_scale` have no effect then.
    styles: makes the loader unpaired. `pairs` are content photos then, and each position of the
    epoch gets one of `styles`, in repeated random permutations. Both photos are flipped and
    cropped independently.
    workers: helper processes that read some batches ahead; 0 reads in this process on demand.
    Helpers start with the first epoch and end with `close()`, with the loader or with this
    process.

    Raises ValueError if an argument is out of range.
    """

    def __init__(
        self,
        pairs: Sequence[Pair | Photo],
        *,
        height: int,
        width: int,
        batch_size: int,
        styles: Sequence[Photo] = (),
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
        crops: CropRecipe | None = None,
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
        unpaired = isinstance(pairs[0], Photo)
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
            crops,
        )
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._rank = rank
        self._world_size = world_size
        self._workers = workers
        # Two images per helper: one that it reads, and the next one.
        self._slots = max(3, -(-2 * workers // batch_size) + 1)
        self._buffers: _Buffers | None = None
        self._pool: _Pool | None = None
        self._turn: object | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch, the same for every rank."""
        return max(1, self._epoch_images // (self._batch_size * self._world_size))

    def epoch(self, epoch: int, first_step: int = 0) -> Generator[Batch, None, None]:
        """Return the batches of an epoch from `first_step` on; does not read those before it.

        Only one epoch is read at a time: a new one ends an unfinished one. Raises ValueError if
        epoch or step is out of range. The iteration raises ImageFileError if a file cannot be read.
        """
        _check_range("epoch", epoch, 0)
        _check_range("first_step", first_step, 0, self.steps_per_epoch)
        return self._iterate(epoch, first_step)

    def close(self) -> None:
        """End the helper processes; the next epoch starts new ones."""
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
        complete = False
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
                    raise RuntimeError("a newer epoch, or close(), ended this one")
            complete = True
        finally:
            if self._turn is turn:
                self._turn = None
                if not complete:
                    # Helpers may still be writing into the buffers.
                    self.close()

    def _order(self, epoch: int) -> NDArray[np.int64]:
        wanted = max(self._epoch_images, self._batch_size * self._world_size)
        return self._permute(len(self._pairs), wanted, epoch, _ORDER)

    def _style_order(self, epoch: int, wanted: int) -> NDArray[np.int64]:
        """Return the style index per position of the epoch, -1 for pairs."""
        if not self._styles:
            return np.full(wanted, -1)
        return self._permute(len(self._styles), wanted, epoch, _STYLE_ORDER)

    def _permute(self, count: int, wanted: int, epoch: int, purpose: int) -> NDArray[np.int64]:
        """Return `wanted` indices below `count`: permutations one after the other."""
        if not self._shuffle:
            return np.resize(np.arange(count), wanted)
        rng = _generator(self._recipe.seed, epoch, purpose)
        rounds = [rng.permutation(count) for _ in range(-(-wanted // count))]
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
        """Submit a batch to the workers; return the number of parts."""
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
    """Batches in memory that helper processes share; uint8, and uint16 for ids.

    The memory is an unnamed file. Python's shared memory uses /dev/shm, which has only 64 MB in
    many containers; a process that writes beyond is killed.
    """

    def __init__(self, recipe: _Recipe, slots: int, batch_size: int) -> None:
        self._form = (recipe, slots, batch_size)
        self.file = _unnamed_file()
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
            content=normalize(contents) if self._form[0].unpaired else contents.astype(np.int32),
            edges=None if self.edges is None else self.edges[slot].astype(np.float32),
            image=normalize(self.images[slot]),
            stems=stems,
        )

    def _sizes(self) -> tuple[int, int, int]:
        """Return the sizes in bytes of all contents (layouts or photos), images and edges."""
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
        dtype = np.uint8 if recipe.unpaired else np.uint16
        # (slots, N, 3, H, W) or (slots, N, H, W); (slots, N, 3, H, W); (slots, N, 1, H, W)
        self.contents = contents.view(dtype).reshape(slots, batch_size, *planes)
        self.images = images.reshape(slots, batch_size, 3, *frame)
        self.edges = edges.reshape(slots, batch_size, 1, *frame) if recipe.instances else None


class _Filler:
    """Reads pairs into the buffers, in any process."""

    def __init__(
        self,
        pairs: Sequence[Pair | Photo],
        styles: Sequence[Photo],
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
            if isinstance(pair, Photo):
                content = self._read_photo(pair, task.epoch, _AUGMENT, position)  # (H, W, 3)
                content = content.transpose(2, 0, 1)
                image = self._read_photo(self._styles[style], task.epoch, _STYLE_AUGMENT, position)
            else:
                content, image, edges = self._read_pair(pair, task.epoch, position)
            self._buffers.contents[task.slot, row] = content
            self._buffers.images[task.slot, row] = image.transpose(2, 0, 1)
            if self._buffers.edges is not None and edges is not None:
                self._buffers.edges[task.slot, row, 0] = edges

    def _read_pair(
        self, pair: Pair, epoch: int, position: int
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
        """Return layout (H, W), photo (H, W, 3) and, with instances, edges (H, W)."""
        recipe = self._recipe
        rng = _generator(recipe.seed, epoch, _AUGMENT, position)
        if recipe.crops is not None:
            photo = read_image(pair.image_path)
            return *self._crop(pair, photo, recipe.crops, rng), None
        height, width, flipped, top, left = self._sample_augmentation(rng)
        planes: list[NDArray[Any]] = [
            read_layout(
                pair.label_path,
                height,
                width,
                classes=recipe.classes,
                unknown_label=recipe.unknown_label,
                first_id=recipe.first_id,
            ),
            read_photo(pair.image_path, height, width),
        ]
        if recipe.instances:
            planes.append(resize_layout(_read_instances(pair), height, width))
        planes = [crop(plane, top, left, recipe.height, recipe.width) for plane in planes]
        if flipped:
            planes = [flip(plane) for plane in planes]
        edges = instance_edges(planes[2]) if recipe.instances else None
        return planes[0], planes[1], edges

    def _crop(
        self,
        pair: Pair,
        photo: NDArray[np.uint8],
        crops: CropRecipe,
        rng: np.random.Generator,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return layout (H, W) and photo (H, W, 3) of a random crop."""
        recipe = self._recipe
        layout = read_layout(
            pair.label_path,
            *photo.shape[:2],
            classes=recipe.classes,
            unknown_label=recipe.unknown_label,
            first_id=recipe.first_id,
        )
        photo, layout = random_crop(photo, layout, crops, rng)
        return layout, photo

    def _read_photo(self, photo: Photo, epoch: int, purpose: int, position: int) -> NDArray[Any]:
        rng = _generator(self._recipe.seed, epoch, purpose, position)
        height, width, flipped, top, left = self._sample_augmentation(rng)
        image: NDArray[Any] = read_photo(photo.path, height, width)
        image = crop(image, top, left, self._recipe.height, self._recipe.width)
        return flip(image) if flipped else image

    def _sample_augmentation(self, rng: np.random.Generator) -> tuple[int, int, bool, int, int]:
        """Return height and width to read at, whether to flip, top and left of the crop."""
        recipe = self._recipe
        height = round(recipe.height * recipe.load_scale)
        width = round(recipe.width * recipe.load_scale)
        # Always sampled, so that an option does not change the random numbers of the others.
        flipped = bool(rng.integers(2)) and recipe.flip
        top = int(rng.integers(height - recipe.height + 1))
        left = int(rng.integers(width - recipe.width + 1))
        return height, width, flipped, top, left


def _read_instances(pair: Pair) -> NDArray[np.int32]:
    if pair.instance_path is None:
        rule = "an instance map for --instances"
        raise LabelError(pair.label_path, rule, "none", "add it or remove --instances")
    return read_instances(pair.instance_path)


def _generator(*entropy: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("batches")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _check_range(name: str, value: float, least: float, most: float | None = None) -> None:
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"{least}..{most}"
        raise ValueError(f"{name}: expected {bounds}, got {value}.")
