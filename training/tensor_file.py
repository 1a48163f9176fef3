"""Tensors in one file: the safetensors format, read and written.

    write_tensors(path, {"raw.generator.weight": array}, {"options": "{...}"})
    tensors, metadata = read_tensors(path)

The format (github.com/huggingface/safetensors): 8 bytes little-endian length of a JSON header, the
header (name -> dtype, shape, data_offsets; `__metadata__` -> texts), then the numbers end to end.
It holds no code. Numbers are written one tensor at a time and read through a memory map, so that
a state of several gigabytes needs no second copy in memory. The format's own library needs that
copy to write, and reads neither BF16 nor 8-bit floats into NumPy.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np

from data.files import replace_file
from options.errors import UserError
from options.json_text import parse_json
from options.paths import open_file
from training.file_kind import HEADER_LIMIT, weights_kind
from training.short_floats import BFLOAT16, FLOAT8, item_size, read_short_floats

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("|i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("|u1"),
    "BOOL": np.dtype("|b1"),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
SHORT_FLOATS = (BFLOAT16, *FLOAT8)
# Of the format, but no number of a network: scales and packed bits of quantized ones, and complex.
OTHERS = ("F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "C64")


class Variable(Protocol):
    """What is written: has a shape and a dtype, and hands out its numbers when asked."""

    @property
    def shape(self) -> Any: ...

    @property
    def dtype(self) -> Any: ...

    def numpy(self) -> np.ndarray: ...


Tensor: TypeAlias = "np.ndarray | Variable"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> int:
    """Write a safetensors file whole or not at all; the data is on the disk when this returns.

    Returns the CRC-32 of the file.
    """
    checksum = 0

    def write(file: BinaryIO) -> None:
        nonlocal checksum
        checksum = _write(file, tensors, metadata)

    replace_file(path, write)
    return checksum


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors, of the shapes stored, and the metadata.

    Tensors are read-only views of the mapped file; those of BF16 and 8-bit floats are float32.
    Raises UserError if the file is missing, cut short, no safetensors file, or of other numbers.
    """
    header, start = _read_header(path)
    metadata = _read_texts(path, header)
    size = path.stat().st_size - start
    _check_kinds(path, header)
    _check_size(path, header, start, size)
    content = np.memmap(path, np.uint8, "r", start) if size else np.empty(0, np.uint8)
    tensors: dict[str, np.ndarray] = {}
    for name, entry in header.items():
        try:
            kind, shape = entry["dtype"], tuple(int(n) for n in entry["shape"])
            begin, end = (int(n) for n in entry["data_offsets"])
            count = int(np.prod(shape, dtype=np.int64))
            fits = min((0, *shape)) >= 0 and 0 <= begin <= end <= size
            if not fits or end - begin != count * _item_size(kind):
                raise ValueError("data_offsets outside the file, or not the shape's")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: tensor {name} is damaged ({error}). Fetch or write the file again"
            ) from None
        if kind in SHORT_FLOATS:
            tensors[name] = read_short_floats(content[begin:end], kind).reshape(shape)
        else:
            tensors[name] = np.ndarray(shape, DTYPES[kind], content, begin)
    return tensors, metadata


def file_checksum(path: Path) -> int:
    """The CRC-32 of a file, as `write_tensors` returns it; OSError if it cannot be read."""
    checksum = 0
    with open_file(path) as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return checksum


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata alone, without touching the tensors."""
    header, _ = _read_header(path)
    return _read_texts(path, header)


def _write(file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> int:
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
    start = len(text).to_bytes(8, "little") + text
    file.write(start)
    checksum = zlib.crc32(start)
    for name, tensor in tensors.items():
        array = tensor if isinstance(tensor, np.ndarray) else tensor.numpy()
        array = np.ascontiguousarray(array, np.dtype(str(tensor.dtype)).newbyteorder("<"))
        if array.size:
            numbers = array.reshape(-1).view(np.uint8).data
            file.write(numbers)
            checksum = zlib.crc32(numbers, checksum)
        expected = header[name]["data_offsets"]
        if array.nbytes != expected[1] - expected[0]:
            raise RuntimeError(f"{name}: {array.nbytes} bytes where the header says {expected}")
    return checksum


def _item_size(kind: str) -> int:
    return item_size(kind) if kind in SHORT_FLOATS else DTYPES[kind].itemsize


def _check_kinds(path: Path, header: Mapping[str, Any]) -> None:
    """Refuse numbers that no network here has, by their kind."""
    for name, entry in header.items():
        kind = entry.get("dtype") if isinstance(entry, dict) else None
        if kind in OTHERS:
            raise UserError(
                f"{path}: expected floats or integers, got {kind} in tensor {name}, as quantized "
                "or complex networks have it. Save the weights as F32, F16 or BF16"
            )


def _check_size(path: Path, header: Mapping[str, Any], start: int, size: int) -> None:
    """Say how much of a file that was cut short is there."""
    try:
        needed = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
    except (KeyError, IndexError, TypeError, ValueError):
        return  # said of the tensor that lies
    if needed > size:
        raise UserError(
            f"{path}: cut short: {start + size} of {start + needed} bytes are there. "
            "Fetch or write it again"
        )


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    if weights_kind(path) != "safetensors":
        raise UserError(
            f"{path}: expected a safetensors file, got one of PyTorch or Jittor. Convert it: "
            f"python -m tools.convert_checkpoint {path} {path.with_suffix('.safetensors').name}"
        )
    try:
        with open_file(path) as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if length <= HEADER_LIMIT else b""
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(text) < length:
        raise UserError(
            f"{path}: cut short: {8 + len(text)} bytes are there, and its list of tensors alone "
            f"has {8 + length}. Fetch or write it again"
        )
    try:
        header = parse_json(text)
        if not isinstance(header, dict):
            raise ValueError("no dictionary")
    except ValueError:
        raise UserError(
            f"{path}: its list of tensors is damaged. Fetch or write the file again"
        ) from None
    return header, 8 + length


def _read_texts(path: Path, header: dict[str, Any]) -> dict[str, str]:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise UserError(f"{path}: metadata must be texts; write the file again")
    return metadata
