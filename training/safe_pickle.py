"""Weights out of pickle files, without running what a pickle may hold.

    arrays = read_pickle("vgg19-dcbb9e9d.pth")      # {"features.0.weight": ndarray, ...}

A pickle is a program: `pickle.load` runs whatever its author wrote. Here a pickle may build plain
containers, numbers, text, NumPy arrays, PyTorch tensors and Jittor variables, and nothing else;
any other name in it is refused. Understood are PyTorch's files (zip, and the older form of
torchvision's downloads) and Jittor's (`jt.save`). Everything comes back as NumPy arrays.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from options.errors import UserError

JITTOR_MARK = b"HCAJSLHD"  # ends a file of jt.save, after 20 bytes of SHA-1
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # opens a PyTorch file older than 1.6
LEGACY_VERSION = 1001

STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


def read_pickle(path: str | Path) -> Any:
    """Read a PyTorch or Jittor file of weights; tensors come back as NumPy arrays.

    Raises UserError where the file is missing, cut short, or holds anything but weights.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            if zipfile.is_zipfile(file):
                return _read_zip(file)
            file.seek(0)
            content = file.read()
        if content.endswith(JITTOR_MARK):
            content = _check_digest(content)
        if content[:1] != b"\x80":
            raise _Fault("it is no pickle")
        stream = io.BytesIO(content)
        if _is_legacy(stream):
            return _read_legacy(stream)
        return _plain(_Unpickler(stream, _no_storage).load())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except _Fault as fault:
        raise UserError(f"{path}: a file of weights holds tensors alone: {fault}") from None
    except Exception as error:  # a damaged pickle can raise nearly any exception
        raise UserError(
            f"{path}: damaged or no file of weights ({type(error).__name__}: {error}); "
            "fetch it again"
        ) from None


class _Fault(Exception):
    """What is wrong with the file, for the UserError."""


class _Storage:
    """A run of numbers that tensors look into; a legacy file delivers the numbers last."""

    def __init__(self, dtype: str, count: int) -> None:
        self.dtype, self.count = dtype, count
        self.values: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Bytes of the whole run."""
        return self.count * (2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize)

    def fill(self, content: bytes) -> None:
        if len(content) != self.size:
            raise _Fault(f"a storage has {len(content)} bytes of {self.size}; it was cut short")
        if self.dtype == "bfloat16":
            high = np.frombuffer(content, "<u2").astype(np.uint32) << 16
            self.values = high.view(np.float32)
        else:
            self.values = np.frombuffer(content, self.dtype)


class _Tensor:
    """A view of a storage: offset, sizes and strides count elements."""

    def __init__(self, storage: Any, offset: int, size: Any, stride: Any) -> None:
        if not isinstance(storage, _Storage):
            raise _Fault("a tensor without its storage")
        numbers = (offset, *size, *stride)
        if not all(type(n) is int and n >= 0 for n in numbers) or len(size) != len(stride):
            raise _Fault(f"a tensor of size {size} and stride {stride}")
        # as_strided below reads wherever it is told to: stay inside the storage.
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if 0 not in size and last >= storage.count:
            raise _Fault("a tensor that reaches beyond its storage")
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def array(self) -> np.ndarray:
        values = self.storage.values
        if values is None:
            raise _Fault("a tensor whose numbers are missing; the file was cut short")
        if 0 in self.size:
            return np.zeros(self.size, values.dtype)
        steps = [step * values.itemsize for step in self.stride]
        view = np.lib.stride_tricks.as_strided(values[self.offset :], tuple(self.size), steps)
        return np.array(view, order="C")


class _Parameter:
    """torch.nn.Parameter, in the three ways that PyTorch has written it."""

    def __new__(cls, data: Any = None, *rest: Any) -> _Parameter:
        self = super().__new__(cls)
        self.data = data
        return self

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 5:
            self.data = state[0]


class _Dtype:
    """numpy.dtype of a plain number."""

    def __init__(self, code: Any, *rest: Any) -> None:
        if not isinstance(code, str) or np.dtype(code).kind not in "biuf":
            raise _Fault(f"an array of {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """numpy.ndarray: made empty, then filled by its state."""

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, column_major, content = state
        if not isinstance(dtype, _Dtype):
            raise _Fault("an array without its type")
        if isinstance(content, str):  # Python 2's bytes
            content = content.encode("latin1")
        flat = np.frombuffer(content, dtype.dtype)
        value = flat.reshape(shape, order="F" if column_major else "C")
        self.value = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")

    def array(self) -> np.ndarray:
        if self.value is None:
            raise _Fault("an array without its numbers")
        return self.value


class _NdarrayName:
    """numpy.ndarray as a name: only ever the first argument of `_reconstruct`."""


def _make_array(kind: Any, shape: Any, code: Any) -> _Array:
    return _Array()


def _make_array_at_once(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """The same in protocol 5."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", bytes(content)))
    return array


def _make_scalar(dtype: _Dtype, content: Any) -> Any:
    if isinstance(content, str):
        content = content.encode("latin1")
    return np.frombuffer(content, dtype.dtype)[0]


def _rebuild_tensor(storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> _Tensor:
    return _Tensor(storage, offset, size, stride)


def _rebuild_parameter(data: Any, *rest: Any) -> Any:
    return data


def _make_var(data: Any, *rest: Any) -> Any:
    return data


def _encode(text: str, encoding: str) -> bytes:
    # Protocol 2 writes bytes as text: _codecs.encode(text, "latin1").
    return text.encode("latin1")


def _make_size(values: Any = ()) -> tuple[Any, ...]:
    return tuple(values)


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    ("torch", "Size"): _make_size,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.nn.parameter", "Parameter"): _Parameter,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _NdarrayName,
    ("jittor", "jittor_core.Var"): _make_var,
    ("jittor_core", "Var"): _make_var,
}
for _core in ("numpy.core", "numpy._core"):
    ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _make_array
    ALLOWED[f"{_core}.multiarray", "scalar"] = _make_scalar
    ALLOWED[f"{_core}.numeric", "_frombuffer"] = _make_array_at_once


class _StorageType:
    """A storage class of PyTorch, as a name that stands in a persistent id."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


class _Unpickler(pickle.Unpickler):
    """Unpickler that knows the names of ALLOWED and no other."""

    def __init__(self, stream: BinaryIO, get_storage: Callable[[tuple[Any, ...]], Any]) -> None:
        # latin1 reads every text that Python 2 wrote, and its bytes too.
        super().__init__(stream, encoding="latin1")
        self.get_storage = get_storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if module in ("torch", "torch.cuda") and name in STORAGES:
            return _StorageType(STORAGES[name])
        raise _Fault(
            f"this one asks for {module}.{name}, which could run code; "
            "save the weights alone (a state_dict), or as safetensors"
        )

    def persistent_load(self, saved_id: Any) -> Any:
        if not isinstance(saved_id, tuple) or len(saved_id) < 5 or saved_id[0] != "storage":
            raise _Fault(f"an unknown reference {saved_id!r}")
        if not isinstance(saved_id[1], _StorageType) or type(saved_id[4]) is not int:
            raise _Fault("a storage of unknown type")
        return self.get_storage(saved_id)


def _no_storage(saved_id: tuple[Any, ...]) -> Any:
    raise _Fault("a storage outside a PyTorch file")


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise _Fault("this zip holds no data.pkl")
        folder = names[0].removesuffix("data.pkl")
        order = folder + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise _Fault("this one was written on a big-endian machine")
        storages: dict[str, _Storage] = {}

        def get_storage(saved_id: tuple[Any, ...]) -> _Storage:
            key = str(saved_id[2])
            if key not in storages:
                storage = _Storage(saved_id[1].dtype, saved_id[4])
                entry = archive.getinfo(f"{folder}data/{key}")
                if entry.file_size != storage.size:
                    raise _Fault(f"storage {key} has {entry.file_size} bytes of {storage.size}")
                storage.fill(archive.read(entry))
                storages[key] = storage
            return storages[key]

        return _plain(_Unpickler(io.BytesIO(archive.read(names[0])), get_storage).load())


def _is_legacy(stream: io.BytesIO) -> bool:
    # Only the first, tiny pickle: it is an int in a legacy file.
    head = stream.getvalue()[:64]
    try:
        magic = _Unpickler(io.BytesIO(head), _no_storage).load()
    except Exception:
        return False
    return type(magic) is int and magic == LEGACY_MAGIC


def _read_legacy(stream: io.BytesIO) -> Any:
    def load_one(get_storage: Callable[[tuple[Any, ...]], Any] = _no_storage) -> Any:
        return _Unpickler(stream, get_storage).load()

    load_one()  # the magic number
    if load_one() != LEGACY_VERSION:
        raise _Fault("a PyTorch file of unknown version")
    if not load_one().get("little_endian", True):
        raise _Fault("this one was written on a big-endian machine")
    storages: dict[str, _Storage] = {}
    views: list[tuple[_Storage, _Storage, int]] = []

    def get_storage(saved_id: tuple[Any, ...]) -> _Storage:
        kind, key, _, count = saved_id[1:5]
        base = storages.setdefault(str(key), _Storage(kind.dtype, count))
        if len(saved_id) < 6 or saved_id[5] is None:
            return base
        _, offset, length = saved_id[5]
        if offset < 0 or length < 0 or offset + length > base.count:
            raise _Fault("a view that reaches beyond its storage")
        view = _Storage(kind.dtype, length)
        views.append((view, base, offset))
        return view

    tree = load_one(get_storage)
    for key in load_one():
        storage = storages.get(str(key))
        if storage is None:
            raise _Fault(f"numbers of an unknown storage {key}")
        count = int.from_bytes(stream.read(8), "little", signed=True)
        if count != storage.count:
            raise _Fault(f"storage {key} has {count} numbers of {storage.count}")
        storage.fill(stream.read(storage.size))
    for view, base, offset in views:
        if base.values is not None:
            view.values = base.values[offset : offset + view.count]
    return _plain(tree)


def _check_digest(content: bytes) -> bytes:
    body, digest = content[:-28], content[-28:-8]
    if hashlib.sha1(body).digest() != digest:
        raise _Fault("its checksum does not match; fetch it again")
    return body


def _plain(value: Any, depth: int = 0) -> Any:
    """The same tree with arrays for tensors and plain dictionaries."""
    if depth > min(100, sys.getrecursionlimit() // 4):
        raise _Fault("containers nested more than 100 deep")
    if isinstance(value, (_Tensor, _Array)):
        return value.array()
    if isinstance(value, _Parameter):
        return _plain(value.data, depth + 1)
    if isinstance(value, dict):
        return {_plain_key(key): _plain(item, depth + 1) for key, item in dict.items(value)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, depth + 1) for item in value]
    if value is None or isinstance(value, (bool, int, float, str, bytes, np.generic)):
        return value
    raise _Fault(f"it holds a {type(value).__name__.strip('_')}")


def _plain_key(key: Any) -> str | int:
    if isinstance(key, (str, int)):
        return key
    raise _Fault(f"a name that is a {type(key).__name__.strip('_')}")
