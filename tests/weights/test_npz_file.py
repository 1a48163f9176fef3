"""Arrays of .npz files: names with slashes, and every kind of damage in one line."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from options.errors import UserError
from weights.npz_file import read_npz


def test_all_arrays_or_those_that_are_named(tmp_path: Path) -> None:
    arrays = {"conv1/conv1/kernel:0": np.arange(6.0).reshape(2, 3), "b": np.zeros(0, np.int32)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = read_npz(tmp_path / "a.npz", "arrays", "Fix")
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
        assert list(read_npz(tmp_path / "a.npz", "arrays", "Fix", ("c", "b"))) == ["b"]


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name, content in members.items():
            written.writestr(name, content)
    return file.getvalue()


def array_file(header: str, content: bytes = b"") -> bytes:
    """An .npy file of version 1 with this header."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,)}"
OBJECTS = "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"text", "no .npz file"),
        (b"", "no .npz file"),
        (b"PK\x03\x04 and no zip", "not a zip file"),
        (archive(data=b"text"), "data is no array"),
        (archive(**{"a.npy": b"\x93NUMPY\x01\x00"}), "got damage"),
        (archive(**{"a.npy": array_file("no header")}), "got damage"),
        (archive(**{"a.npy": array_file(HUGE)}), "got damage"),
        (archive(**{"a.npy": array_file(OBJECTS, b"\x80\x02N.")}), "allow_pickle=False"),
        (archive(**{"a.npy": b"12345678"})[:-30], "not a zip file"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_npz(path, "statistics as .npz", "Write it again")
    message = str(caught.value)
    assert "a.npz: expected statistics as .npz, got damage or another kind of file" in message
    assert words in message and message.endswith("Write it again") and "\n" not in message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.npz"):
        with pytest.raises(UserError, match=r"expected a readable \.npz file"):
            read_npz(path, "statistics", "Fix")
