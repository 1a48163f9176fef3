"""safetensors files: written here, read here and by the package, and the other way round."""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from options.errors import UserError
from weights.safetensors_file import file_checksum, read_metadata, read_tensors, write_tensors

ARRAYS = {
    "weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "flags": np.array([True, False, True]),
    "count": np.array(7, dtype=np.int64),
    "turned": np.arange(6, dtype=np.int32).reshape(2, 3).T,
    "empty": np.zeros((0, 5), np.float32),
    "halb é": np.arange(3, dtype=np.float16),
}
METADATA = {"options": '{"a": "ü"}', "epoch": "7"}


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, ARRAYS, METADATA)
    arrays, metadata = read_tensors(path)
    assert metadata == read_metadata(path) == METADATA
    assert list(arrays) == list(ARRAYS)
    assert_equal(arrays, ARRAYS)
    assert list(tmp_path.iterdir()) == [path]


def test_jittor_variables_are_written(tmp_path: Path) -> None:
    import jittor as jt

    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": jt.array([[1.0, 2.0]]), "b": jt.array([3, 4])}, {})
    arrays, _ = read_tensors(path)
    np.testing.assert_array_equal(arrays["a"], np.array([[1, 2]], np.float32))
    np.testing.assert_array_equal(arrays["b"], np.array([3, 4], np.int32))


def test_the_package_reads_our_files(tmp_path: Path) -> None:
    path = tmp_path / "ours.safetensors"
    write_tensors(path, ARRAYS, METADATA)
    assert_equal(load_file(path), ARRAYS)
    with safe_open(path, framework="numpy") as file:
        assert file.metadata() == METADATA


@pytest.mark.parametrize("metadata", [METADATA, {}, None])
def test_files_of_the_package_are_read(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "theirs.safetensors"
    save_file({n: np.array(a, order="C") for n, a in ARRAYS.items()}, path, metadata)
    found, texts = read_tensors(path)
    assert_equal(found, ARRAYS)
    assert texts == read_metadata(path) == (metadata or {})


def test_arrays_outlive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, ARRAYS, {})
    arrays, _ = read_tensors(path)
    path.write_bytes(b"")
    assert_equal(arrays, ARRAYS)
    arrays["weight"][:] = 0


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
    60: r"a\.safetensors: cut short: 60 of more than \d+ bytes",
    -1: r"a\.safetensors: cut short: 536 of 537 bytes",
}


@pytest.mark.parametrize("size", CUT)
def test_a_file_cut_short(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, ARRAYS, {})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=CUT[size]):
        read_tensors(path)


def write_header(path: Path, header: object, content: bytes = bytes(8)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, -8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}},
        {"a": {"dtype": "BF16", "shape": [2**40, 2**40], "data_offsets": [0, 8]}},
        {"a": {"dtype": "BF16", "shape": [4], "data_offsets": [0, float("inf")]}},
        {"a": {"dtype": "F9", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2]}},
        {"a": ["F32", [2], [0, 8]]},
        {"a": "text"},
        {"a": GOOD, "b": GOOD},
        {"a\nb": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        {"__metadata__": {"a": 1}, "a": GOOD},
        {"__metadata__": None, "a": GOOD},
        b'{"a": ',
        b'{"a": ' + b"[" * 100_000,
    ],
)
def test_a_damaged_header(tmp_path: Path, header: object) -> None:
    path = write_header(tmp_path / "a.safetensors", header)
    with pytest.raises(
        UserError, match=r"a\.safetensors: .*got a damaged one|cut short: \d+ of"
    ) as e:
        read_tensors(path)
    assert "\n" not in str(e.value) and len(str(e.value)) < 400


def test_a_file_with_bytes_after_its_tensors(tmp_path: Path) -> None:
    path = write_header(tmp_path / "a.safetensors", {"a": GOOD}, bytes(9))
    with pytest.raises(UserError, match="got a damaged one"):
        read_tensors(path)


def write_raw(path: Path, kind: str, content: bytes, count: int) -> Path:
    entry = {"dtype": kind, "shape": [count], "data_offsets": [0, len(content)]}
    return write_header(path, {"a": entry}, content)


SHORT_FLOATS = [
    ("BF16", np.array([0x3F80, 0xC020], "<u2").tobytes(), [1.0, -2.5]),
    ("F8_E4M3", b"\x38\x7e\xb8", [1.0, 448.0, -1.0]),
    ("F8_E5M2", b"\x3c\x7b", [1.0, 57344.0]),
    ("F8_E4M3FNUZ", b"\x40\x7f", [1.0, 240.0]),
    ("F8_E5M2FNUZ", b"\x40\x7f", [1.0, 57344.0]),
]


@pytest.mark.parametrize(("kind", "content", "expected"), SHORT_FLOATS)
def test_floats_that_numpy_lacks(
    tmp_path: Path, kind: str, content: bytes, expected: list[float]
) -> None:
    path = write_raw(tmp_path / "a.safetensors", kind, content, len(expected))
    array = read_tensors(path)[0]["a"]
    assert array.dtype == np.float32
    assert array.tolist() == expected
    # The reason for reading them here: the package's numbers are NumPy's, and it has none.
    with safe_open(path, framework="numpy") as file:
        assert file.get_slice("a").get_dtype() == kind
        with pytest.raises((AttributeError, TypeError)):
            file.get_tensor("a")


def test_floats_that_numpy_lacks_among_others(tmp_path: Path) -> None:
    header = {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [8, 12]},
        "c": {"dtype": "U8", "shape": [2], "data_offsets": [12, 14]},
        "d": {"dtype": "BF16", "shape": [0], "data_offsets": [14, 14]},
    }
    numbers = [np.array([5, 6], "<f4"), np.array([0x3F80, 0xC020], "<u2"), np.array([7, 8], "u1")]
    content = b"".join(array.tobytes() for array in numbers)
    arrays, _ = read_tensors(write_header(tmp_path / "a.safetensors", header, content))
    found = {name: array.tolist() for name, array in arrays.items()}
    assert found == {"a": [5, 6], "b": [[1], [-2.5]], "c": [7, 8], "d": []}


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *[("F64", "<f8"), ("F32", "<f4"), ("F16", "<f2"), ("BOOL", "|b1")],
        *[("I64", "<i8"), ("I32", "<i4"), ("I16", "<i2"), ("I8", "|i1")],
        *[("U64", "<u8"), ("U32", "<u4"), ("U16", "<u2"), ("U8", "|u1")],
    ],
)
def test_every_dtype(tmp_path: Path, kind: str, dtype: str) -> None:
    content = bytes(range(1, 129)) if kind != "BOOL" else b"\0\1" * 64
    expected = np.frombuffer(content, dtype)
    path = write_raw(tmp_path / "a.safetensors", kind, content, len(expected))
    found = read_tensors(path)[0]["a"]
    assert found.dtype == expected.dtype
    assert found.tobytes() == content
    write_tensors(tmp_path / "b.safetensors", {"a": found}, {})
    with safe_open(tmp_path / "b.safetensors", framework="numpy") as file:
        assert file.get_slice("a").get_dtype() == kind
        assert file.get_tensor("a").tobytes() == content


@pytest.mark.parametrize("kind", ["F4", "F6_E2M3", "F8_E8M0", "C64"])
def test_dtypes_of_no_network_are_refused(tmp_path: Path, kind: str) -> None:
    path = write_raw(tmp_path / "a.safetensors", kind, bytes(8), 8)
    with pytest.raises(UserError, match=f"expected floats or integers, got {kind} in tensor a"):
        read_tensors(path)


def test_the_checksum_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checksum = write_tensors(path, ARRAYS, {"a": "b"})
    assert checksum == file_checksum(path) == zlib.crc32(path.read_bytes())


def test_a_pickle_under_this_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(pickle.dumps(ARRAYS))
    with pytest.raises(UserError, match=r"got one of PyTorch or Jittor\. Convert it: python -m"):
        read_tensors(path)
