from __future__ import annotations

import pickle
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.images import ImageError, ImageFileError, inspect_image, read_image
from data.labels import read_label
from options.errors import UserError


def _gradient(height: int = 48, width: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 5, columns * 3, rows + columns], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK"])
def test_photos_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(_gradient()).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (48, 64, 3) and image.dtype == np.uint8
    facts = inspect_image(path)
    assert (facts.height, facts.width, facts.mode, facts.rotated) == (48, 64, mode, False)
    if mode in ("RGB", "RGBA"):
        assert (image == _gradient()).all()


@pytest.mark.parametrize("mode", ["I;16", "1", "F"])
def test_other_modes_are_rejected(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "F" else "a.png")
    gray = Image.fromarray(_gradient()[..., 0])
    (
        Image.fromarray(_gradient()[..., 0].astype(np.uint16))
        if mode == "I;16"
        else gray.convert(mode)
    ).save(path)
    for read in (read_image, inspect_image):
        with pytest.raises(ImageError, match=r"8 bits per channel .+, got mode .+ Save it as"):
            read(path)


def test_errors_of_damaged_files_have_rule_value_and_fix(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole)
    content = whole.read_bytes()
    files = {
        "empty.jpg": (b"", "got an empty file"),
        "text.jpg": (b"not an image at all", "expected an image, got text"),
        "half.jpg": (content[: len(content) // 2], "a complete image, got damage .*truncated"),
        "nearly.jpg": (content[:-40], "a complete image, got damage .*truncated"),
    }
    for name, (damaged, message) in files.items():
        path = tmp_path / name
        path.write_bytes(damaged)
        for read in (read_image, inspect_image):
            with pytest.raises(ImageError, match=message) as caught:
                read(path)
            assert caught.value.path == path and caught.value.fix
    png = tmp_path / "half.png"
    Image.fromarray(noise).save(png)
    png.write_bytes(png.read_bytes()[:2000])
    with pytest.raises(ImageError, match="a complete image"):
        read_image(png)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a readable file, got nothing there\. Restore"):
        read_image(tmp_path / "none.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(ImageError, match="a readable file, got a folder"):
        read_image(tmp_path / "folder.jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(_gradient()).save(path, exif=exif)
    image = read_image(path)
    facts = inspect_image(path)
    assert (facts.height, facts.width) == image.shape[:2]
    assert facts.rotated == (orientation != 1)
    upright = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }
    assert (image == upright[orientation](_gradient())).all()


def test_large_jpegs_are_decoded_at_no_less_than_twice_the_size(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(_gradient(240, 320)).save(path, quality=95)
    assert read_image(path, 30, 40).shape == (60, 80, 3)
    assert read_image(path, 50, 60).shape == (120, 160, 3)
    assert read_image(path, 61, 80).shape == (240, 320, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(_gradient(240, 320)).save(path, exif=exif)
    assert read_image(path, 80, 60).shape == (160, 120, 3)


def test_error_survives_pickling() -> None:
    error = ImageError("a.jpg", "the rule", "the value", "the fix")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, ImageFileError) and isinstance(again, UserError)
    assert str(again) == str(error) == "a.jpg: expected the rule, got the value. The fix."


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "got a HEIC image from a phone. Convert"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "got a HEIC image"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "got a video"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "got a JPEG XL image"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1",
            "got a Git LFS pointer. Download the image: git lfs pull.",
        ),
        (b"\n <!DOCTYPE html><html>", "got a web page. Download it again."),
        (b"<?xml version='1.0'?><svg/>", "got XML or SVG text"),
        (b"PK\x03\x04\x14", "got a zip archive. Unpack it."),
        (b"%PDF-1.4", "got a PDF"),
        (b"\x93NUMPY\x01", "got a NumPy array. Save it as PNG."),
        (bytes(600), "got zeros. Download it again."),
        (b"404: Not Found", "got text"),
        (b"\x01\x02\x03\x04", "got an unknown format"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=re.escape(found)) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: expected an image, got ")


def test_too_large_images_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (14000, 13000)).save(path)
    for read in (read_image, inspect_image, read_label):
        with pytest.raises(ImageFileError, match=r"at most 178 .*got 13000 x 14000\. Scale"):
            read(path)


def test_a_jpeg_of_any_size_is_decoded_at_a_reduced_size(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("L", (14000, 13000), 90).save(path)
    assert inspect_image(path).width == 14000
    assert read_image(path, 384, 512).shape == (1625, 1750, 3)
    with pytest.raises(ImageError, match="at most 178 megapixels"):
        read_image(path)


def test_a_png_with_an_enormous_size_in_its_header_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 2**31 - 1, 2**30)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    for read in (read_image, inspect_image):
        with pytest.raises(ImageError, match="megapixels"):
            read(path)


def test_large_images_are_read_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (10000, 9000)).save(path)
    assert inspect_image(path).height == 9000
    assert not list(recwarn)


def test_invalid_paths(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name, found in (
        ("a\0b.jpg", "a name that no file can have"),
        ("n" * 300 + ".jpg", "a name longer than the file system takes"),
        ("loop.jpg", "a link that leads back to itself"),
    ):
        with pytest.raises(ImageError, match=f"expected a readable file, got {found}"):
            read_image(tmp_path / name)
