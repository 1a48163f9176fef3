"""Files for PyTorch, written without it: PyTorch has read goldens/written_here.pth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from options.errors import UserError
from tests.reference.goldens import FOLDER
from tests.reference.torch_files import every_kind
from weights.safe_pickle import read_pickle
from weights.torch_file import write_torch


def test_the_bytes_are_those_of_a_file_that_pytorch_has_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    write_torch(path, every_kind())
    assert path.read_bytes() == (FOLDER / "written_here.pth").read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["a.pth"]


def test_there_and_back() -> None:
    arrays = every_kind()
    found = read_pickle(FOLDER / "written_here.pth")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_numbers_beyond_31_bits() -> None:
    from weights.torch_file import _number

    assert _number(2**31 - 1) == b"J\xff\xff\xff\x7f"
    assert _number(2**31) == b"\x8a\x08\x00\x00\x00\x80\x00\x00\x00\x00"


def test_dtypes_that_pytorch_cannot_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="that PyTorch stores, got uint16"):
        write_torch(tmp_path / "a.pth", {"a": np.zeros(2, np.uint16)})
    assert list(tmp_path.iterdir()) == []
