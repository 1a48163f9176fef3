"""safetensors files: what is written is read back, by us and by the format's own library."""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest

from options.errors import UserError
from training.tensor_file import file_checksum, read_metadata, read_tensors, write_tensors

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


def write_raw(path: Path, kind: str, content: bytes, count: int) -> Path:
    entry = {"dtype": kind, "shape": [count], "data_offsets": [0, len(content)]}
    text = json.dumps({"a": entry}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("BF16", np.array([0x3F80, 0xC020], "<u2").tobytes(), [1.0, -2.5]),
        ("F8_E4M3", b"\x38\x7e\xb8", [1.0, 448.0, -1.0]),
        ("F8_E5M2", b"\x3c\x7b", [1.0, 57344.0]),
    ],
)
def test_floats_that_numpy_lacks(
    tmp_path: Path, kind: str, content: bytes, expected: list[float]
) -> None:
    path = write_raw(tmp_path / "a.safetensors", kind, content, len(expected))
    array = read_tensors(path)[0]["a"]
    assert array.dtype == np.float32
    assert array.tolist() == expected


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *[("F64", 8), ("F32", 4), ("F16", 2), ("BOOL", 1)],
        *[("I64", 8), ("I32", 4), ("I16", 2), ("I8", 1)],
        *[("U64", 8), ("U32", 4), ("U16", 2), ("U8", 1)],
    ],
)
def test_every_kind_as_the_library_reads_it(tmp_path: Path, kind: str, size: int) -> None:
    library = pytest.importorskip("safetensors")
    content = bytes(range(1, 129)) if kind != "BOOL" else b"\0\1" * 64
    path = write_raw(tmp_path / "a.safetensors", kind, content, 128 // size)
    with library.safe_open(path, framework="numpy") as file:
        expected = file.get_tensor("a")
    found = read_tensors(path)[0]["a"]
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes() == content


@pytest.mark.parametrize("kind", ["F4", "F6_E2M3", "F8_E8M0", "C64"])
def test_what_no_network_has_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = write_raw(tmp_path / "a.safetensors", kind, bytes(8), 8)
    with pytest.raises(UserError, match=f"expected floats or integers, got {kind} in tensor a"):
        read_tensors(path)


def test_the_checksum_is_the_files(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checksum = write_tensors(path, ARRAYS, {"a": "b"})
    assert checksum == file_checksum(path) == zlib.crc32(path.read_bytes())


def test_a_pickle_under_this_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(pickle.dumps(ARRAYS))
    with pytest.raises(UserError, match=r"got one of PyTorch or Jittor\. Convert it: python -m"):
        read_tensors(path)
