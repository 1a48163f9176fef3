"""The values that a pickle of weights may build, and the names by which it may ask for them.

A file is a stranger's: every value checks its parts before it uses them, and `TreeConverter` limits
their number and their size. `Fault` describes what a file holds instead of tensors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np

from weights.short_floats import BFLOAT16, FLOAT8, ByteOrder, item_size, read_short_floats

# Limits of the contents of a file: bytes of its arrays, as a multiple of the bytes of the file, and
# entries and nesting of its containers. Tensors may share a storage, and lists may share a list, so
# that a small file could fill the memory.
MOST_BYTES = 8
MOST_ENTRIES = 1_000_000
MOST_DEPTH = 100

STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
# PyTorch's names of dtypes, which tensors of the newer dtypes carry.
DTYPES = {
    "float32": "<f4",
    "float64": "<f8",
    "float16": "<f2",
    "bfloat16": BFLOAT16,
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "|i1",
    "uint64": "<u8",
    "uint32": "<u4",
    "uint16": "<u2",
    "uint8": "|u1",
    "bool": "|b1",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
}
UNTYPED = {("torch.storage", "UntypedStorage"), ("torch", "UntypedStorage")}
BYTES = "|u1"  # the dtype of an untyped storage
STATE_DICT = "Save the weights alone (a state_dict), or as safetensors"


class Fault(Exception):
    """The contents of a file that are no tensors, as a noun phrase, and the fix."""

    def __init__(self, found: str, fix: str = "Download it again, or name another file") -> None:
        super().__init__(found)
        self.fix = fix


class CutShort(Fault):
    """The part of a file that is there, as a noun phrase."""


def shown(value: Any, longest: int = 200) -> str:
    """Return a stranger's value as a short text on one line."""
    text = str(value)[:longest]
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def type_name(value: Any) -> str:
    """Return the type of a value, for an error."""
    return f"type {type(value).__name__}"


class Storage:
    """A run of numbers that tensors view; older files deliver the numbers last.

    byte_order: of the numbers in the file, '<' or '>'.
    """

    def __init__(self, dtype: str, count: int, byte_order: ByteOrder = "<") -> None:
        self.dtype, self.count, self.byte_order = dtype, count, byte_order
        self.content: bytes | None = None
        self._read: tuple[str, np.ndarray] | None = None

    @property
    def size(self) -> int:
        """Bytes of the whole run."""
        return self.count * _item_size(self.dtype)

    def fill(self, content: bytes) -> None:
        """Set the numbers; Fault if their length is not the storage's."""
        if len(content) != self.size:
            raise Fault(f"a storage of {len(content)} bytes instead of {self.size}")
        self.content = content

    def numbers(self, dtype: str) -> np.ndarray:
        """Return the whole run as numbers of a dtype; bytes that fill no number are left out."""
        if self.content is None:
            raise Fault("a tensor whose numbers are missing")
        if self._read is None or self._read[0] != dtype:
            self._read = dtype, self._decode(self.content, dtype)
        return self._read[1]

    def view(self, offset: Any, count: Any) -> Storage:
        """Return a part of the run, counted in its numbers."""
        if type(offset) is not int or type(count) is not int:
            raise Fault("a view without its place")
        if offset < 0 or count < 0 or offset + count > self.count:
            raise Fault("a view that reaches beyond its storage")
        view = Storage(self.dtype, count)
        if self.content is not None:
            item = _item_size(self.dtype)
            view.content = self.content[offset * item : (offset + count) * item]
        return view

    def _decode(self, content: bytes, dtype: str) -> np.ndarray:
        complete = len(content) // _item_size(dtype) * _item_size(dtype)
        flat = np.frombuffer(content, np.uint8, complete)
        if dtype == BFLOAT16 or dtype in FLOAT8:
            return read_short_floats(flat, dtype, self.byte_order)
        kind = np.dtype(dtype)
        # In the order of this machine, whatever the order of the file.
        return flat.view(kind.newbyteorder(self.byte_order)).astype(kind, copy=False)


def _item_size(dtype: str) -> int:
    """Return the bytes per number in the file."""
    if dtype == BFLOAT16 or dtype in FLOAT8:
        return item_size(dtype)
    return np.dtype(dtype).itemsize


class Tensor:
    """A view of a storage; offset, sizes and strides count elements, of `dtype` if it is given."""

    def __init__(
        self, storage: Any, offset: int, size: Any, stride: Any, dtype: str | None = None
    ) -> None:
        if not isinstance(storage, Storage):
            raise Fault("a tensor without its storage")
        self.dtype = dtype or storage.dtype
        count = storage.size // _item_size(self.dtype)
        numbers = (offset, *size, *stride)
        fits = all(type(n) is int and 0 <= n < 2**62 for n in numbers)
        if not fits or len(size) != len(stride):
            raise Fault(f"a tensor of size {shown(size)} and stride {shown(stride)}")
        # as_strided below reads any address that it is given: stay inside the storage.
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if 0 not in size and last >= count:
            raise Fault("a tensor that reaches beyond its storage")
        # A stride of 0 repeats numbers without end.
        if math.prod(size) > count:
            raise Fault(f"a tensor of size {shown(size)} on a storage of {count} numbers")
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    @property
    def size_in_bytes(self) -> int:
        return math.prod(self.size) * _item_size(self.dtype)

    def array(self) -> np.ndarray:
        """Return a copy."""
        values = self.storage.numbers(self.dtype)
        if 0 in self.size:
            return np.zeros(self.size, values.dtype)
        steps = [step * values.itemsize for step in self.stride]
        view = np.lib.stride_tricks.as_strided(values[self.offset :], tuple(self.size), steps)
        return np.array(view, order="C")


class Parameter:
    """torch.nn.Parameter, in the three forms that PyTorch has written."""

    def __new__(cls, data: Any = None, *rest: Any) -> Parameter:
        self = super().__new__(cls)
        self.data = data
        return self

    def set_state(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 5:
            self.data = state[0]


class Dtype:
    """numpy.dtype of a plain number."""

    def __init__(self, code: Any, *rest: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?[biuf]\d\d?", code):
            raise Fault(f"an array of dtype {shown(code)}")
        self.dtype = np.dtype(code)

    def set_state(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class Array:
    """numpy.ndarray: made empty, then filled by its state."""

    value: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        _, shape, dtype, column_major, content = state
        if not isinstance(dtype, Dtype):
            raise Fault("an array without its dtype")
        if isinstance(content, str):  # Python 2's bytes
            content = content.encode("latin1")
        if not isinstance(content, bytes):
            raise Fault("an array without its numbers")
        flat = np.frombuffer(content, dtype.dtype)
        value = flat.reshape(shape, order="F" if column_major else "C")
        self.value = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")

    @property
    def size_in_bytes(self) -> int:
        return 0 if self.value is None else self.value.nbytes

    def array(self) -> np.ndarray:
        if self.value is None:
            raise Fault("an array without its numbers")
        return self.value


class NdarrayName:
    """numpy.ndarray as a name: only ever the first argument of `_reconstruct`."""


class StorageType:
    """A storage class, tensor class or dtype of PyTorch: a name that is never called."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


def _make_array(kind: Any, shape: Any, code: Any) -> Array:
    return Array()


def _make_array_at_once(content: Any, dtype: Any, shape: Any, order: Any) -> Array:
    """Make an array as protocol 5 does."""
    array = Array()
    array.set_state((1, shape, dtype, order == "F", content))
    return array


def _make_scalar(dtype: Any, content: Any) -> Any:
    if not isinstance(dtype, Dtype):
        raise Fault("a number without its dtype")
    if isinstance(content, str):
        content = content.encode("latin1")
    return np.frombuffer(content, dtype.dtype)[0]


def _rebuild_tensor(storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> Tensor:
    return Tensor(storage, offset, size, stride)


def _rebuild_tensor_of(
    storage: Any, offset: int, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Tensor:
    """Make a tensor on a storage of bytes, as PyTorch writes the dtypes added after 2.0."""
    if not isinstance(dtype, StorageType):
        raise Fault("a tensor of unknown dtype")
    return Tensor(storage, offset, size, stride, dtype.dtype)


def _refuse_quantized(*arguments: Any) -> NoReturn:
    raise Fault("a quantized tensor", "Save the weights as float32")


def _rebuild_parameter(data: Any, *rest: Any) -> Any:
    return data


def _make_var(data: Any, *rest: Any) -> Any:
    return data


def _encode(text: str, encoding: str) -> bytes:
    # Protocol 2 writes bytes as text: _codecs.encode(text, "latin1").
    return text.encode("latin1")


def _make_size(values: Any = ()) -> tuple[Any, ...]:
    return tuple(values)


def _make_ordered(pairs: Iterable[Any] = ()) -> dict[Any, Any]:
    return {plain_key(key): value for key, value in pairs}


# (module, name) -> the value that replaces it; a pickle may call these and no other.
ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _make_ordered,
    ("_codecs", "encode"): _encode,
    ("torch", "Size"): _make_size,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_of,
    ("torch._utils", "_rebuild_qtensor"): _refuse_quantized,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.nn.parameter", "Parameter"): Parameter,
    ("numpy", "dtype"): Dtype,
    ("numpy", "ndarray"): NdarrayName,
    ("jittor", "jittor_core.Var"): _make_var,
    ("jittor_core", "Var"): _make_var,
}
for _core in ("numpy.core", "numpy._core"):
    ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _make_array
    ALLOWED[f"{_core}.multiarray", "scalar"] = _make_scalar
    ALLOWED[f"{_core}.numeric", "_frombuffer"] = _make_array_at_once


def find_value(module: str, name: str) -> Any:
    """Return the value for a name in a pickle; Fault for every name that is not allowed."""
    if (module, name) in ALLOWED:
        return ALLOWED[module, name]
    if module in ("torch", "torch.cuda"):
        # A tar names the classes of its tensors: FloatTensor is a view of a FloatStorage.
        storage = name.removesuffix("Tensor") + "Storage" if name.endswith("Tensor") else name
        if storage in STORAGES:
            return StorageType(STORAGES[storage])
        if name in DTYPES:
            return StorageType(DTYPES[name])
    if (module, name) in UNTYPED:
        return StorageType(BYTES)
    whole = module.startswith("torch.") and ".modules." in module
    raise Fault(
        f"a request for {shown(f'{module}.{name}')}, which could run code"
        f"{' (the file holds a whole model)' * whole}",
        STATE_DICT,
    )


class TreeConverter:
    """Converts a tree of values into arrays and plain containers, within the limits of a file.

    size: bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self.bytes = MOST_BYTES * size
        self.entries = MOST_ENTRIES

    def convert(self, value: Any, depth: int = 0) -> Any:
        self.entries -= 1
        if self.entries < 0:
            raise Fault(f"containers of more than {MOST_ENTRIES} entries")
        if depth > MOST_DEPTH:
            raise Fault(f"containers nested more than {MOST_DEPTH} deep")
        if isinstance(value, (Tensor, Array)):
            self.bytes -= value.size_in_bytes
            if self.bytes < 0:
                raise Fault(f"tensors of more than {MOST_BYTES} times the file's bytes")
            return value.array()
        if isinstance(value, Parameter):
            return self.convert(value.data, depth + 1)
        if isinstance(value, dict):
            return {plain_key(k): self.convert(item, depth + 1) for k, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.convert(item, depth + 1) for item in value]
        if value is None or isinstance(value, (bool, int, float, str, bytes, np.generic)):
            return value
        raise Fault(f"a value of {type_name(value)}", STATE_DICT)


def plain_key(key: Any) -> str | int:
    """Return the key of a dictionary; Fault unless it is a text or an integer."""
    if isinstance(key, (str, int)):
        return key
    raise Fault(f"a name of {type_name(key)}")
