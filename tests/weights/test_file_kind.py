"""Files that are no weights are named by their kind, whatever their suffix."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from options.errors import UserError
from weights.file_kind import weights_kind
from weights.safetensors_file import write_tensors
from weights.torch_file import write_torch
from weights.weights_file import read_weights_file

ARRAYS = {"fc.weight": np.arange(600, dtype=np.float32).reshape(20, 30)}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 436000123\n"


def image(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, kind)
    return stream.getvalue()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("latest_net_G.pth", "opt.txt"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return stream.getvalue()


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return stream.getvalue()


def numpy_file() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


def numpy_archive() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(3))
    return stream.getvalue()


OTHERS = {
    "empty": (b"", "got an empty one. Download it again"),
    "page": (b"<!DOCTYPE html><html>", "got a web page (HTML). Download it again, by the address"),
    "page with spaces": (b"\n\n  <html lang=en>", "got a web page (HTML)"),
    "page after a comment": (b"<!-- x -->\n<HTML>", "got a web page (HTML)"),
    "server's error": (b'<?xml version="1.0"?><Error>', "got XML, perhaps a server's error"),
    "git-lfs": (LFS, "got a git-lfs pointer to 436000123 bytes. Run `git lfs pull`"),
    "git-lfs with CRLF": (LFS.replace(b"\n", b"\r\n"), "a git-lfs pointer to 436000123 bytes"),
    "gzip": (gzip.compress(b"x"), "got a gzip archive. Unpack it"),
    "bzip2": (bz2.compress(b"x"), "got a bzip2 archive"),
    "xz": (lzma.compress(b"x"), "got an xz archive"),
    "tar": (tar(), "got a tar archive of latest_net_G.pth, opt.txt. Unpack it"),
    "zip": (zipped("a.jpg", "b.jpg"), "got a zip archive of a.jpg, b.jpg. Unpack it"),
    "large zip": (zipped(*(f"{n}.jpg" for n in range(99))), "9.jpg and 89 more. Unpack it"),
    "empty zip": (zipped(), "got a zip archive without entries"),
    "npz": (numpy_archive(), "got NumPy's archive (npz). Save the tensors as safetensors"),
    "npy": (numpy_file(), "got a single NumPy array"),
    "TorchScript": (
        zipped("a/data.pkl", "a/constants.pkl"),
        "got TorchScript, which holds code. Save its state_dict()",
    ),
    "json": (b'{"a": 1}', "got JSON. Name another file"),
    "large json": (json.dumps({"weights": ["风景"] * 999}).encode(), "got JSON"),
    "text": ("第一行\nsecond".encode(), 'got text ("第一行 second"). Name another file'),
    "JPEG": (image("JPEG"), "got a JPEG image"),
    "PNG": (image("PNG"), "got a PNG image"),
    "WebP": (image("WEBP"), "got a WebP image"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "got an HDF5 file"),
    "zeros": (bytes(5000), "got 5000 bytes of zeros, a download that never finished"),
    "protocol 0": (pickle.dumps({"a": 1}, 0), "got a pickle of protocol 0 or 1"),
    "protocol 1": (pickle.dumps({"a": 1}, 1), "got a pickle of protocol 0 or 1"),
    "noise": (b"\x01\x02\xfe\xff" * 9, "got a file that begins with 01 02 fe ff"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_named(tmp_path: Path, name: str, suffix: str) -> None:
    content, expected = OTHERS[name]
    path = tmp_path / f"latest_net_G{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_weights_file(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and expected in message, message
    assert "\n" not in message and len(message) < 500


def test_folders_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"got a folder\. It holds no weights"):
        weights_kind(tmp_path)
    (tmp_path / "a.pth").touch()
    with pytest.raises(UserError, match=r"got a folder\. Name one of its files: a\.pth"):
        weights_kind(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        weights_kind(tmp_path / "b.pth")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="Too many levels"):
        weights_kind(tmp_path / "loop")


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    for suffix in (".pth", ".safetensors", ".bin", ""):
        path = tmp_path / f"a{suffix}"
        for write in (write_torch, lambda path, arrays: write_tensors(path, arrays, {})):
            write(path, ARRAYS)
            np.testing.assert_array_equal(read_weights_file(path)["fc.weight"], ARRAYS["fc.weight"])


@pytest.mark.parametrize("padding", range(60, 140, 8))
def test_a_header_of_any_length_is_safetensors(tmp_path: Path, padding: int) -> None:
    # With 128 bytes it begins like a pickle.
    path = tmp_path / "a.safetensors"
    text = json.dumps({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    text = text.ljust(padding)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\x07")
    assert read_weights_file(path)["a"].tolist() == [7]
