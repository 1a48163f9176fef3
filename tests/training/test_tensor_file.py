"""safetensors files: what is written is read back, by us and by the format's own library."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from options.errors import UserError
from training.tensor_file import read_metadata, read_tensors, write_tensors

ARRAYS = {
    "weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "flags": np.array([True, False, True]),
    "count": np.array(7, dtype=np.int64),
    "turned": np.arange(6, dtype=np.int32).reshape(2, 3).T,
    "empty": np.zeros((0, 5), np.float32),
    "halb é": np.arange(3, dtype=np.float16),
}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, ARRAYS, {"options": '{"a": "ü"}'})
    arrays, metadata = read_tensors(path)
    assert metadata == read_metadata(path) == {"options": '{"a": "ü"}'}
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert list(tmp_path.iterdir()) == [path]


def test_jittor_variables_are_written(tmp_path: Path) -> None:
    import jittor as jt

    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": jt.array([[1.0, 2.0]]), "b": jt.array([3, 4])}, {})
    arrays, _ = read_tensors(path)
    np.testing.assert_array_equal(arrays["a"], np.array([[1, 2]], np.float32))
    np.testing.assert_array_equal(arrays["b"], np.array([3, 4], np.int32))


def test_the_library_agrees(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    write_tensors(ours, ARRAYS, {"a": "b"})
    arrays = library.load_file(ours)
    library.save_file({k: np.ascontiguousarray(v) for k, v in ARRAYS.items()}, theirs)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        np.testing.assert_array_equal(read_tensors(theirs)[0][name], array)


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": np.zeros(3, np.float32)}, {})
    before = path.read_bytes()

    class Broken:
        shape, dtype = (3,), "float32"

        def numpy(self) -> np.ndarray:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_tensors(path, {"a": Broken()}, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


CUT = {
    0: r"a\.safetensors: expected a file of weights, got an empty one",
    5: r"a\.safetensors: expected a file of weights, got a file that begins with",
    8: r"a\.safetensors: expected a file of weights, got a file that begins with",
    60: r"a\.safetensors: cut short: 60 bytes are there, and its list of tensors alone has \d+",
    -1: r"a\.safetensors: cut short: 536 of 537 bytes are there",
}


@pytest.mark.parametrize("size", CUT)
def test_a_file_cut_short(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, ARRAYS, {})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=CUT[size]):
        read_tensors(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, -8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
        {"dtype": "F9", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2]},
        "text",
    ],
)
def test_a_header_that_lies(tmp_path: Path, entry: object) -> None:
    path = tmp_path / "a.safetensors"
    text = json.dumps({"a": entry}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(UserError, match=r"tensor a is damaged|cut short: \d+ of"):
        read_tensors(path)
