"""Tensors in one file: the safetensors format, read and written.

    write_tensors(path, {"raw.generator.weight": array}, {"options": "{...}"})
    tensors, metadata = read_tensors(path)

The format (github.com/huggingface/safetensors): 8 bytes little-endian length of a JSON header, the
header (name -> dtype, shape, data_offsets; `__metadata__` -> texts), then the numbers end to end.
It holds no code. Numbers are written one tensor at a time and read through a memory map, so that
a state of several gigabytes needs no second copy in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np

from data.files import replace_file
from options.errors import UserError

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("|i1"),
    "U8": np.dtype("|u1"),
    "BOOL": np.dtype("|b1"),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
HEADER_LIMIT = 100_000_000  # bytes; the format's own limit


class Variable(Protocol):
    """What is written: has a shape and a dtype, and hands out its numbers when asked."""

    @property
    def shape(self) -> Any: ...

    @property
    def dtype(self) -> Any: ...

    def numpy(self) -> np.ndarray: ...


Tensor: TypeAlias = "np.ndarray | Variable"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file whole or not at all; the data is on the disk when this returns."""
    replace_file(path, lambda file: _write(file, tensors, metadata))


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors (read-only views of the mapped file, of the shapes stored) and the metadata.

    Raises UserError where the file is missing, cut short or no safetensors file.
    """
    header, start = _read_header(path)
    metadata = _read_texts(path, header)
    size = path.stat().st_size - start
    content = np.memmap(path, np.uint8, "r", start) if size else np.empty(0, np.uint8)
    tensors: dict[str, np.ndarray] = {}
    for name, entry in header.items():
        try:
            dtype, shape = DTYPES[entry["dtype"]], tuple(int(n) for n in entry["shape"])
            begin, end = (int(n) for n in entry["data_offsets"])
            count = int(np.prod(shape, dtype=np.int64))
            fits = min((0, *shape)) >= 0 and 0 <= begin <= end <= size
            if not fits or end - begin != count * dtype.itemsize:
                raise ValueError("data_offsets outside the file, or not the shape's")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: tensor {name} is off ({error}): the file was cut short or is of "
                "another kind; fetch or write it again"
            ) from None
        tensors[name] = np.ndarray(shape, dtype, content, begin)
    return tensors, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata alone, without touching the tensors."""
    header, _ = _read_header(path)
    return _read_texts(path, header)


def _write(file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, tensor in tensors.items():
        dtype, shape = np.dtype(str(tensor.dtype)).newbyteorder("<"), [int(n) for n in tensor.shape]
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        header[name] = {
            "dtype": NAMES[dtype],
            "shape": shape,
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name, tensor in tensors.items():
        array = tensor if isinstance(tensor, np.ndarray) else tensor.numpy()
        array = np.ascontiguousarray(array, np.dtype(str(tensor.dtype)).newbyteorder("<"))
        if array.size:
            file.write(array.reshape(-1).view(np.uint8).data)
        expected = header[name]["data_offsets"]
        if array.nbytes != expected[1] - expected[0]:
            raise RuntimeError(f"{name}: {array.nbytes} bytes where the header says {expected}")


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if length <= HEADER_LIMIT else b""
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        header = json.loads(text)
        if len(text) != length or not isinstance(header, dict):
            raise ValueError("no header")
    except ValueError:
        raise UserError(
            f"{path}: no safetensors file, or one cut short; fetch or write it again"
        ) from None
    return header, 8 + length


def _read_texts(path: Path, header: dict[str, Any]) -> dict[str, str]:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise UserError(f"{path}: metadata must be texts; write the file again")
    return metadata
