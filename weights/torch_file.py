"""Writer of .pth files that `torch.load(path, weights_only=True)` reads, without PyTorch.

    write_torch(Path("latest_net_G.pth"), {"fc.weight": array, ...})

A .pth is a zip without compression: `archive/data.pkl` is a pickle that builds the dictionary, and
`archive/data/N` holds the numbers of its N-th tensor. The same arrays make the same bytes.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data.files import replace_file
from options.errors import UserError

FOLDER = "archive"
# NumPy's name of a dtype -> PyTorch's storage class.
STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


def write_torch(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a state dictionary to a file, atomically. Raises as `write_archive`."""
    replace_file(path, lambda file: write_archive(file, arrays))


def write_archive(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a state dictionary in the order given.

    Raises UserError if PyTorch has no storage for an array's dtype.
    """
    dtypes = {str(array.dtype) for array in arrays.values()} - set(STORAGES)
    if dtypes:
        found = ", ".join(sorted(dtypes))
        raise UserError(
            f"a .pth file: expected numbers that PyTorch stores, got {found}. "
            "Save the weights as float32"
        )
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, content: bytes) -> None:
            # A fixed date: the same arrays make the same file.
            entry = zipfile.ZipInfo(f"{FOLDER}/{name}", (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, content)

        add("data.pkl", _dictionary(arrays))
        add("byteorder", b"little")
        for index, array in enumerate(arrays.values()):
            numbers = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            add(f"data/{index}", numbers.tobytes())
        add("version", b"3\n")


def _dictionary(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the pickle, in protocol 2 as PyTorch writes it; comments name the instructions."""
    parts = [b"\x80\x02}("]  # PROTO 2, EMPTY_DICT, MARK
    for index, (name, array) in enumerate(arrays.items()):
        strides = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
        parts += [
            _text(name),
            _name("torch._utils", "_rebuild_tensor_v2"),
            b"((",  # MARK of the arguments, MARK of the storage's reference
            _text("storage"),
            _name("torch", STORAGES[str(array.dtype)]),
            _text(str(index)),
            _text("cpu"),
            _number(array.size),
            b"tQ",  # TUPLE, BINPERSID
            _number(0),  # offset into the storage
            _numbers(array.shape),
            _numbers(strides),
            b"\x89",  # NEWFALSE: requires no gradient
            _name("collections", "OrderedDict") + b")R",  # EMPTY_TUPLE, REDUCE: no hooks
            b"tR",  # TUPLE, REDUCE
        ]
    return b"".join([*parts, b"u."])  # SETITEMS, STOP


def _text(text: str) -> bytes:
    content = text.encode()
    return b"X" + struct.pack("<I", len(content)) + content  # BINUNICODE


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()  # GLOBAL


def _number(value: int) -> bytes:
    if value < 2**31:
        return b"J" + struct.pack("<i", value)  # BININT
    return b"\x8a\x08" + struct.pack("<q", value)  # LONG1 of 8 bytes


def _numbers(values: tuple[int, ...] | list[int]) -> bytes:
    return b"(" + b"".join(_number(int(value)) for value in values) + b"t"  # MARK ... TUPLE
