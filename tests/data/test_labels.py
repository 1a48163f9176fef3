from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.classes import colourise, palette
from data.labels import LabelError, read_instances, read_label

IDS = np.random.default_rng(0).integers(0, 29, (9, 14))


def _write_png(path: Path, rows: list[bytes], width: int, bits: int, colour_type: int) -> None:
    """Write a PNG of a form that Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def _mode(path: Path) -> str:
    with Image.open(path) as picture:
        return picture.mode


def _assert_ids(path: Path, expected: np.ndarray = IDS, classes: int = 29) -> None:
    ids = read_label(path, classes)
    assert ids.dtype == np.int32
    assert ids.shape == expected.shape
    assert (ids == expected).all()


def test_8_bit_grey(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    stored = IDS.astype(np.uint8)
    stored[0, 0] = 255
    Image.fromarray(stored).save(path)
    _assert_ids(path, stored)


def test_16_bit_grey_keeps_large_ids(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    stored = IDS.astype(np.uint16)
    stored[0, :3] = 256, 1000, 65535
    Image.fromarray(stored).save(path)
    assert _mode(path) == "I;16"
    _assert_ids(path, stored)


def test_palette_gives_indices_whatever_the_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture = Image.fromarray(IDS.astype(np.uint8))
    picture.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
    picture.save(path)
    assert _mode(path) == "P"
    _assert_ids(path)


def test_one_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(IDS > 14).save(path)
    assert _mode(path) == "1"
    _assert_ids(path, (IDS > 14).astype(int), classes=2)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_is_not_stretched(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.png"
    ids = np.arange(16).reshape(2, 8) % 2**bits
    shifts = np.arange(8 - bits, -1, -bits)
    rows = [
        bytes((row.reshape(-1, 8 // bits) << shifts).sum(axis=1).astype(np.uint8)) for row in ids
    ]
    _write_png(path, rows, 8, bits, colour_type=0)
    assert _mode(path) == "L"
    _assert_ids(path, ids)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grey_in_several_channels(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(IDS.astype(np.uint8)).convert(mode).save(path)
    assert _mode(path) == mode
    _assert_ids(path)


@pytest.mark.parametrize("classes", [29, 12, 182])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_palette_colours(tmp_path: Path, classes: int, mode: str) -> None:
    path = tmp_path / "a.png"
    ids = np.random.default_rng(2).integers(0, classes, (16, 16))
    Image.fromarray(colourise(ids, classes)).convert(mode).save(path)
    _assert_ids(path, ids, classes)


def test_a_grey_colour_of_the_palette_is_its_class_where_it_can_be_no_id(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    ids = np.full((4, 4), 7)
    assert tuple(palette(21)[7]) == (128, 128, 128)
    Image.fromarray(colourise(ids, 21)).save(path)
    _assert_ids(path, ids, 21)


def test_grey_ids_out_of_range_are_returned_as_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((4, 4), 77, dtype=np.uint8)).convert("RGB").save(path)
    _assert_ids(path, np.full((4, 4), 77))


def test_an_unknown_colour_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    coloured = colourise(IDS, 29)
    coloured[5, 3] = 1, 2, 3
    Image.fromarray(coloured).save(path)
    with pytest.raises(LabelError, match=r"palette\(29\): colour \(1, 2, 3\) at row 5, column 3"):
        read_label(path)


def test_transparent_pixels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    pixels = np.dstack([colourise(IDS, 29), np.full(IDS.shape, 255, dtype=np.uint8)])
    pixels[2, 4, 3] = 100
    Image.fromarray(pixels).save(path)
    with pytest.raises(LabelError, match="no transparent pixel: alpha 100 at row 2, column 4"):
        read_label(path)


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_colour_is_refused_rather_than_cut(
    tmp_path: Path, colour_type: int, channels: int
) -> None:
    path = tmp_path / "a.png"
    _write_png(path, [bytes(2 * channels * 4)] * 3, 4, 16, colour_type)
    for read in (read_label, read_instances):
        with pytest.raises(LabelError, match="16 bits a channel are read in grey labels only"):
            read(path)


def test_lossy_and_damaged_files_are_refused(tmp_path: Path) -> None:
    jpeg = tmp_path / "a.jpg"
    Image.fromarray(IDS.astype(np.uint8)).save(jpeg)
    with pytest.raises(LabelError, match=r"must be a PNG, .*: a JPEG file"):
        read_label(jpeg)
    disguised = tmp_path / "a.png"
    disguised.write_bytes(jpeg.read_bytes())
    with pytest.raises(LabelError, match="must be a PNG"):
        read_label(disguised)
    disguised.write_bytes(b"")
    with pytest.raises(LabelError, match="must not be empty"):
        read_label(disguised)
    Image.fromarray(np.random.default_rng(0).integers(0, 29, (64, 64), dtype=np.uint8)).save(
        disguised
    )
    disguised.write_bytes(disguised.read_bytes()[:-900])
    with pytest.raises(LabelError, match="must be whole"):
        read_label(disguised)


def test_instances_keep_every_number(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[1, 300], [300, 65535]], dtype=np.uint16)).save(path)
    assert read_instances(path).tolist() == [[1, 300], [300, 65535]]
    Image.fromarray(np.array([[[1, 2, 3], [0, 0, 7]]], dtype=np.uint8)).save(path)
    assert read_instances(path).tolist() == [[0x010203, 7]]
