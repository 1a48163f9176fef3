"""Tensors in one file: the safetensors format.

    write_tensors(path, {"raw.generator.weight": array}, {"options": "{...}"})
    tensors, metadata = read_tensors(path)

The format (github.com/huggingface/safetensors): the length of a JSON header, 8 bytes little-endian;
the header (name -> dtype, shape, data_offsets; `__metadata__` -> texts); the numbers, end to end.
It holds no code.

The `safetensors` package reads. The header is parsed here too, because the package's errors do not
name the missing part of a file, and because NumPy has neither BF16 nor 8-bit floats: the package
raises TypeError and AttributeError for them, so `short_floats` decodes their bytes. Reading 1 GB
(100 tensors, in the page cache) takes 0.7 s and 1000 MB of memory: one copy. The package's memory
map takes 0.6 s and 2000 MB; a memory map without a copy took 0.05 s and 1000 MB.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np
from safetensors import SafetensorError, safe_open

from data.files import replace_file
from options.errors import UserError, cut
from options.json_text import parse_json
from options.paths import open_file
from weights.file_kind import HEADER_LIMIT, weights_kind
from weights.short_floats import BFLOAT16, FLOAT8, read_short_floats

# NumPy's name of a dtype -> the format's.
NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
SHORT_FLOATS = (BFLOAT16, *FLOAT8)
# Dtypes of the format that no network here has: of quantized and of complex networks.
REFUSED = ("F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "C64")


class Variable(Protocol):
    """A tensor that can be written: it has a shape and a dtype, and copies its numbers on request.

    Jittor's variables are such tensors.
    """

    @property
    def shape(self) -> Any: ...

    @property
    def dtype(self) -> Any: ...

    def numpy(self) -> np.ndarray: ...


Tensor: TypeAlias = "np.ndarray | Variable"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> int:
    """Write a safetensors file atomically; it is on the disk when this returns.

    Returns the CRC-32 of the file.
    """
    checksum = 0

    def write(file: BinaryIO) -> None:
        nonlocal checksum
        checksum = _write(file, tensors, metadata)

    replace_file(path, write)
    return checksum


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the tensors, in the header's order, and the metadata.

    BF16 and 8-bit floats become float32; every other dtype stays. Raises UserError if the file is
    missing, cut short, damaged, no safetensors file, or has a dtype that no network here has.
    """
    header, start = _read_header(path)
    metadata = _pop_metadata(path, header)
    _check_dtypes(path, header)
    _check_size(path, header, start)
    try:
        # The default, a memory map, would need the memory twice: for the file and for the arrays.
        with safe_open(path, framework="numpy", backend="pread") as file:
            tensors = {
                name: _read_bytes(path, entry, start)
                if entry["dtype"] in SHORT_FLOATS
                else file.get_tensor(name)
                for name, entry in header.items()
            }
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise _damaged(path, cut(" ".join(str(error).split()))) from None
    return tensors, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata alone; the numbers are neither read nor checked."""
    header, _ = _read_header(path)
    return _pop_metadata(path, header)


def stored_size(tensors: Mapping[str, Tensor]) -> int:
    """Return the number of bytes that the numbers of these tensors take in a file."""
    return sum(
        int(np.prod(tensor.shape, dtype=np.int64)) * np.dtype(str(tensor.dtype)).itemsize
        for tensor in tensors.values()
    )


def file_checksum(path: Path) -> int:
    """Return the CRC-32 of a file, as `write_tensors` does; OSError if it cannot be read."""
    checksum = 0
    with open_file(path) as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return checksum


# Writing 1 GB (100 tensors): 1.1 s and 21 MB with CRC and fsync; save_file: 3.4 s and 1000 MB.
def _write(file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> int:
    """Write one tensor after the other, and return the CRC-32."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, tensor in tensors.items():
        dtype, shape = np.dtype(str(tensor.dtype)), [int(n) for n in tensor.shape]
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        header[name] = {
            "dtype": NAMES[dtype.name],
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
        begin, end = header[name]["data_offsets"]
        if array.nbytes != end - begin:
            raise RuntimeError(f"{name}: expected {end - begin} bytes, got {array.nbytes}")
    return checksum


def _read_bytes(path: Path, entry: Mapping[str, Any], start: int) -> np.ndarray:
    """Read a tensor of short floats; safe_open has checked its offsets."""
    begin, end = entry["data_offsets"]
    content = np.fromfile(path, np.uint8, end - begin, offset=start + begin)
    return read_short_floats(content, entry["dtype"]).reshape(entry["shape"])


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Read the header; also return the offset of the numbers."""
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
            f"{path}: cut short: {8 + len(text)} of more than {8 + length} bytes. "
            "Download or write it again"
        )
    try:
        header = parse_json(text)
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no JSON object")
    return header, 8 + length


def _pop_metadata(path: Path, header: dict[str, Any]) -> dict[str, str]:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _damaged(path, "its metadata are not texts")
    return metadata


def _check_dtypes(path: Path, header: Mapping[str, Any]) -> None:
    for name, entry in header.items():
        if not isinstance(entry, dict):
            raise _damaged(path, f"tensor {name} is {type(entry).__name__}, not an object")
        if entry.get("dtype") in REFUSED:
            raise UserError(
                f"{path}: expected floats or integers, got {entry['dtype']} in tensor {name}, a "
                "dtype of quantized or complex networks. Save the weights as F32, F16 or BF16"
            )


def _check_size(path: Path, header: Mapping[str, Any], start: int) -> None:
    """Raise UserError if the file is shorter than its header requires."""
    try:
        end = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
    except (LookupError, TypeError, ValueError, OverflowError):
        return  # safe_open refuses such a header
    size = path.stat().st_size
    if start + end > size:
        raise UserError(
            f"{path}: cut short: {size} of {start + end} bytes. Download or write it again"
        )


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: expected a safetensors file, got a damaged one ({reason}). "
        "Download or write it again"
    )
