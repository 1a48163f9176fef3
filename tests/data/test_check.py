from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.check import Report, check_pairs, check_photos, save_reports
from data.folders import find_pairs, find_unpaired
from options.errors import UserError


def _gray(path: Path, value: int, size: tuple[int, int] = (24, 32)) -> None:
    Image.fromarray(np.full(size, value, dtype=np.uint8)).save(path)


def _faults(report: Report) -> dict[str, str]:
    return {fault.path.name: f"{fault.rule}: {fault.value}; {fault.fix}" for fault in report.faults}


def test_good_pairs(make_dataset: Callable[..., Path]) -> None:
    folder = find_pairs(make_dataset(5))
    report = check_pairs(folder, classes=29)
    assert report.good == folder.pairs
    assert (report.checked, report.faults, report.bad_share) == (5, [], 0)
    report.require(0)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_bad_file_is_reported_with_its_fault(
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
    _gray(labels / f"{stems[3]}.png", 77)
    _gray(labels / f"{stems[4]}.png", 1, size=(24, 24))
    (labels / f"{stems[5]}.png").unlink()
    (images / f"{stems[6]}.jpg").unlink()
    _gray(images / f"{stems[7]}.png", 1)
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
        f"{stems[0]}.jpg": "an image: an empty file",
        f"{stems[1]}.jpg": "a complete image: damage (image file is truncated",
        f"{stems[2]}.png": "a photo of 8 bits per channel",
        f"{stems[3]}.png": "ids 0..28: id 77; fix the label, or give --classes 78, or "
        "--unknown-label 77 if",
        f"{stems[4]}.png": "its photo's size (height x width) or aspect "
        "ratio: label 24 x 24, photo 24 x 32",
        f"{stems[5]}.jpg": "a partner: a label of the same stem: none",
        f"{stems[6]}.png": "a partner: a photo of the same stem: none",
        f"{stems[7]}.jpg": f"one file per stem: {stems[7]}.jpg, {stems[7]}.png",
        "été 湖.png": "an image: an empty file",
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


def test_too_many_bad_pairs_are_an_error(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(20)
    for name in ("photo 003.png", "photo 011.png"):
        _gray(root / "train/labels" / name, 200)
    report = check_pairs(find_pairs(root), 29)
    assert report.bad_share == 0.1
    report.require(0.1)
    with pytest.raises(UserError) as caught:
        report.require(0.05, saved_at="results/run/check.txt")
    message = str(caught.value)
    for part in (
        "at most 5%",
        "2 of 20",
        "photo 003.png",
        "id 200",
        "--bad-pair-limit",
        "check.txt",
    ):
        assert part in message
    with pytest.raises(UserError, match="at least one good pair, got 20 of 20"):
        check_pairs(find_pairs(root), 1).require(1)


def test_unknown_label_is_allowed(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(2)
    _gray(root / "train/labels/photo 000.png", 255)
    report = check_pairs(find_pairs(root), 29, unknown_label=255)
    assert not report.faults
    assert any("unknown (255) does" in note and "not" not in note for note in report.notes)
    assert len(check_pairs(find_pairs(root), 29).faults) == 1
    assert len(check_pairs(find_pairs(root), 29, unknown_label=254).faults) == 1


def test_sizes_are_noted(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(3)
    # Twice the size, and one column more: aspect ratios within 1%.
    _gray(root / "train/labels/photo 000.png", 1, size=(48, 64))
    Image.new("L", (200, 150)).save(root / "train/imgs/photo 001.png")
    _gray(root / "train/labels/photo 001.png", 1, size=(150, 201))
    report = check_pairs(find_pairs(root), 29, size=(24, 48))
    assert not report.faults
    notes = "\n".join(report.notes)
    assert "2 photos of 24 x 32 resized to 24 x 48, stretched by 50%" in notes
    assert "1 label of 48 x 64 with a photo of 24 x 32" in notes
    assert "1 photo of mode L read as RGB" in notes
    assert not any("resized" in note for note in check_pairs(find_pairs(root), 29).notes)
    _gray(root / "train/labels/photo 001.png", 1, size=(150, 203))
    assert len(check_pairs(find_pairs(root), 29).faults) == 1


def test_a_rotated_photo_is_explained(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(2)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = root / "train/imgs/photo 000.png"
    Image.open(path).save(path, exif=exif)
    assert "EXIF orientation" in _faults(check_pairs(find_pairs(root), 29))["photo 000.png"]
    _gray(root / "train/labels/photo 000.png", 1, size=(32, 24))
    report = check_pairs(find_pairs(root), 29)
    assert not report.faults
    assert "1 photo rotated by the EXIF orientation" in report.notes


def test_instances_are_checked_on_request(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(4, instances="train/instances")
    assert not check_pairs(find_pairs(root), 29, instances=True).faults
    maps = root / "train/instances"
    (maps / "photo 000.png").unlink()
    (maps / "photo 001.png").write_bytes(b"")
    _gray(maps / "photo 002.png", 1, size=(12, 16))
    report = check_pairs(find_pairs(root), 29, instances=True)
    rules = [f"{fault.rule}: {fault.value}" for fault in report.faults]
    assert rules == [
        "an instance map of its label's size: none",
        "an image: an empty file",
        "an instance map of its label's size: map 12 x 16, label 24 x 32",
    ]
    assert not check_pairs(find_pairs(root), 29).faults
    for path in maps.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="expected a folder of instance maps"):
        check_pairs(find_pairs(root), 29, instances=True)


def test_report_is_written_atomically(tmp_path: Path) -> None:
    report = Report(good=[], faults=[], notes=["a name: \udcff"], checked=0)
    report.save(tmp_path / "check.txt")
    assert "\\udcff" in (tmp_path / "check.txt").read_text()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="expected a place for the report, got a folder"):
        report.save(tmp_path / "folder")
    with pytest.raises(UserError, match="got nothing there"):
        report.save(tmp_path / "gone/check.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["check.txt", "folder"]


def test_bad_photos_are_reported(tmp_path: Path) -> None:
    folder = tmp_path / "content"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    for index in range(6):
        Image.fromarray(noise).save(folder / f"p{index}.jpg")
    whole = (folder / "p1.jpg").read_bytes()
    (folder / "p1.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "p2.jpg").write_text("no image")
    (folder / "p3.jpg").write_bytes(b"")
    _gray(folder / "p4.png", 3)
    Image.fromarray(noise[:24]).save(folder / "p5.jpg")
    (tmp_path / "style").mkdir()
    _gray(tmp_path / "style/s.png", 7, (48, 64))
    found = find_unpaired(tmp_path)
    report = check_photos(found.content, size=(24, 32))
    assert [photo.stem for photo in report.good] == ["p0", "p5"]
    faults = _faults(report)
    assert list(faults) == ["p1.jpg", "p2.jpg", "p3.jpg", "p4.jpg"]
    assert "a complete image" in faults["p1.jpg"] and "empty" in faults["p3.jpg"]
    assert "one file per stem: p4.jpg, p4.png" in faults["p4.jpg"]
    assert report.checked == 6
    assert report.text().startswith(f"Checked 6 photos in {folder}\n2 good, 4 bad (66.67%)")
    assert "1 photo of 24 x 64 resized to 24 x 32, stretched by 100%" in report.notes
    with pytest.raises(UserError, match="at most 5% of bad photos, got 4 of 6"):
        report.require(0.05)
    style = check_photos(found.style, size=(24, 32))
    assert not style.faults and "1 photo of mode L read as RGB" in style.notes
    save_reports(tmp_path / "check.txt", [report, style])
    assert (tmp_path / "check.txt").read_text() == f"{report.text()}\n{style.text()}"


def test_unused_files_are_in_the_report(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(3)
    (root / "train/imgs/photo 000.png").rename(root / "train/imgs/photo 000.heic")
    (root / "train/labels/notes\n.txt").touch()
    report = check_pairs(find_pairs(root), 29)
    (fault,) = report.faults
    assert fault.path.name == "photo 000.png"
    assert "got photo 000.heic, HEIC, from a phone. Convert it to JPEG." in str(fault)
    text = report.text()
    assert "Not used, 2 entries:" in text
    assert f"  {root}/train/labels/notes\\n.txt: .txt: not an image format\n" in text
    assert len(report.describe_unused()) == 2


def test_links_to_nowhere_are_faults(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(3)
    for part, name in (("imgs", "photo 000.png"), ("labels", "photo 001.png")):
        (root / "train" / part / name).unlink()
    (root / "train/imgs/photo 000.png").symlink_to("photo 000.png")
    (root / "train/labels/photo 001.png").symlink_to("/mnt/gone/1.png")
    faults = [str(fault) for fault in check_pairs(find_pairs(root), 29).faults]
    assert "got a link that leads back to itself. Remove the link" in faults[0]
    assert "got a link to /mnt/gone/1.png, which is not there. Restore that" in faults[1]
