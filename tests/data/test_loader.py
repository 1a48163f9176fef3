from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import data.loader
from data.folders import Pair, Photo, find_pairs
from data.images import ImageError
from data.labels import LabelError
from data.loader import Batch, BatchLoader
from data.reading import read_layout, read_photo
from data.transforms import instance_edges
from data.workers import ProcessPool

SIZE: dict[str, Any] = {"height": 24, "width": 32}


def _pairs(root: Path) -> list[Pair]:
    return find_pairs(root).pairs


def _equal(one: Batch, other: Batch) -> bool:
    return (
        one.stems == other.stems
        and bool((one.content == other.content).all())
        and bool((one.image == other.image).all())
        and (one.edges is None) == (other.edges is None)
        and (one.edges is None or other.edges is None or bool((one.edges == other.edges).all()))
    )


def _helpers() -> set[int]:
    children: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        children.update(map(int, (task / "children").read_text().split()))
    return children


def test_a_batch_holds_the_content_of_the_files(make_dataset: Callable[..., Path]) -> None:
    pairs = _pairs(make_dataset(4))
    with BatchLoader(pairs, **SIZE, batch_size=2, flip=False, workers=0) as loader:
        batches = list(loader.epoch(0))
    assert len(batches) == loader.steps_per_epoch == 2
    by_stem = {pair.stem: pair for pair in pairs}
    for batch in batches:
        assert batch.content.dtype == np.int32 and batch.content.shape == (2, 24, 32)
        assert batch.image.dtype == np.float32 and batch.image.shape == (2, 3, 24, 32)
        assert batch.edges is None
        for row, stem in enumerate(batch.stems):
            layout = np.asarray(Image.open(by_stem[stem].label_path))
            image = np.asarray(Image.open(by_stem[stem].image_path))
            assert (batch.content[row] == layout).all()
            expected = image.transpose(2, 0, 1) / 127.5 - 1
            assert np.allclose(batch.image[row], expected, atol=1e-6)
    assert sorted(stem for batch in batches for stem in batch.stems) == sorted(by_stem)


def test_batches_do_not_depend_on_the_number_of_workers(make_dataset: Callable[..., Path]) -> None:
    pairs = _pairs(make_dataset(11, instances="train/instances"))
    options = {**SIZE, "batch_size": 3, "instances": True, "load_scale": 1.3, "seed": 7}
    epochs = {}
    for workers in (0, 1, 3):
        with BatchLoader(pairs, **options, workers=workers) as loader:
            epochs[workers] = [batch for epoch in (0, 1) for batch in loader.epoch(epoch)]
    assert len(epochs[0]) == 6
    for workers in (1, 3):
        assert all(map(_equal, epochs[0], epochs[workers]))


def test_order_depends_on_seed_and_epoch(make_dataset: Callable[..., Path]) -> None:
    pairs = _pairs(make_dataset(8))

    def stems(epoch: int, **options: Any) -> list[str]:
        with BatchLoader(pairs, **SIZE, batch_size=2, workers=0, **options) as loader:
            return [stem for batch in loader.epoch(epoch) for stem in batch.stems]

    assert stems(3, seed=1) == stems(3, seed=1)
    assert stems(3, seed=1) != stems(4, seed=1)
    assert stems(3, seed=1) != stems(3, seed=2)
    assert sorted(stems(0)) == [pair.stem for pair in pairs]
    assert stems(5, shuffle=False) == [pair.stem for pair in pairs]


def test_resuming_is_exact_and_reads_no_earlier_files(
    make_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = _pairs(make_dataset(12))
    options = {**SIZE, "batch_size": 2, "load_scale": 1.5, "workers": 0}
    with BatchLoader(pairs, **options) as loader:
        whole = list(loader.epoch(2))
    read: list[str] = []

    def counted(path: Path, height: int, width: int) -> NDArray[np.uint8]:
        read.append(path.stem)
        return read_photo(path, height, width)

    monkeypatch.setattr(data.loader, "read_photo", counted)
    with BatchLoader(pairs, **options) as loader:
        rest = list(loader.epoch(2, first_step=4))
        assert list(loader.epoch(2, first_step=6)) == []
    assert len(rest) == 2 and all(map(_equal, whole[4:], rest))
    assert sorted(read) == sorted(stem for batch in rest for stem in batch.stems)


def test_two_ranks_read_the_pairs_of_one_process(make_dataset: Callable[..., Path]) -> None:
    pairs = _pairs(make_dataset(7))
    options = {**SIZE, "seed": 3, "load_scale": 1.5, "workers": 0}
    with BatchLoader(pairs, **options, batch_size=2) as loader:
        alone = list(loader.epoch(1))
    ranks = []
    for rank in range(2):
        with BatchLoader(pairs, **options, batch_size=1, rank=rank, world_size=2) as loader:
            assert loader.steps_per_epoch == 3
            ranks.append(list(loader.epoch(1)))
    for together, first, second in zip(alone, *ranks, strict=True):
        assert together.stems == first.stems + second.stems
        assert (together.image == np.concatenate([first.image, second.image])).all()
        assert (together.content == np.concatenate([first.content, second.content])).all()


def test_few_pairs_repeat_and_an_incomplete_batch_is_dropped(
    make_dataset: Callable[..., Path],
) -> None:
    pairs = _pairs(make_dataset(3))
    with BatchLoader(pairs, **SIZE, batch_size=8, workers=0) as loader:
        (batch,) = loader.epoch(0)
    assert sorted(batch.stems.count(pair.stem) for pair in pairs) == [2, 3, 3]
    with BatchLoader(pairs, **SIZE, batch_size=2, workers=0) as loader:
        assert [len(batch.stems) for batch in loader.epoch(0)] == [2]


def test_layout_image_and_edges_are_flipped_and_cropped_together(
    make_dataset: Callable[..., Path],
) -> None:
    # Files have the size before the crop, so they are not resized.
    root = make_dataset(24, size=(36, 48), instances="train/instances")
    with BatchLoader(
        _pairs(root), **SIZE, batch_size=24, load_scale=1.5, instances=True, workers=0
    ) as loader:
        (batch,) = loader.epoch(0)
    red = np.rint((batch.image[:, 0] + 1) * 127.5)
    assert (red == batch.content * 8).all()
    assert batch.edges is not None and batch.edges.shape == (24, 1, 24, 32)
    for layout, edges in zip(batch.content, batch.edges, strict=True):
        assert (edges[0] == instance_edges(layout)).all()
    originals = {
        path.stem: np.asarray(Image.open(path)) for path in (root / "train/labels").iterdir()
    }
    places = set()
    for stem, layout in zip(batch.stems, batch.content, strict=True):
        found = {
            (mirrored, top, left)
            for mirrored in (False, True)
            for top in range(13)
            for left in range(17)
            if (_window(originals[stem], mirrored, top, left) == layout).all()
        }
        assert found
        places |= found
    assert {mirrored for mirrored, _, _ in places} == {False, True}
    assert len({top for _, top, _ in places}) > 6 and len({left for _, _, left in places}) > 8


def _window(layout: np.ndarray, mirrored: bool, top: int, left: int) -> np.ndarray:
    window = layout[top : top + 24, left : left + 32]
    return window[:, ::-1] if mirrored else window


def test_about_half_are_flipped_and_none_without_flip(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(1)
    path = root / "train/labels/photo 000.png"
    layout = np.zeros((24, 32), dtype=np.uint8)
    layout[:, :16] = 1
    Image.fromarray(layout).save(path)
    left = {}
    for flip in (True, False):
        with BatchLoader(_pairs(root), **SIZE, batch_size=200, flip=flip, workers=0) as loader:
            (batch,) = loader.epoch(0)
        left[flip] = int(batch.content[:, 0, 0].sum())
    assert 70 < left[True] < 130
    assert left[False] == 200


def test_unknown_is_a_class_of_its_own(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(1)
    path = root / "train/labels/photo 000.png"
    stored = np.asarray(Image.open(path)).copy()
    stored[:4] = 255
    Image.fromarray(stored).save(path)
    options = {**SIZE, "batch_size": 1, "flip": False, "workers": 0}
    with BatchLoader(_pairs(root), **options, unknown_label=255) as loader:
        (batch,) = loader.epoch(0)
    assert (batch.content[0, :4] == 29).all() and (batch.content[0, 4:] == stored[4:]).all()
    with (
        BatchLoader(_pairs(root), **options) as loader,
        pytest.raises(LabelError, match=r"ids 0\.\.28, got id 255 at row 0, column 0"),
    ):
        list(loader.epoch(0))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_disappears_is_named(make_dataset: Callable[..., Path], workers: int) -> None:
    root = make_dataset(8)
    pairs = _pairs(root)
    with BatchLoader(pairs, **SIZE, batch_size=1, shuffle=False, workers=workers) as loader:
        pairs[6].image_path.unlink()
        batches = loader.epoch(0)
        with pytest.raises(ImageError, match=r"photo 006\.png: expected a readable file"):
            list(batches)
        Image.new("RGB", (32, 24)).save(pairs[6].image_path)
        assert len(list(loader.epoch(0))) == 8


def test_helpers_end_with_the_iterator_and_the_loader(make_dataset: Callable[..., Path]) -> None:
    pairs = _pairs(make_dataset(12))
    before = _helpers()
    loader = BatchLoader(pairs, **SIZE, batch_size=1, workers=2)
    batches = loader.epoch(0)
    next(batches)
    helpers = _helpers() - before
    assert len(helpers) == 2
    batches.close()
    assert _helpers() == before

    assert len(list(loader.epoch(1))) == 12
    helpers = _helpers() - before
    list(loader.epoch(2))
    assert _helpers() - before == helpers, "finished epochs share their helpers"
    files = len(os.listdir("/proc/self/fd"))
    loader.close()
    gc.collect()
    assert _helpers() == before
    assert len(os.listdir("/proc/self/fd")) < files

    next(iter(BatchLoader(pairs, **SIZE, batch_size=1, workers=1).epoch(0)))
    gc.collect()
    assert _helpers() == before


def test_a_later_epoch_ends_an_unfinished_one(make_dataset: Callable[..., Path]) -> None:
    pairs = _pairs(make_dataset(8))
    with BatchLoader(pairs, **SIZE, batch_size=1, workers=2) as loader:
        expected = list(loader.epoch(1))
        unfinished = loader.epoch(0)
        next(unfinished)
        assert all(map(_equal, expected, loader.epoch(1)))
        with pytest.raises(RuntimeError, match="ended this one"):
            next(unfinished)


def test_files_are_read_while_this_process_holds_the_gil(
    make_dataset: Callable[..., Path],
) -> None:
    with BatchLoader(_pairs(make_dataset(12)), **SIZE, batch_size=2, workers=2) as loader:
        batches = loader.epoch(0)
        next(batches)
        pool = loader._pool
        assert isinstance(pool, ProcessPool)
        for _ in range(100):
            # A PyDLL call holds the GIL, as a step of Jittor does.
            ctypes.PyDLL(None).usleep(50_000)
            if all(connection.poll() for connection in pool._connections):
                break
        else:
            pytest.fail("no file was read")


def test_batches_belong_to_the_receiver(make_dataset: Callable[..., Path]) -> None:
    pairs = _pairs(make_dataset(12))
    with BatchLoader(pairs, **SIZE, batch_size=1, workers=2) as loader:
        batches = loader.epoch(0)
        first = next(batches)
        copy = first.image.copy()
        list(batches)
    assert (first.image == copy).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("height", 0),
        ("workers", -1),
        ("seed", -1),
        ("rank", 1),
        ("load_scale", 0.9),
        ("classes", 65536),
    ],
)
def test_arguments_out_of_range(make_dataset: Callable[..., Path], name: str, value: float) -> None:
    pairs = _pairs(make_dataset(1))
    options: dict[str, Any] = {**SIZE, "batch_size": 1, name: value}
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        BatchLoader(pairs, **options)


def test_steps_out_of_range(make_dataset: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"^pairs: expected"):
        BatchLoader([], **SIZE, batch_size=1)
    loader = BatchLoader(_pairs(make_dataset(2)), **SIZE, batch_size=1)
    with pytest.raises(ValueError, match=r"first_step: expected 0\.\.2, got 3"):
        loader.epoch(0, first_step=3)
    with pytest.raises(ValueError, match="epoch: expected"):
        loader.epoch(-1)


def test_an_epoch_has_the_given_number_of_images(make_dataset: Callable[..., Path]) -> None:
    pairs = find_pairs(make_dataset(4)).pairs
    settings: dict[str, Any] = {"height": 24, "width": 32, "batch_size": 2, "seed": 3, "workers": 0}
    few = BatchLoader(pairs, **settings, epoch_images=2)
    shown = [tuple(sorted(s for b in few.epoch(e) for s in b.stems)) for e in range(1, 7)]
    assert few.steps_per_epoch == 1 and len(set(shown)) > 1
    many = BatchLoader(pairs, **settings, epoch_images=10)
    stems = [stem for batch in many.epoch(1) for stem in batch.stems]
    assert many.steps_per_epoch == 5 and len(stems) == 10
    assert sorted(stems[:4]) == sorted(stems[4:8]) == sorted(pair.stem for pair in pairs)


@pytest.fixture
def unpaired(tmp_path: Path) -> tuple[list[Photo], list[Photo]]:
    """Five content photos and three style photos; their values identify photo and side."""
    photos = []
    for index in range(8):
        image = np.full((24, 32, 3), 20 * index, np.uint8)
        image[:, :16] += 10
        image[:12] += 5
        path = tmp_path / f"p{index}.png"
        Image.fromarray(image).save(path)
        photos.append(Photo(path.stem, path))
    return photos[:5], photos[5:]


def _which(images: NDArray[np.float32]) -> list[int]:
    """Return the numbers of photos (N, 3, H, W), from their darkest pixels."""
    darkest = np.rint((images.min(axis=(1, 2, 3)) + 1) * 127.5).astype(int)
    return [int(value) // 20 for value in darkest]


def test_each_content_gets_the_style_of_its_position(
    unpaired: tuple[list[Photo], list[Photo]],
) -> None:
    contents, styles = unpaired
    with BatchLoader(contents, styles=styles, **SIZE, batch_size=1, workers=0) as loader:
        epochs = [list(loader.epoch(epoch)) for epoch in range(4)]
    pairings, mirrored = set(), set()
    for batches in epochs:
        of_content = [_which(batch.content)[0] for batch in batches]
        of_style = [_which(batch.image)[0] for batch in batches]
        assert [f"p{index}" for index in of_content] == [batch.stems[0] for batch in batches]
        assert sorted(of_content) == [0, 1, 2, 3, 4]
        # Each style is used before one repeats.
        assert sorted(of_style[:3]) == [5, 6, 7] and len(set(of_style[3:])) == 2
        pairings.add(tuple(zip(of_content, of_style, strict=True)))
        for batch in batches:
            assert batch.content.dtype == batch.image.dtype == np.float32
            assert batch.content.shape == batch.image.shape == (1, 3, 24, 32)
            sides = (
                array[0, 0, 0, 0] > array[0, 0, 0, -1] for array in (batch.content, batch.image)
            )
            mirrored.add(tuple(map(bool, sides)))
    assert len(pairings) == 4
    assert len(mirrored) == 4  # the two are flipped independently


def test_unpaired_batches_do_not_depend_on_workers_ranks_or_the_first_step(
    unpaired: tuple[list[Photo], list[Photo]],
) -> None:
    contents, styles = unpaired
    form: dict[str, Any] = {"styles": styles, "load_scale": 1.5, "seed": 3, "epoch_images": 8}

    def read(workers: int, **settings: Any) -> list[Batch]:
        with BatchLoader(contents, **SIZE, **form, workers=workers, **settings) as loader:
            return list(loader.epoch(2))

    whole = read(0, batch_size=2)
    assert all(_equal(a, b) for a, b in zip(whole, read(2, batch_size=2), strict=True))
    ranks = [read(0, batch_size=1, rank=rank, world_size=2) for rank in range(2)]
    for batch, *halves in zip(whole, *ranks, strict=True):
        for row, half in enumerate(halves):
            assert (batch.content[row] == half.content[0]).all()
            assert (batch.image[row] == half.image[0]).all()
    with BatchLoader(contents, **SIZE, **form, batch_size=2, workers=0) as loader:
        rest = list(loader.epoch(2, first_step=3))
    assert len(whole) == 4 and len(rest) == 1 and _equal(rest[0], whole[3])


def test_contents_need_styles(unpaired: tuple[list[Photo], list[Photo]]) -> None:
    with pytest.raises(ValueError, match="styles: expected at least 1, got 0"):
        BatchLoader(unpaired[0], **SIZE, batch_size=1)


def test_ids_that_count_from_one(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    pairs = find_pairs(make_dataset(4)).pairs
    shifted = find_pairs(make_dataset(4, root=tmp_path / "shifted")).pairs
    for pair in shifted:
        stored = np.asarray(Image.open(pair.label_path)) + np.uint16(1)
        stored[0] = 255
        Image.fromarray(stored).save(pair.label_path)
    batches = [
        list(
            BatchLoader(
                chosen, **SIZE, batch_size=2, unknown_label=255, first_id=first, workers=0
            ).epoch(0)
        )
        for chosen, first in ((pairs, 0), (shifted, 1))
    ]
    for plain, other in zip(*batches, strict=True):
        assert (plain.content[:, 1:] == other.content[:, 1:]).all()
        assert (other.content[:, 0] == 29).all()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(shifted[0].label_path)
    with pytest.raises(LabelError, match=r"ids 1\.\.29, got id 0 at row 0, column 0"):
        read_layout(shifted[0].label_path, first_id=1)
    assert (read_layout(shifted[0].label_path, first_id=1, unknown_label=0) == 29).all()
