from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from data.classes import colorize, palette
from data.labels import LabelError, read_colored_label, read_instances, read_label

IDS = np.random.default_rng(0).integers(0, 29, (9, 14))


def _write_png(path: Path, rows: list[bytes], width: int, bits: int, color_type: int) -> None:
    """Write a PNG in a form that Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, len(rows), bits, color_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def _mode(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


def _assert_ids(path: Path, expected: np.ndarray = IDS, classes: int = 29) -> None:
    ids = read_label(path, classes)
    assert ids.dtype == np.int32
    assert ids.shape == expected.shape
    assert (ids == expected).all()


def test_8_bit_gray(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    stored = IDS.astype(np.uint8)
    stored[0, 0] = 255
    Image.fromarray(stored).save(path)
    _assert_ids(path, stored)


def test_16_bit_gray_keeps_large_ids(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    stored = IDS.astype(np.uint16)
    stored[0, :3] = 256, 1000, 65535
    Image.fromarray(stored).save(path)
    assert _mode(path) == "I;16"
    _assert_ids(path, stored)


def test_a_palette_of_other_colors_gives_the_indices(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = Image.fromarray(IDS.astype(np.uint8))
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
    image.save(path)
    assert _mode(path) == "P"
    _assert_ids(path)


def test_one_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(IDS > 14).save(path)
    assert _mode(path) == "1"
    _assert_ids(path, (IDS > 14).astype(int), classes=2)


@pytest.mark.parametrize("bits", [2, 4])
def test_gray_of_few_bits_is_not_stretched(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.png"
    ids = np.arange(16).reshape(2, 8) % 2**bits
    shifts = np.arange(8 - bits, -1, -bits)
    rows = [
        bytes((row.reshape(-1, 8 // bits) << shifts).sum(axis=1).astype(np.uint8)) for row in ids
    ]
    _write_png(path, rows, 8, bits, color_type=0)
    assert _mode(path) == "L"
    _assert_ids(path, ids)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_gray_in_several_channels(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(IDS.astype(np.uint8)).convert(mode).save(path)
    assert _mode(path) == mode
    _assert_ids(path)


@pytest.mark.parametrize("classes", [29, 12, 182])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_palette_colors(tmp_path: Path, classes: int, mode: str) -> None:
    path = tmp_path / "a.png"
    ids = np.random.default_rng(2).integers(0, classes, (16, 16))
    Image.fromarray(colorize(ids, classes)).convert(mode).save(path)
    _assert_ids(path, ids, classes)


def test_a_gray_color_of_the_palette_is_its_class_if_it_is_no_valid_id(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    ids = np.full((4, 4), 7)
    assert tuple(palette(21)[7]) == (128, 128, 128)
    Image.fromarray(colorize(ids, 21)).save(path)
    _assert_ids(path, ids, 21)


def test_gray_ids_out_of_range_are_returned_as_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((4, 4), 77, dtype=np.uint8)).convert("RGB").save(path)
    _assert_ids(path, np.full((4, 4), 77))


def test_an_unknown_color_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    colored = colorize(IDS, 29)
    colored[5, 3] = 1, 2, 3
    Image.fromarray(colored).save(path)
    with pytest.raises(LabelError, match=r"\), got color \(1, 2, 3\) at row 5, column 3"):
        read_label(path)


def test_transparent_pixels_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    pixels = np.dstack([colorize(IDS, 29), np.full(IDS.shape, 255, dtype=np.uint8)])
    pixels[2, 4, 3] = 100
    Image.fromarray(pixels).save(path)
    with pytest.raises(LabelError, match="transparent pixels, got alpha 100 at row 2, column 4"):
        read_label(path)


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_color_is_rejected(tmp_path: Path, color_type: int, channels: int) -> None:
    path = tmp_path / "a.png"
    _write_png(path, [bytes(2 * channels * 4)] * 3, 4, 16, color_type)
    for read in (read_label, read_instances):
        with pytest.raises(LabelError, match=r"at most 8 bits per channel, got mode .* of 16 bits"):
            read(path)


def test_lossy_and_damaged_files_are_rejected(tmp_path: Path) -> None:
    jpeg = tmp_path / "a.jpg"
    Image.fromarray(IDS.astype(np.uint8)).save(jpeg)
    with pytest.raises(
        LabelError, match=r"lossless.*got a JPEG file, whose compression .*PNG from"
    ):
        read_label(jpeg)
    disguised = tmp_path / "a.png"
    disguised.write_bytes(jpeg.read_bytes())
    with pytest.raises(LabelError, match="a lossless label: PNG, BMP, TIFF or GIF, got a JPEG"):
        read_label(disguised)
    disguised.write_bytes(b"")
    with pytest.raises(LabelError, match="got an empty file"):
        read_label(disguised)
    Image.fromarray(np.random.default_rng(0).integers(0, 29, (64, 64), dtype=np.uint8)).save(
        disguised
    )
    disguised.write_bytes(disguised.read_bytes()[:-900])
    with pytest.raises(LabelError, match="a complete image, got damage"):
        read_label(disguised)


def test_instances_keep_every_number(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[1, 300], [300, 65535]], dtype=np.uint16)).save(path)
    assert read_instances(path).tolist() == [[1, 300], [300, 65535]]
    Image.fromarray(np.array([[[1, 2, 3], [0, 0, 7]]], dtype=np.uint8)).save(path)
    assert read_instances(path).tolist() == [[0x010203, 7]]


def _indexed(
    path: Path, indices: np.ndarray, table: list[tuple[int, int, int]], **how: object
) -> None:
    """Write an indexed image; Pillow keeps the order of the palette."""
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette([channel for color in table for channel in color])
    image.save(path, **how)


def _as_indexed(
    path: Path, ids: np.ndarray, colors: np.ndarray, seed: int = 0, unused: int = 0
) -> None:
    """Write ids as an optimizer does: the entries in use in some order, then unused ones."""
    rng = np.random.default_rng(seed)
    used = rng.permutation(np.unique(ids))
    index_of = np.zeros(int(ids.max()) + 1, dtype=np.uint8)
    index_of[used] = np.arange(len(used))
    table = [tuple(colors[one].tolist()) for one in used]
    table += [tuple(rng.integers(0, 256, 3).tolist()) for _ in range(unused)]
    _indexed(path, index_of[ids], table)


GRAYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
# Palettes of well-known datasets, different from PASCAL VOC's palette(k).
CAMVID = [
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (255, 69, 0), (128, 64, 128), (60, 40, 222),
    (128, 128, 0), (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
]  # fmt: skip
CITYSCAPES = [
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
    (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180),
    (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230),
    (119, 11, 32),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif"])
def test_a_palette_of_grays_gives_the_grays(tmp_path: Path, seed: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    ids = np.random.default_rng(seed).choice([0, 3, 5, 6, 17, 28, 255], (9, 14))
    _as_indexed(path, ids, GRAYS, seed)
    _assert_ids(path, ids)


@pytest.mark.parametrize("classes", [29, 30, 12, 182])
@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif"])
def test_own_colors_at_any_index_give_their_classes(
    tmp_path: Path, classes: int, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    ids = np.random.default_rng(3).integers(0, classes, (40, 40))
    _as_indexed(path, ids, palette(classes), seed=classes)
    _assert_ids(path, ids, classes)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palettes_of_few_bits(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.png"
    indices = np.arange(32).reshape(2, 16) % 2**bits
    table = [(28 - i, 28 - i, 28 - i) for i in range(2**bits)]
    _indexed(path, indices, table, bits=bits)
    assert path.read_bytes()[24] == bits
    _assert_ids(path, 28 - indices)


def test_only_entries_in_use_count(tmp_path: Path) -> None:
    for colors in (GRAYS, palette(29)):
        path = tmp_path / "a.png"
        _as_indexed(path, IDS, colors, unused=20)
        _assert_ids(path)


def test_a_gray_ramp_gives_the_index(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    _indexed(path, IDS, [(i, i, i) for i in range(256)])
    _assert_ids(path)


@pytest.mark.parametrize("step", [17, 85, 255])
def test_scaled_grays_are_read_as_stored(tmp_path: Path, step: int) -> None:
    """Ids scaled for display cannot be told from stored ones, so they are not divided."""
    path = tmp_path / "a.png"
    ids = np.arange(4).reshape(2, 2) % (255 // step + 1)
    _indexed(path, ids, [(i * step,) * 3 for i in range(255 // step + 1)])
    _assert_ids(path, ids * step, classes=12)


@pytest.mark.parametrize("table", [CAMVID, CITYSCAPES, [*CAMVID, (0, 0, 0)]])
@pytest.mark.parametrize("classes", [12, 19, 29])
def test_palettes_of_other_datasets_give_the_index(
    tmp_path: Path, table: list[tuple[int, int, int]], classes: int
) -> None:
    path = tmp_path / "a.png"
    ids = np.arange(len(table)).reshape(1, -1)
    _indexed(path, ids, table)
    _assert_ids(path, ids, classes)
    # A label with few classes of the same palette is read in the same way.
    for some in ([0, 1, 6], [0], [2, 5], [0, 6], [10, 1]):
        chosen = np.array([some])
        _indexed(path, chosen, table)
        _assert_ids(path, chosen, classes=min(classes, 29) if classes != 29 else 19)


def test_the_voc_table_of_a_image_with_gray_classes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    table = [tuple(color) for color in palette(256).tolist()]
    ids = np.array([[0, 7, 7]])
    _indexed(path, ids, table)
    _assert_ids(path, ids, 21)


def _error(path: Path, classes: int = 29) -> str:
    with pytest.raises(LabelError) as caught:
        read_label(path, classes)
    assert "\n" not in str(caught.value) and caught.value.fix
    return str(caught.value)


def test_ambiguous_palettes_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    indices = np.arange(3).reshape(1, 3)
    # a gray label with colored marks in it
    _indexed(path, indices, [(3, 3, 3), (1, 1, 1), (255, 0, 0)])
    assert "color (3, 3, 3), which is id 3, at index 0 among other colors" in _error(path)
    # a label in the program's colors, blurred at an edge
    colors = [tuple(color) for color in palette(29).tolist()]
    _indexed(path, indices, [colors[4], colors[9], (1, 2, 3)])
    assert "which is id 4, at index 0 among other colors" in _error(path)
    # grays and the program's colors in one palette
    _indexed(path, indices, [colors[4], (9, 9, 9), colors[2]])
    assert "among other colors" in _error(path)
    # grays that are class colors too: 64 is class 56, 128 class 7
    _indexed(path, indices, [(0, 0, 0), (64, 64, 64), (128, 128, 128)])
    assert "entry 1, which is both gray 64 and the color of class 56" in _error(path, 182)
    # an unfilled palette, and one color at two indices
    _indexed(path, indices, [(0, 0, 0)] * 3)
    assert "color (0, 0, 0) at indices 0 and 1" in _error(path)
    _indexed(path, np.array([[3]]), [(0, 0, 0)] * 29)
    assert "29 entries of one color, an unfilled palette" in _error(path)
    _indexed(path, np.array([[0]]), [(0, 0, 0)] * 29)
    _assert_ids(path, np.array([[0]]))
    _indexed(path, indices, [colors[4], colors[2], colors[2]])
    assert "at indices 1 and 2" in _error(path)


def test_an_index_without_an_entry(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    indices = np.array([[0, 1, 2, 255]])
    # optimizers write no such file, so the index is the id
    for table in (CITYSCAPES, [(i, i, i) for i in range(19)]):
        _indexed(path, indices, table)
        _assert_ids(path, indices)
    _indexed(path, indices, [(28 - i,) * 3 for i in range(19)])
    assert "which is id 28, at index 0" in _error(path)


def test_transparent_entries_have_no_color(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    indices = np.array([[0, 1, 2]])
    for transparency in (1, bytes([255, 0])):
        _indexed(path, indices, [(3,) * 3, (0,) * 3, (5,) * 3], transparency=transparency)
        assert "without transparent pixels, got index 1" in _error(path)
        # if the index is the id, a transparent background has no effect
        _indexed(path, indices, CITYSCAPES, transparency=transparency)
        _assert_ids(path, indices)
    _indexed(path, indices, [(3,) * 3, (7,) * 3, (5,) * 3, (0,) * 3], transparency=3)
    _assert_ids(path, np.array([[3, 7, 5]]))


def test_colors_of_an_indexed_label_are_returned(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    _indexed(path, np.array([[0, 1, 2]]), [(9, 9, 9), (1, 2, 3), (7, 7, 7), (7, 7, 7)])
    with pytest.raises(LabelError):
        read_colored_label(path)
    _indexed(path, np.array([[0, 1, 2]]), [(0, 0, 0), (1, 2, 3), (70, 70, 7), (70, 70, 7)])
    _, colors = read_colored_label(path)
    assert colors == ((0, 0), (0x010203, 1))
    _as_indexed(path, IDS, GRAYS)
    assert set(read_colored_label(path)[1]) == {(i * 0x010101, i) for i in np.unique(IDS)}
    Image.fromarray(IDS.astype(np.uint8)).save(path)
    assert read_colored_label(path)[1] == ()


@pytest.mark.parametrize("suffix", ["bmp", "tif", "gif"])
def test_8_bit_gray_of_other_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(IDS.astype(np.uint8)).save(path)
    _assert_ids(path)
    assert (read_instances(path) == IDS).all()


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_tiff_keeps_large_ids(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "a.tif"
    stored = IDS.astype(kind)
    stored[0, :3] = 256, 1000, 65535
    Image.fromarray(stored).save(path)
    _assert_ids(path, stored)


@pytest.mark.parametrize("suffix", ["bmp", "tif"])
def test_colors_of_other_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(colorize(IDS, 29)).save(path)
    _assert_ids(path)


def test_other_formats_with_ambiguous_ids_are_rejected(tmp_path: Path) -> None:
    gray = Image.fromarray(IDS.astype(np.uint8))
    path = tmp_path / "a.tif"
    gray.save(path, compression="jpeg")
    assert "a lossless label, got JPEG compression, which changes ids" in _error(path)
    gray.save(path, save_all=True, append_images=[gray])
    assert "one image in the file, got 2 images" in _error(path)
    Image.fromarray(IDS.astype(np.float32)).save(path)
    assert "integers or of 8-bit RGB, got mode F of 32 bits" in _error(path)
    Image.fromarray(IDS.astype(np.int32) - 5).save(path)
    assert "ids 0..65535, got -5..23" in _error(path)
    gray.save(path, tiffinfo={262: 0})
    assert "0 is white" in _error(path)
    gray.convert("RGB").save(tmp_path / "a.webp", lossless=True)
    assert "got a WEBP file" in _error(tmp_path / "a.webp")


def _write_bmp(path: Path, bits: int, grays: list[int], rows: list[bytes], width: int) -> None:
    """Write a BMP in a form that Pillow cannot write."""
    stride = (width * bits + 31) // 32 * 4
    pixels = b"".join(row.ljust(stride, b"\0") for row in reversed(rows))
    start = 54 + 4 * len(grays)
    path.write_bytes(
        b"BM"
        + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
        + struct.pack("<IiiHHIIiiII", 40, width, len(rows), 1, bits, 0, 0, 0, 0, len(grays), 0)
        + b"".join(bytes((gray, gray, gray, 0)) for gray in grays)
        + pixels
    )


def test_bmp_palettes(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    _write_bmp(path, 1, [0, 1], [b"\xa0"], 4)
    _assert_ids(path, np.array([[1, 0, 1, 0]]))
    # black and white, as in any other palette
    _write_bmp(path, 1, [0, 255], [b"\xa0"], 4)
    _assert_ids(path, np.array([[255, 0, 255, 0]]))
    _write_bmp(path, 8, [5, 28, 0], [b"\0\1\2"], 3)
    _assert_ids(path, np.array([[5, 28, 0]]))
    # Pillow reads 8-bit indices of two grays as single bits
    _write_bmp(path, 8, [0, 255], [b"\0\1\1"], 3)
    assert "a BMP of 8-bit indices, got 8 bits with a gray palette" in _error(path)
    _write_bmp(path, 4, list(range(16)), [b"\x01\x23"], 4)
    assert "got 4 bits with a gray palette" in _error(path)


def test_a_label_with_megabytes_of_text_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "<x/>" * 800_000, zip=True)
    Image.fromarray(IDS.astype(np.uint8)).save(path, pnginfo=text)
    _assert_ids(path)
    text = PngInfo()
    for _ in range(3):
        text.add_itxt("XML:com.adobe.xmp", "<x/>" * 7_000_000, zip=True)
    Image.fromarray(IDS.astype(np.uint8)).save(path, pnginfo=text)
    assert "less than 64 MB of comments, got more. Remove them: exiftool" in _error(path)
