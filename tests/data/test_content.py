"""Training data behind one interface: pairs of layouts and photos, or unpaired photos."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.content import (
    Dataset,
    PairedDataset,
    SegmentationDataset,
    UnpairedDataset,
    find_dataset,
    find_run_layouts,
)
from data.workers import Progress
from options.errors import UserError
from options.groups import DataOptions
from tests.tiny import CLASSES, write_dataset

SIZE = (16, 32)


class Shown:
    """Records the progress of a check: (noun, total) of each part, and the number of calls."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, int]] = []
        self.calls = 0

    @contextmanager
    def __call__(self, noun: str, total: int) -> Iterator[Progress]:
        self.parts.append((noun, total))

        def show(done: int, total: int) -> None:
            self.calls += 1

        yield show


@pytest.fixture
def paired(tmp_path: Path) -> DataOptions:
    """Six pairs, p0 to p5, and two test layouts."""
    root = write_dataset(tmp_path / "pairs", pairs=6, tests=2, size=SIZE)
    return DataOptions(
        input_path=str(root), height=SIZE[0], width=SIZE[1], classes=CLASSES, workers=1
    )


@pytest.fixture
def unpaired(tmp_path: Path) -> DataOptions:
    """Five content photos, three style photos and two test photos, each of one gray."""
    root = tmp_path / "photos"
    for part, count in (("content", 5), ("style", 3), ("test/content", 2)):
        (root / part).mkdir(parents=True)
        for index in range(count):
            image = np.full((*SIZE, 3), 40 * index + len(part), np.uint8)
            Image.fromarray(image).save(root / part / f"{part[0]}{index}.png")
    return DataOptions(
        task="translation", input_path=str(root), height=SIZE[0], width=SIZE[1], workers=1
    )


def root_of(options: DataOptions) -> Path:
    return Path(str(options.input_path))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def stems(items: Any) -> list[str]:
    return [item.stem for item in items]


def test_a_task_has_its_dataset(paired: DataOptions, unpaired: DataOptions) -> None:
    for options, kind, noun in (
        (paired, PairedDataset, "pairs"),
        (unpaired, UnpairedDataset, "content photos"),
    ):
        dataset = find_dataset(options)
        assert type(dataset) is kind and dataset.noun == noun
    assert stems(find_dataset(paired).items) == [f"p{index}" for index in range(6)]
    assert not find_dataset(paired).styles
    assert stems(find_dataset(unpaired).items) == [f"c{index}" for index in range(5)]
    assert stems(find_dataset(unpaired).styles) == [f"s{index}" for index in range(3)]


@pytest.mark.parametrize("task", ["synthesis", "translation"])
def test_a_missing_dataset_is_an_error(tmp_path: Path, task: str) -> None:
    with pytest.raises(UserError, match="absent"):
        find_dataset(DataOptions(task=task, input_path=str(tmp_path / "absent")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty"):
        find_dataset(DataOptions(task=task, input_path=str(tmp_path / "empty")))


def write_facades(root: Path, first: int) -> DataOptions:
    """Photos and labels side by side, with all ids of 4 classes from `first`."""
    (root / "base").mkdir(parents=True)
    for index in range(2):
        ids = np.kron(np.arange(4).reshape(2, 2) + first, np.ones((8, 16), int))
        Image.new("RGB", SIZE[::-1]).save(root / f"base/f{index}.jpg")
        Image.fromarray(ids.astype(np.uint8)).save(root / f"base/f{index}.png")
    return DataOptions(input_path=str(root), classes=4, workers=1)


def test_the_first_id_is_inferred_unless_given(
    paired: DataOptions, unpaired: DataOptions, tmp_path: Path
) -> None:
    options = write_facades(tmp_path / "from_one", 1)
    completed, note = find_dataset(options).infer_options()
    assert completed == replace(options, first_id=1)
    assert note == (
        f"{tmp_path / 'from_one'}: ids 1..4 are read as classes 0..3, as with --first-id 1"
    )
    for other in (
        write_facades(tmp_path / "from_zero", 0),
        replace(options, first_id=0),
        paired,
        unpaired,
    ):
        assert find_dataset(other).infer_options() == (other, None)


def write_list(folder: Path, subset: str, *lines: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{subset}.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_missing_lists_of_pairs(paired: DataOptions, tmp_path: Path) -> None:
    dataset, own = find_dataset(paired), tmp_path / "own"
    subsets = ["total", "selection_1", "selection_1", "selection_2"]
    assert dataset.missing_subsets(own, subsets) == ["selection_1", "selection_2"]
    # One list in the dataset, or in the folder of the run, means that the user makes the others.
    for folder in (own, root_of(paired) / "selections"):
        path = write_list(folder, "selection_1", "p0")
        assert dataset.missing_subsets(own, subsets) == []
        path.unlink()


def test_pairs_are_selected_by_lists(paired: DataOptions, tmp_path: Path) -> None:
    dataset, own = find_dataset(paired), tmp_path / "own"
    write_list(root_of(paired) / "selections", "selection_1", "p4", "p1")
    assert stems(dataset.select(dataset.items, own, "selection_1")) == ["p1", "p4"]
    assert stems(dataset.select(dataset.items[:3], own, "selection_1")) == ["p1"]
    assert dataset.select(dataset.items, own, "total") == dataset.items
    with pytest.raises(UserError, match="selection_2"):
        dataset.select(dataset.items, own, "selection_2")
    # The lists of the run replace those of the dataset.
    write_list(own, "selection_2", "p5")
    assert stems(dataset.select(dataset.items, own, "selection_2")) == ["p5"]
    with pytest.raises(UserError, match="selection_1"):
        dataset.select(dataset.items, own, "selection_1")


def test_names_in_lists_must_match_pairs(paired: DataOptions, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (root_of(paired) / "train/imgs/p5.png").unlink()
    path = write_list(own, "selection_1", "p0", "p5", "gone")
    dataset = find_dataset(replace(paired, list_miss_limit=0.4))
    subsets = ["selection_1", "total", "selection_1"]
    (missed,) = dataset.check_lists(own, subsets)
    # p5 was found without its photo, so only one of three names counts toward the limit.
    assert (missed.path, missed.missed, missed.listed, missed.bad) == (path, 2, 3, 1)
    (missed,) = dataset.check_lists(own, subsets, dataset.items[1:], {"p0", "p5"})
    assert (missed.missed, missed.bad) == (3, 2)
    with pytest.raises(UserError, match="--list-miss-limit"):
        find_dataset(replace(paired, list_miss_limit=0.3)).check_lists(own, subsets)
    with pytest.raises(UserError, match="--list-miss-limit"):
        dataset.check_lists(own, subsets, dataset.items[1:], {"p5"})
    assert find_dataset(paired).check_lists(own, ["total"]) == []


def test_photos_need_no_lists(unpaired: DataOptions, tmp_path: Path) -> None:
    dataset = find_dataset(unpaired)
    assert dataset.missing_subsets(tmp_path, ["total", "selection_1"]) == []
    assert dataset.check_lists(tmp_path, ["total"]) == []
    assert dataset.select(dataset.items, tmp_path, "total") is dataset.items


def test_pairs_are_checked(paired: DataOptions, tmp_path: Path) -> None:
    root, cache = root_of(paired), tmp_path / "cache.json"
    cut(root / "train/imgs/p2.png")
    shown = Shown()
    checked = find_dataset(paired).check(cache, shown)
    assert shown.parts == [("pairs", 6)] and shown.calls
    assert stems(checked.items) == ["p0", "p1", "p3", "p4", "p5"] and not checked.styles
    assert checked.bad_stems == {"p2"} and len(checked.reports) == 1
    checked.require(0.2, tmp_path / "check.txt")
    with pytest.raises(UserError, match=r"at most 10% of bad pairs, got 1 of 6 .*check\.txt"):
        checked.require(0.1, tmp_path / "check.txt")
    # Good pairs are in the cache.
    assert cache.is_file()
    again = Shown()
    assert find_dataset(paired).check(cache, again).items == checked.items
    assert again.calls < shown.calls


def test_ids_outside_the_classes_are_faults(paired: DataOptions, tmp_path: Path) -> None:
    options = replace(paired, classes=3)
    checked = find_dataset(options).check(tmp_path / "cache.json", Shown())
    used = [
        int(np.asarray(Image.open(root_of(paired) / f"train/labels/p{index}.png")).max())
        for index in range(6)
    ]
    assert checked.bad_stems == {f"p{index}" for index, most in enumerate(used) if most > 2}
    assert checked.bad_stems
    options = replace(options, unknown_label=3)
    assert not find_dataset(options).check(tmp_path / "cache.json", Shown()).bad_stems


def test_photos_are_checked_in_both_folders(unpaired: DataOptions, tmp_path: Path) -> None:
    root = root_of(unpaired)
    cut(root / "content/c1.png")
    cut(root / "style/s0.png")
    shown = Shown()
    checked = find_dataset(unpaired).check(tmp_path / "cache.json", shown)
    assert shown.parts == [("content photos", 5), ("style photos", 3)]
    assert stems(checked.items) == ["c0", "c2", "c3", "c4"]
    assert stems(checked.styles) == ["s1", "s2"]
    assert checked.bad_stems == {"c1", "s0"} and len(checked.reports) == 2
    caches = {path.name for path in tmp_path.glob("cache*")}
    assert caches == {"cache_content.json", "cache_style.json"}
    # The limit holds for each folder: one of five is below it, one of three is not.
    with pytest.raises(UserError, match="at most 25% of bad photos, got 1 of 3"):
        checked.require(0.25, tmp_path / "check.txt")


def test_description(paired: DataOptions, unpaired: DataOptions) -> None:
    root = root_of(paired)
    assert find_dataset(paired).describe()[0].startswith(f"would check 6 pairs of {root}, ")
    assert len(find_dataset(paired).describe()) == 1
    (root / "train/labels/p0.png").rename(root / "train/labels/q0.png")
    (root / "train/imgs/notes.txt").touch()
    lines = find_dataset(paired).describe()
    assert lines[0].startswith("would check 5 pairs of ")
    assert lines[1] == "note: 2 stems are in no pair; check.txt will list them"
    assert lines[2].startswith(f"note: 1 entry not used in {root}/train/imgs: ")

    root = root_of(unpaired)
    line = f"would check 5 photos of {root / 'content'} and 3 of {root / 'style'}"
    assert find_dataset(unpaired).describe() == [line]
    (root / "style/notes.txt").touch()
    lines = find_dataset(unpaired).describe()
    assert lines[0] == line
    assert lines[1].startswith(f"note: 1 entry not used in {root}/style: ")


def test_missing_test_data(paired: DataOptions, unpaired: DataOptions) -> None:
    for options, folder, missing in (
        (paired, "val/labels", "test layouts"),
        (unpaired, "test/content", "test/content"),
    ):
        assert find_dataset(options).missing_test_data() is None
        for path in (root_of(options) / folder).iterdir():
            path.unlink()
        assert find_dataset(options).missing_test_data() == missing


def test_training_layouts_are_no_test_layouts(paired: DataOptions, tmp_path: Path) -> None:
    root, flat = root_of(paired), tmp_path / "flat"
    assert len(find_run_layouts(root).paths) == 2
    flat.mkdir()
    (root / "train/imgs").rename(flat / "imgs")
    (root / "train/labels").rename(flat / "labels")
    with pytest.raises(UserError, match=r"expected test layouts next to the training pairs, got"):
        find_run_layouts(flat)


def read_epoch(dataset: Dataset, **settings: Any) -> tuple[list[str], np.ndarray]:
    """The stems and images of an epoch, read in this process."""
    with dataset.loader(
        dataset.items, dataset.styles, batch_size=2, workers=0, **settings
    ) as loader:
        batches = list(loader.epoch(0))
    names = [stem for batch in batches for stem in batch.stems]
    return names, np.concatenate([batch.image for batch in batches])


def test_the_loader_follows_the_options(paired: DataOptions, unpaired: DataOptions) -> None:
    names, images = read_epoch(find_dataset(replace(paired, flip=False)), seed=1)
    assert sorted(names) == [f"p{index}" for index in range(6)] and names != sorted(names)
    assert images.shape == (6, 3, *SIZE)
    # Blue is 9 times the index of a pair.
    blue = (images[:, 2, 0, 0] + 1) * 127.5
    np.testing.assert_allclose(blue, [9 * int(name[1:]) for name in names], atol=1e-3)
    # A setting replaces an option.
    options = replace(paired, epoch_images=4)
    assert len(read_epoch(find_dataset(options), seed=1)[0]) == 4
    assert len(read_epoch(find_dataset(options), seed=1, epoch_images=2)[0]) == 2

    names, images = read_epoch(find_dataset(unpaired), seed=1)
    assert len(names) == 4 and len(set(names)) == 4  # two batches of two of five photos
    grays = {round(float(value)) for value in (images[:, 0, 0, 0] + 1) * 127.5}
    assert grays == {5, 45, 85}  # every style photo


@pytest.mark.parametrize("count", [3, 9])
def test_samples_are_at_even_distances(
    paired: DataOptions, unpaired: DataOptions, count: int
) -> None:
    # Neither flipped nor cropped: the same for other options of the augmentation.
    options = replace(paired, flip=True, load_scale=1.5, epoch_images=1)
    dataset = find_dataset(options)
    batch = dataset.samples(dataset.items, dataset.styles, count)
    chosen = [0, 2, 4] if count == 3 else list(range(6))
    assert batch.stems == [f"p{index}" for index in chosen]
    for image, index in zip(batch.image, chosen, strict=True):
        photo = Image.open(root_of(paired) / f"train/imgs/p{index}.png")
        expected = np.asarray(photo).transpose(2, 0, 1) / 127.5 - 1
        np.testing.assert_allclose(image, expected, atol=1e-6)

    dataset = find_dataset(unpaired)
    batch = dataset.samples(dataset.items, dataset.styles, count)
    # Five contents and three styles, which repeat.
    assert batch.stems == (["c0", "c1", "c3"] if count == 3 else [f"c{i}" for i in range(5)])
    grays = [round(float(value)) for value in (batch.image[:, 0, 0, 0] + 1) * 127.5]
    assert grays == ([5, 45, 85] if count == 3 else [5, 45, 85, 5, 45])


def test_a_segmentation_dataset_holds_out_pairs_of_its_own(
    paired: DataOptions, tmp_path: Path
) -> None:
    options = replace(paired, task="segmentation", held_out=0.4)
    dataset = find_dataset(options)
    assert isinstance(dataset, SegmentationDataset)
    checked = dataset.check(tmp_path / "cache.json", Shown())
    trained = dataset.select(checked.items, tmp_path, "total")
    assert len(checked.items) == 6 and len(checked.held_out) + len(trained) == 6
    assert {pair.stem for pair in checked.held_out}.isdisjoint(item.stem for item in trained)
    held = len(checked.held_out)
    assert dataset.describe()[-1] == f"would hold out {held} of 6 pairs, to measure the accuracy"
    everything = find_dataset(replace(options, held_out=0.0))
    assert len(everything.select(checked.items, tmp_path, "total")) == 6


def test_validation_pairs_replace_the_held_out_ones(paired: DataOptions, tmp_path: Path) -> None:
    root = Path(str(paired.input_path))
    (root / "val/imgs").mkdir()
    for name in ("t0", "t1"):
        photo = np.zeros((*SIZE, 3), np.uint8)
        Image.fromarray(photo).save(root / f"val/imgs/{name}.png")
    dataset = find_dataset(replace(paired, task="segmentation"))
    shown = Shown()
    checked = dataset.check(tmp_path / "cache.json", shown)
    assert shown.parts == [("pairs", 6), ("validation pairs", 2)]
    assert [pair.stem for pair in checked.held_out] == ["t0", "t1"]
    assert len(checked.reports) == 2 and (tmp_path / "cache_val.json").is_file()
    assert len(dataset.select(checked.items, tmp_path, "total")) == 6
    assert dataset.describe()[-1] == f"would measure the accuracy on 2 pairs of {root / 'val'}"


def test_batches_of_segmentation_are_crops_with_an_ignored_id(paired: DataOptions) -> None:
    crops = {"min_scale": 0.5, "max_scale": 0.5, "max_class_share": 1.0, "color_jitter": False}
    dataset = find_dataset(replace(paired, task="segmentation", flip=False, **crops))
    with dataset.loader(dataset.items, (), batch_size=2, shuffle=False, workers=0) as loader:
        first, again = (next(iter(loader.epoch(epoch))) for epoch in (0, 0))
        other = next(iter(loader.epoch(1)))
    assert first.content.shape == (2, *SIZE) and first.edges is None
    assert (first.content[:, 8:] == CLASSES).all() and (first.content[:, :8, :16] < CLASSES).all()
    assert (first.image[:, :, 8:] == -1).all()
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.content, other.content)  # the whole photo: no crop differs
