from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data.check
from data.check import Report, check_pairs, check_photographs, recognize_first_id, save_reports
from data.folders import find_content, find_pairs, find_unpaired
from data.images import ImageFacts, inspect_image
from options.errors import UserError


def _grey(path: Path, value: int, size: tuple[int, int] = (24, 32)) -> None:
    Image.fromarray(np.full(size, value, dtype=np.uint8)).save(path)


def _faults(report: Report) -> dict[str, str]:
    return {
        fault.path.name: f"{fault.rule}: {fault.value}; {fault.mend}" for fault in report.faults
    }


def test_good_pairs(make_dataset: Callable[..., Path]) -> None:
    folder = find_pairs(make_dataset(5))
    report = check_pairs(folder, classes=29)
    assert report.good == folder.pairs
    assert (report.checked, report.faults, report.bad_share) == (5, [], 0)
    report.require(0)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_bad_file_is_named_with_its_fault(
    make_dataset: Callable[..., Path], tmp_path: Path, workers: int
) -> None:
    root = make_dataset(30, suffix=".jpg")
    images, labels = root / "train/imgs", root / "train/labels"
    stems = [path.stem for path in sorted(images.iterdir())]
    (images / f"{stems[0]}.jpg").write_bytes(b"")
    jpeg = images / f"{stems[1]}.jpg"
    jpeg.write_bytes(jpeg.read_bytes()[:-30])
    Image.fromarray(np.zeros((24, 32), dtype=np.uint16)).save(images / f"{stems[2]}.png")
    (images / f"{stems[2]}.jpg").unlink()
    _grey(labels / f"{stems[3]}.png", 77)
    _grey(labels / f"{stems[4]}.png", 1, size=(24, 24))
    (labels / f"{stems[5]}.png").unlink()
    (images / f"{stems[6]}.jpg").unlink()
    _grey(images / f"{stems[7]}.png", 1)
    (images / f"{stems[8]}.jpg").rename(images / "été 湖.jpg")
    (labels / f"{stems[8]}.png").write_bytes(b"")
    (labels / f"{stems[8]}.png").rename(labels / "été 湖.png")
    seen = []

    report = check_pairs(
        find_pairs(root),
        29,
        workers=workers,
        progress=lambda done, total: seen.append((done, total)),
    )
    expected = {
        f"{stems[0]}.jpg": "a picture: an empty file",
        f"{stems[1]}.jpg": "a complete picture: damage (image file is truncated",
        f"{stems[2]}.png": "a photograph of 8 bits per channel",
        f"{stems[3]}.png": "ids 0..28: id 77; fix the label, or give --classes 78, or "
        "--unknown-label 77 if",
        f"{stems[4]}.png": "its photograph's size (height x width) or aspect "
        "ratio: label 24 x 24, photograph 24 x 32",
        f"{stems[5]}.jpg": "a partner: a label of the same stem: none",
        f"{stems[6]}.png": "a partner: a photograph of the same stem: none",
        f"{stems[7]}.jpg": f"one file for a stem: {stems[7]}.jpg, {stems[7]}.png",
        "été 湖.png": "a picture: an empty file",
    }
    faults = _faults(report)
    assert faults.keys() == expected.keys()
    for name, start in expected.items():
        assert faults[name].startswith(start), faults[name]
        assert not faults[name].endswith("; ")
    assert [pair.stem for pair in report.good] == stems[9:]
    assert report.checked == 30
    assert seen[-1] == (27, 27)

    report.save(tmp_path / "check.txt")
    text = (tmp_path / "check.txt").read_text(encoding="utf-8")
    assert text == report.text()
    assert all(sum(name in line for line in text.splitlines()) == 1 for name in expected)
    assert "Checked 30 pairs" in text and "21 good, 9 bad (30.00%)" in text


def test_too_many_bad_pairs_stop_the_run(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(20)
    for name in ("picture 003.png", "picture 011.png"):
        _grey(root / "train/labels" / name, 200)
    report = check_pairs(find_pairs(root), 29)
    assert report.bad_share == 0.1
    report.require(0.1)
    with pytest.raises(UserError) as caught:
        report.require(0.05, saved_at="results/run/check.txt")
    message = str(caught.value)
    for part in (
        "at most 5%",
        "2 of 20",
        "picture 003.png",
        "id 200",
        "--bad-pair-limit",
        "check.txt",
    ):
        assert part in message
    with pytest.raises(UserError, match="at least one good pair, got 20 of 20"):
        check_pairs(find_pairs(root), 1).require(1)


def test_unknown_label_is_allowed(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(2)
    _grey(root / "train/labels/picture 000.png", 255)
    report = check_pairs(find_pairs(root), 29, unknown_label=255)
    assert not report.faults
    assert any("unknown (255) does" in note and "not" not in note for note in report.notes)
    assert len(check_pairs(find_pairs(root), 29).faults) == 1
    assert len(check_pairs(find_pairs(root), 29, unknown_label=254).faults) == 1


def test_sizes_are_noted(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(3)
    # Twice the size, and one column off: an aspect ratio within 1%.
    _grey(root / "train/labels/picture 000.png", 1, size=(48, 64))
    Image.new("L", (200, 150)).save(root / "train/imgs/picture 001.png")
    _grey(root / "train/labels/picture 001.png", 1, size=(150, 201))
    report = check_pairs(find_pairs(root), 29, size=(24, 48))
    assert not report.faults
    notes = "\n".join(report.notes)
    assert "2 photographs of 24 x 32 resized to 24 x 48, stretched by 50%" in notes
    assert "1 label of 48 x 64 beside a photograph of 24 x 32" in notes
    assert "1 photograph of mode L read as RGB" in notes
    assert not any("resized" in note for note in check_pairs(find_pairs(root), 29).notes)
    _grey(root / "train/labels/picture 001.png", 1, size=(150, 203))
    assert len(check_pairs(find_pairs(root), 29).faults) == 1


def test_turned_photograph_is_explained(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(2)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = root / "train/imgs/picture 000.png"
    Image.open(path).save(path, exif=exif)
    assert "EXIF orientation" in _faults(check_pairs(find_pairs(root), 29))["picture 000.png"]
    _grey(root / "train/labels/picture 000.png", 1, size=(32, 24))
    report = check_pairs(find_pairs(root), 29)
    assert not report.faults
    assert "1 photograph turned as the EXIF orientation says" in report.notes


def test_instances_are_checked_where_asked_for(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(4, instances="train/instances")
    assert not check_pairs(find_pairs(root), 29, instances=True).faults
    maps = root / "train/instances"
    (maps / "picture 000.png").unlink()
    (maps / "picture 001.png").write_bytes(b"")
    _grey(maps / "picture 002.png", 1, size=(12, 16))
    report = check_pairs(find_pairs(root), 29, instances=True)
    rules = [f"{fault.rule}: {fault.value}" for fault in report.faults]
    assert rules == [
        "an instance map of its label's size: none",
        "a picture: an empty file",
        "an instance map of its label's size: map 12 x 16, label 24 x 32",
    ]
    assert not check_pairs(find_pairs(root), 29).faults
    for path in maps.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="instances need a folder"):
        check_pairs(find_pairs(root), 29, instances=True)


def test_cache_reads_changed_pairs_only(
    make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_dataset(6)
    cache = tmp_path / "check.json"
    _grey(root / "train/labels/picture 002.png", 77)
    (root / "train/imgs/picture 003.png").write_bytes(b"")
    read: list[str] = []

    def counted(path: Path) -> ImageFacts:
        read.append(path.stem)
        return inspect_image(path)

    monkeypatch.setattr(data.check, "inspect_image", counted)

    def check(classes: int = 29) -> Report:
        read.clear()
        return check_pairs(find_pairs(root), classes, cache_path=cache, size=(12, 16))

    first = check()
    assert len(read) == 6
    again = check()
    # A file that could not be read may be a disk's trouble that is over.
    assert read == ["picture 003"]
    assert again == first and len(first.faults) == 2
    _grey(root / "train/labels/picture 002.png", 7)
    os.utime(root / "train/imgs/picture 004.png", ns=(1, 1))
    changed = check()
    assert sorted(read) == ["picture 002", "picture 003", "picture 004"]
    assert len(changed.faults) == 1
    check(classes=28)
    assert len(read) == 6
    full = check_pairs(find_pairs(root), 29, cache_path=tmp_path / "gone/cache.json")
    assert full.good == changed.good
    for damaged in ("", "[]", '{"form": [2, 29, false], "pairs": {"picture 000": 3}}'):
        cache.write_text(damaged)
        assert check() == changed and len(read) == 6


def test_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    report = Report(good=[], faults=[], notes=["a name: \udcff"], checked=0)
    report.save(tmp_path / "check.txt")
    assert "\\udcff" in (tmp_path / "check.txt").read_text()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="expected a place for the report, got a folder"):
        report.save(tmp_path / "folder")
    with pytest.raises(UserError, match="got nothing there"):
        report.save(tmp_path / "gone/check.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["check.txt", "folder"]


def test_photographs_that_cannot_be_used(tmp_path: Path) -> None:
    folder = tmp_path / "content"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    for index in range(6):
        Image.fromarray(noise).save(folder / f"p{index}.jpg")
    whole = (folder / "p1.jpg").read_bytes()
    (folder / "p1.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "p2.jpg").write_text("no picture")
    (folder / "p3.jpg").write_bytes(b"")
    _grey(folder / "p4.png", 3)
    Image.fromarray(noise[:24]).save(folder / "p5.jpg")
    (tmp_path / "style").mkdir()
    _grey(tmp_path / "style/s.png", 7, (48, 64))
    found = find_unpaired(tmp_path)
    report = check_photographs(found.content, size=(24, 32))
    assert [photograph.stem for photograph in report.good] == ["p0", "p5"]
    faults = _faults(report)
    assert list(faults) == ["p1.jpg", "p2.jpg", "p3.jpg", "p4.jpg"]
    assert "a complete picture" in faults["p1.jpg"] and "empty" in faults["p3.jpg"]
    assert "one file for a stem: p4.jpg, p4.png" in faults["p4.jpg"]
    assert report.checked == 6
    assert report.text().startswith(f"Checked 6 photographs in {folder}\n2 good, 4 bad (66.67%)")
    assert "1 photograph of 24 x 64 resized to 24 x 32, stretched by 100%" in report.notes
    with pytest.raises(UserError, match="at most 5% of bad photographs, got 4 of 6"):
        report.require(0.05)
    style = check_photographs(found.style, size=(24, 32))
    assert not style.faults and "1 photograph of mode L read as RGB" in style.notes
    save_reports(tmp_path / "check.txt", [report, style])
    assert (tmp_path / "check.txt").read_text() == f"{report.text()}\n{style.text()}"


def test_photographs_are_not_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        _grey(tmp_path / f"{name}.png", 1)
    read: list[str] = []

    def inspect(path: Path) -> ImageFacts:
        read.append(path.name)
        return inspect_image(path)

    monkeypatch.setattr(data.check, "inspect_image", inspect)
    cache = tmp_path / ".cache.json"
    reports = [check_photographs(find_content(tmp_path), cache_path=cache) for _ in range(2)]
    assert read == ["a.png", "b.png"] and reports[0] == reports[1]
    _grey(tmp_path / "b.png", 2, (30, 30))
    again = check_photographs(find_content(tmp_path), cache_path=cache, size=(24, 32))
    assert read[2:] == ["b.png"]
    assert "1 photograph of 30 x 30 resized to 24 x 32, stretched by 33%" in again.notes


def test_files_that_are_not_used_are_in_the_report(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(3)
    (root / "train/imgs/picture 000.png").rename(root / "train/imgs/picture 000.heic")
    (root / "train/labels/notes\n.txt").touch()
    report = check_pairs(find_pairs(root), 29)
    (fault,) = report.faults
    assert fault.path.name == "picture 000.png"
    assert "got picture 000.heic, HEIC, of a phone. Convert it to JPEG." in str(fault)
    text = report.text()
    assert "Not used, 2 entries:" in text
    assert f"  {root}/train/labels/notes\\n.txt: .txt, which is no picture's\n" in text
    assert len(report.describe_unused()) == 2


def test_links_to_nowhere_are_faults(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(3)
    for part, name in (("imgs", "picture 000.png"), ("labels", "picture 001.png")):
        (root / "train" / part / name).unlink()
    (root / "train/imgs/picture 000.png").symlink_to("picture 000.png")
    (root / "train/labels/picture 001.png").symlink_to("/mnt/gone/1.png")
    faults = [str(fault) for fault in check_pairs(find_pairs(root), 29).faults]
    assert "got a link that leads back to itself. Remove the link" in faults[0]
    assert "got a link to /mnt/gone/1.png, which is not there. Restore that" in faults[1]


def _write_ids(root: Path, name: str, ids: list[int]) -> None:
    rows = np.resize(np.array(ids, dtype=np.uint16), (24, 32))
    Image.fromarray(rows).save(root / f"train/labels/{name}.png")


@pytest.mark.parametrize(
    ("ids", "classes", "unknown", "fix"),
    [
        (range(1, 30), 29, None, "The ids count from 1: give --first-id 1."),
        ([*range(1, 30), 255], 29, 255, "The ids count from 1: give --first-id 1."),
        (range(30), 29, None, "Give --first-id 1 --unknown-label 0 if 0 marks unknown, else"),
        (range(0, 29 * 8, 8), 29, None, "All ids are multiples of 8, as if stretched for the eye"),
        ([0, 8, 200], 29, None, "divide them by 8."),
        ([0, 255], 2, None, "All ids are multiples of 255"),
        ([0, 257, 514], 29, None, "All ids are multiples of 257"),
        ([0, 17, 34, 51], 12, None, "All ids are multiples of 17"),
        ([0, 9, 18, 27, 36, 255], 29, None, "The ids are spread over 0..255, for the eye"),
        (range(200), 29, None, "so many ids are shades of a picture"),
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
    # the cause is seen in the whole dataset, not in one picture of it
    _write_ids(root, "picture 000", given[: len(given) // 2] + given[-1:])
    _write_ids(root, "picture 001", given[len(given) // 2 :] + given[-1:])
    faults = check_pairs(find_pairs(root), classes, unknown).faults
    assert fix.lower() in str(faults[0]).lower() and len({fault.mend for fault in faults}) == 1


def test_ids_that_count_from_one(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(2, classes=1)
    _write_ids(root, "picture 000", [1, 2, 29])
    _write_ids(root, "picture 001", [4, 255])
    assert len(check_pairs(find_pairs(root), 29).faults) == 2
    report = check_pairs(find_pairs(root), 29, 255, first_id=1)
    assert not report.faults
    assert "ids 1..29 are read as 0..28" in report.notes
    assert any(
        note.startswith("4 of 29 classes occur; unknown (255) does") for note in report.notes
    )
    _write_ids(root, "picture 001", [0, 4])
    (fault,) = check_pairs(find_pairs(root), 29, first_id=1).faults
    assert "expected ids 1..29, got id 0. Give --unknown-label 0 if" in str(fault)


def test_only_what_leaves_no_other_reading_counts_from_one(tmp_path: Path) -> None:
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


def test_folders_of_labels_never_count_from_one_by_themselves(
    make_dataset: Callable[..., Path],
) -> None:
    root = make_dataset(1)
    _write_ids(root, "picture 000", [1, 29])
    assert recognize_first_id(find_pairs(root), 29) == 0


def _write_indexed(path: Path, ids: list[int], order: list[int], colors: np.ndarray) -> None:
    """Write ids as indices into a table of colors that is sorted in some order."""
    index_of = {one: index for index, one in enumerate(order)}
    rows = np.resize(np.array([index_of[one] for one in ids], dtype=np.uint8), (24, 32))
    picture = Image.fromarray(rows, "P")
    picture.putpalette(colors[order].tobytes())
    picture.save(path)


FOREIGN = np.random.default_rng(5).integers(40, 256, (29, 3), dtype=np.uint8)


def test_a_table_of_colors_that_each_file_sorts_anew_is_a_fault(
    make_dataset: Callable[..., Path],
) -> None:
    root = make_dataset(6)
    labels = sorted((root / "train/labels").iterdir())
    random = np.random.default_rng(0)
    for path in labels:
        ids = random.choice(29, 5, replace=False).tolist()
        _write_indexed(path, ids, list(range(29)), FOREIGN)
    assert not check_pairs(find_pairs(root), 29).faults
    for path in labels:
        ids = [3, 4, *random.choice(29, 5, replace=False).tolist()]
        _write_indexed(path, ids, random.permutation(29).tolist(), FOREIGN)
    faults = check_pairs(find_pairs(root), 29).faults
    assert len(faults) == 6
    assert "expected a color that is one id in all labels, got color (" in str(faults[0])
    assert "Its indices are no ids: save it as an 8-bit gray PNG" in str(faults[0])


def test_the_one_label_that_is_sorted_otherwise_is_the_fault(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_dataset(30)
    labels = sorted((root / "train/labels").iterdir())
    for path in labels:
        _write_indexed(path, [3, 4], list(range(29)), FOREIGN)
    _write_indexed(labels[7], [3, 4], [4, 3], FOREIGN)
    for _ in range(2):  # from the files, then from the cache
        report = check_pairs(find_pairs(root), 29, cache_path=tmp_path / "cache.json")
        assert [fault.path for fault in report.faults] == [labels[7]]
        assert "as id 1, and as id 3 in picture 000.png" in report.faults[0].value


def test_colors_that_a_table_has_twice_are_no_conflict(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(2)
    labels = sorted((root / "train/labels").iterdir())
    colors = FOREIGN.copy()
    colors[9] = colors[4]
    for path, one in zip(labels, (4, 9), strict=True):
        _write_indexed(path, [one, 2], list(range(29)), colors)
    assert not check_pairs(find_pairs(root), 29).faults
