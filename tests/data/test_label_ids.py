from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.check import check_pairs
from data.folders import find_pairs
from data.label_ids import recognize_first_id


def _write_ids(root: Path, name: str, ids: list[int]) -> None:
    rows = np.resize(np.array(ids, dtype=np.uint16), (24, 32))
    Image.fromarray(rows).save(root / f"train/labels/{name}.png")


@pytest.mark.parametrize(
    ("ids", "classes", "unknown", "fix"),
    [
        (range(1, 30), 29, None, "The ids count from 1: give --first-id 1."),
        ([*range(1, 30), 255], 29, 255, "The ids count from 1: give --first-id 1."),
        (range(30), 29, None, "Give --first-id 1 --unknown-label 0 if 0 marks unknown, else"),
        (range(0, 29 * 8, 8), 29, None, "All ids are multiples of 8, scaled for display"),
        ([0, 8, 200], 29, None, "divide them by 8."),
        ([0, 255], 2, None, "All ids are multiples of 255"),
        ([0, 257, 514], 29, None, "All ids are multiples of 257"),
        ([0, 17, 34, 51], 12, None, "All ids are multiples of 17"),
        ([0, 9, 18, 27, 36, 255], 29, None, "The ids are spread over 0..255 for display"),
        (range(200), 29, None, "so many ids are gray levels of an image"),
        ([0, 3, 28, 255], 29, None, "Give --unknown-label 255 if that marks unknown, else fix"),
        ([*range(1, 30), 255], 29, None, "give --first-id 1, and --unknown-label 255 if that"),
        ([0, 8, 64, 255], 29, None, "divide them by 8, and --unknown-label 255 if that"),
        ([0, 8, 16, 255], 29, None, "Give --unknown-label 255 if that marks unknown, else fix"),
        (range(33), 29, None, "Fix the label, or give --classes 33."),
        ([0, 1, 29, 30], 29, 30, "Give --first-id 1 --unknown-label 0 if"),
        ([3, 77], 29, None, "or give --classes 78, or --unknown-label 77 if"),
    ],
)
def test_ids_out_of_range_name_the_likely_cause(
    make_dataset: Callable[..., Path], ids: list[int], classes: int, unknown: int | None, fix: str
) -> None:
    root = make_dataset(2, classes=1)
    given = list(ids)
    # the whole dataset shows the cause, one label does not
    _write_ids(root, "photo 000", given[: len(given) // 2] + given[-1:])
    _write_ids(root, "photo 001", given[len(given) // 2 :] + given[-1:])
    faults = check_pairs(find_pairs(root), classes, unknown).faults
    assert fix.lower() in str(faults[0]).lower() and len({fault.fix for fault in faults}) == 1


def test_ids_that_count_from_one(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(2, classes=1)
    _write_ids(root, "photo 000", [1, 2, 29])
    _write_ids(root, "photo 001", [4, 255])
    assert len(check_pairs(find_pairs(root), 29).faults) == 2
    report = check_pairs(find_pairs(root), 29, 255, first_id=1)
    assert not report.faults
    assert "ids 1..29 are read as 0..28" in report.notes
    assert any(
        note.startswith("4 of 29 classes occur; unknown (255) does") for note in report.notes
    )
    _write_ids(root, "photo 001", [0, 4])
    (fault,) = check_pairs(find_pairs(root), 29, first_id=1).faults
    assert "expected ids 1..29, got id 0. Give --unknown-label 0 if" in str(fault)


def test_ids_count_from_one_only_if_nothing_else_fits(tmp_path: Path) -> None:
    def recognize(*labels: list[int], unknown: int | None = None, part: str = "base") -> int:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        (root / part).mkdir(parents=True)
        for number, ids in enumerate(labels):
            rows = np.resize(np.array(ids, dtype=np.uint8), (8, 8))
            Image.fromarray(rows).save(root / part / f"b{number}.bmp")
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / part / f"b{number}.jpg")
        return recognize_first_id(find_pairs(root), 12, unknown)

    assert recognize([1, 2, 5], [3, 12]) == 1
    assert recognize([1, 2, 5], [3, 12], part=".") == 1
    assert recognize([1, 2, 5], [3, 11]) == 0
    assert recognize([0, 2, 5], [3, 12]) == 0
    assert recognize([0, 2, 5], [3, 11]) == 0
    assert recognize([1, 13], [3, 12]) == 0
    assert recognize([0, 2, 5], [3, 12], unknown=0) == 1
    root = tmp_path / "0/base"
    (root / "b1.bmp").write_bytes(b"")
    assert recognize_first_id(find_pairs(root.parent), 12) == 0
    assert recognize_first_id(find_pairs(root.parent), 5) == 1


def test_folders_of_labels_are_never_recognized_as_counting_from_one(
    make_dataset: Callable[..., Path],
) -> None:
    root = make_dataset(1)
    _write_ids(root, "photo 000", [1, 29])
    assert recognize_first_id(find_pairs(root), 29) == 0


def _write_indexed(path: Path, ids: list[int], order: list[int], colors: np.ndarray) -> None:
    """Write ids as indices into a palette in the given order."""
    index_of = {one: index for index, one in enumerate(order)}
    rows = np.resize(np.array([index_of[one] for one in ids], dtype=np.uint8), (24, 32))
    image = Image.fromarray(rows, "P")
    image.putpalette(colors[order].tobytes())
    image.save(path)


OTHER_COLORS = np.random.default_rng(5).integers(40, 256, (29, 3), dtype=np.uint8)


def test_palettes_in_a_different_order_per_file_are_faults(
    make_dataset: Callable[..., Path],
) -> None:
    root = make_dataset(6)
    labels = sorted((root / "train/labels").iterdir())
    rng = np.random.default_rng(0)
    for path in labels:
        ids = rng.choice(29, 5, replace=False).tolist()
        _write_indexed(path, ids, list(range(29)), OTHER_COLORS)
    assert not check_pairs(find_pairs(root), 29).faults
    for path in labels:
        ids = [3, 4, *rng.choice(29, 5, replace=False).tolist()]
        _write_indexed(path, ids, rng.permutation(29).tolist(), OTHER_COLORS)
    faults = check_pairs(find_pairs(root), 29).faults
    assert len(faults) == 6
    assert "expected a color that is one id in all labels, got color (" in str(faults[0])
    assert "Its indices are no ids: save it as an 8-bit gray PNG" in str(faults[0])


def test_a_single_label_in_another_order_is_the_fault(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_dataset(30)
    labels = sorted((root / "train/labels").iterdir())
    for path in labels:
        _write_indexed(path, [3, 4], list(range(29)), OTHER_COLORS)
    _write_indexed(labels[7], [3, 4], [4, 3], OTHER_COLORS)
    for _ in range(2):  # from the files, then from the cache
        report = check_pairs(find_pairs(root), 29, cache_path=tmp_path / "cache.json")
        assert [fault.path for fault in report.faults] == [labels[7]]
        assert "as id 1, and as id 3 in photo 000.png" in report.faults[0].value


def test_colors_twice_in_a_palette_are_no_conflict(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(2)
    labels = sorted((root / "train/labels").iterdir())
    colors = OTHER_COLORS.copy()
    colors[9] = colors[4]
    for path, one in zip(labels, (4, 9), strict=True):
        _write_indexed(path, [one, 2], list(range(29)), colors)
    assert not check_pairs(find_pairs(root), 29).faults
