"""Weights out of pickle files, without running what a pickle may hold.

    arrays = read_pickle("vgg19-dcbb9e9d.pth")      # {"features.0.weight": ndarray, ...}

A pickle is a program: `pickle.load` runs whatever its author wrote. Here a pickle may build plain
containers, numbers, text, NumPy arrays, PyTorch tensors and Jittor variables, and nothing else: any
other name in it is refused, and so is every instruction that such files have no use for. What is
made of a file stays within a few times the file's own size. Understood are PyTorch's files (zip,
the form before it, and the tar before that) and Jittor's (`jt.save`). Everything comes back as
NumPy arrays.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import pickle
import pickletools
import re
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from options.errors import UserError, list_names
from options.paths import open_file
from training.file_kind import weights_kind
from training.short_floats import BFLOAT16, FLOAT8, ByteOrder, item_size, read_short_floats

JITTOR_MARK = b"HCAJSLHD"  # ends a file of jt.save, after 20 bytes of SHA-1
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # opens a PyTorch file older than 1.6
LEGACY_VERSION = 1001

# Numbers that the arrays of a file may hold together, as a multiple of the file's bytes, and how
# many entries its containers may have: tensors may share a storage, and lists may share a list.
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


# PyTorch's own names of kinds of numbers, which tensors of the newer kinds bring with them.
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
BYTES = "|u1"  # a storage without a kind


def read_pickle(path: str | Path) -> Any:
    """Read a PyTorch or Jittor file of weights; tensors come back as NumPy arrays.

    Raises UserError if the file is missing, cut short, or holds anything but weights.
    """
    path = Path(path)
    kind = weights_kind(path)
    try:
        if kind == "safetensors":
            raise _Fault("this is a safetensors file; name it .safetensors")
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if kind == "zip":
                return _read_zip(file, size)
            if kind == "tar":
                return _read_tar(file, size)
            content = file.read()
        if content.endswith(JITTOR_MARK):
            content = _check_digest(content)
        stream = io.BytesIO(content)
        try:
            if _is_legacy(stream):
                return _read_legacy(stream)
            return _Plain(size).convert(_Unpickler(stream, _no_storage).load())
        except Exception as error:
            # The pickle wanted more than there is: no STOP has come.
            if stream.tell() >= size and not isinstance(error, _Fault):
                raise _Cut(f"{size} bytes are there, and its pickle does not end") from None
            raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except _Cut as cut:
        raise UserError(f"{path}: cut short: {cut}. Fetch it again") from None
    except _Fault as fault:
        raise UserError(
            f"{path}: a file of weights holds tensors alone: {_shown(fault, 400)}"
        ) from None
    except Exception as error:  # a damaged pickle can raise nearly any exception
        raise UserError(
            f"{path}: damaged or no file of weights ({type(error).__name__}: {_shown(error)}); "
            "fetch it again"
        ) from None


class _Fault(Exception):
    """What is wrong with the file, for the UserError."""


class _Cut(_Fault):
    """How much of the file is there."""


def _shown(value: Any, longest: int = 200) -> str:
    """A stranger's value as a short piece of one line."""
    text = str(value)[:longest]
    return text if text.isprintable() else text.encode("unicode_escape").decode()


class _Storage:
    """A run of numbers that tensors look into; an older file delivers the numbers last.

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
        if len(content) != self.size:
            raise _Fault(f"a storage has {len(content)} bytes of {self.size}; it was cut short")
        self.content = content

    def numbers(self, dtype: str) -> np.ndarray:
        """All of it as numbers of a kind; bytes that do not fill one are left out."""
        if self.content is None:
            raise _Fault("a tensor whose numbers are missing; the file was cut short")
        if self._read is None or self._read[0] != dtype:
            self._read = dtype, self._decode(self.content, dtype)
        return self._read[1]

    def _decode(self, content: bytes, dtype: str) -> np.ndarray:
        whole = len(content) // _item_size(dtype) * _item_size(dtype)
        flat = np.frombuffer(content, np.uint8, whole)
        if dtype == BFLOAT16 or dtype in FLOAT8:
            return read_short_floats(flat, dtype, self.byte_order)
        kind = np.dtype(dtype)
        # As this machine has them, whatever the file's order.
        return flat.view(kind.newbyteorder(self.byte_order)).astype(kind, copy=False)


def _item_size(dtype: str) -> int:
    """Bytes of a number in the file."""
    if dtype == BFLOAT16 or dtype in FLOAT8:
        return item_size(dtype)
    return np.dtype(dtype).itemsize


class _Tensor:
    """A view of a storage: offset, sizes and strides count elements, of `dtype` if it is given."""

    def __init__(
        self, storage: Any, offset: int, size: Any, stride: Any, dtype: str | None = None
    ) -> None:
        if not isinstance(storage, _Storage):
            raise _Fault("a tensor without its storage")
        self.dtype = dtype or storage.dtype
        count = storage.size // _item_size(self.dtype)
        numbers = (offset, *size, *stride)
        fits = all(type(n) is int and 0 <= n < 2**62 for n in numbers)
        if not fits or len(size) != len(stride):
            raise _Fault(f"a tensor of size {_shown(size)} and stride {_shown(stride)}")
        # as_strided below reads wherever it is told to: stay inside the storage.
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if 0 not in size and last >= count:
            raise _Fault("a tensor that reaches beyond its storage")
        # A stride of 0 repeats what is there, without end.
        if math.prod(size) > count:
            raise _Fault(f"a tensor of size {_shown(size)} on a storage of {count} numbers")
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    @property
    def size_in_bytes(self) -> int:
        return math.prod(self.size) * _item_size(self.dtype)

    def array(self) -> np.ndarray:
        values = self.storage.numbers(self.dtype)
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

    def set_state(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 5:
            self.data = state[0]


class _Dtype:
    """numpy.dtype of a plain number."""

    def __init__(self, code: Any, *rest: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?[biuf]\d\d?", code):
            raise _Fault(f"an array of {_shown(code)}")
        self.dtype = np.dtype(code)

    def set_state(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """numpy.ndarray: made empty, then filled by its state."""

    value: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        _, shape, dtype, column_major, content = state
        if not isinstance(dtype, _Dtype):
            raise _Fault("an array without its type")
        if isinstance(content, str):  # Python 2's bytes
            content = content.encode("latin1")
        if not isinstance(content, bytes):
            raise _Fault("an array without its numbers")
        flat = np.frombuffer(content, dtype.dtype)
        value = flat.reshape(shape, order="F" if column_major else "C")
        self.value = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")

    @property
    def size_in_bytes(self) -> int:
        return 0 if self.value is None else self.value.nbytes

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
    array.set_state((1, shape, dtype, order == "F", content))
    return array


def _make_scalar(dtype: Any, content: Any) -> Any:
    if not isinstance(dtype, _Dtype):
        raise _Fault("a number without its type")
    if isinstance(content, str):
        content = content.encode("latin1")
    return np.frombuffer(content, dtype.dtype)[0]


def _rebuild_tensor(storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> _Tensor:
    return _Tensor(storage, offset, size, stride)


def _rebuild_tensor_of(
    storage: Any, offset: int, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> _Tensor:
    """A tensor on a storage of plain bytes, as PyTorch writes kinds that came after 2.0."""
    if not isinstance(dtype, _StorageType):
        raise _Fault("a tensor of unknown type")
    return _Tensor(storage, offset, size, stride, dtype.dtype)


def _refuse_quantized(*arguments: Any) -> NoReturn:
    raise _Fault("a quantized tensor; save the weights as float32")


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
    return {_plain_key(key): value for key, value in pairs}


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _make_ordered,
    ("_codecs", "encode"): _encode,
    ("torch", "Size"): _make_size,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_of,
    ("torch._utils", "_rebuild_qtensor"): _refuse_quantized,
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
    """A storage class, tensor class or kind of number of PyTorch: a name that is never called."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


UNTYPED = {("torch.storage", "UntypedStorage"), ("torch", "UntypedStorage")}

# What the writers of such files emit, in protocols 2 to 5. Not among it: INST, OBJ and NEWOBJ_EX,
# which call what they name; EXT, which takes names from a registry; PERSID; sets, whose members are
# hashed; buffers from outside the file; and the text forms of protocol 0.
_INSTRUCTIONS = (
    "PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 "
    "BINFLOAT SHORT_BINSTRING BINSTRING SHORT_BINBYTES BINBYTES BINBYTES8 SHORT_BINUNICODE "
    "BINUNICODE BINUNICODE8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS "
    "EMPTY_DICT SETITEM SETITEMS BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL "
    "REDUCE BUILD NEWOBJ BINPERSID BYTEARRAY8"
)
INSTRUCTIONS = frozenset(_INSTRUCTIONS.split())

_PythonUnpickler: Any = pickle._Unpickler  # the one in Python: each instruction is a method


class _Unpickler(_PythonUnpickler):
    """Unpickler that knows INSTRUCTIONS and the names of ALLOWED, and no other."""

    def __init__(
        self,
        stream: BinaryIO,
        get_storage: Callable[[tuple[Any, ...]], Any],
        get_tensor: Callable[[Any], Any] | None = None,
    ) -> None:
        # latin1 reads every text that Python 2 wrote, and its bytes too.
        super().__init__(stream, encoding="latin1")
        self.get_storage = get_storage
        self.get_tensor = get_tensor  # a tar's pickle refers to whole tensors

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if module in ("torch", "torch.cuda"):
            # A tar names its tensors' classes: FloatTensor is a view of a FloatStorage.
            storage = name.removesuffix("Tensor") + "Storage" if name.endswith("Tensor") else name
            if storage in STORAGES:
                return _StorageType(STORAGES[storage])
            if name in DTYPES:
                return _StorageType(DTYPES[name])
        if (module, name) in UNTYPED:
            return _StorageType(BYTES)
        whole = module.startswith("torch.") and ".modules." in module
        raise _Fault(
            f"this one asks for {_shown(f'{module}.{name}')}, which could run code"
            f"{' (it is a whole model)' * whole}; "
            "save the weights alone (a state_dict), or as safetensors"
        )

    def persistent_load(self, saved_id: Any) -> Any:
        if self.get_tensor is not None:
            return self.get_tensor(saved_id)
        if not isinstance(saved_id, tuple) or len(saved_id) < 5 or saved_id[0] != "storage":
            raise _Fault(f"an unknown reference {_shown(saved_id)}")
        if not isinstance(saved_id[1], _StorageType) or type(saved_id[4]) is not int:
            raise _Fault("a storage of unknown type")
        if type(saved_id[2]) not in (str, int):
            raise _Fault("a storage whose name is no text")
        return self.get_storage(saved_id)

    def byte_array(self) -> None:
        """BYTEARRAY8, without reserving what the file does not hold."""
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(min(length, sys.maxsize)))

    def call(self) -> None:
        """REDUCE and NEWOBJ: function and arguments are on the stack."""
        arguments = self.stack.pop()
        function = self.stack.pop()
        if not any(function is known for known in ALLOWED.values()):
            raise _Fault(f"it calls a {type(function).__name__.strip('_')}, which could run code")
        if type(arguments) is not tuple:
            raise _Fault("a call without arguments")
        self.append(function(*arguments))

    def build(self) -> None:
        """BUILD: an object and its state are on the stack."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, (_Parameter, _Dtype, _Array)):
            target.set_state(state)
        elif type(target) is not dict:  # an OrderedDict's own state says versions of layers
            raise _Fault(f"it changes a {type(target).__name__.strip('_')}, which could run code")

    def set_items(self) -> None:
        """SETITEMS: a dictionary, and above the mark its names and values in turn."""
        items = self.pop_mark()
        self._fill(items)

    def set_item(self) -> None:
        """SETITEM: a dictionary, one name and one value."""
        value = self.stack.pop()
        key = self.stack.pop()
        self._fill([key, value])

    def _fill(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise _Fault(f"it fills a {type(target).__name__.strip('_')} as a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a tuple of a million tuples, one in the other, ends the process.
            target[_plain_key(key)] = value

    def append_items(self) -> None:
        """APPENDS: a list, and above the mark what it gets."""
        items = self.pop_mark()
        self._extend(items)

    def append_item(self) -> None:
        """APPEND: a list, and what it gets."""
        item = self.stack.pop()
        self._extend([item])

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise _Fault(f"it fills a {type(target).__name__.strip('_')} as a list")
        target.extend(items)


def _refuse(name: str) -> Callable[[_Unpickler], None]:
    def refuse(unpickler: _Unpickler) -> None:
        raise _Fault(f"the pickle instruction {name}, which could run code or belongs to none")

    return refuse


def _instructions() -> dict[int, Callable[..., Any]]:
    names = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
    known = {
        code: method
        for code, method in _PythonUnpickler.dispatch.items()
        if names.get(code) in INSTRUCTIONS
    }
    own = {
        "REDUCE": _Unpickler.call,
        "NEWOBJ": _Unpickler.call,
        "BUILD": _Unpickler.build,
        "SETITEM": _Unpickler.set_item,
        "SETITEMS": _Unpickler.set_items,
        "APPEND": _Unpickler.append_item,
        "APPENDS": _Unpickler.append_items,
        "BYTEARRAY8": _Unpickler.byte_array,
    }
    known |= {code: own[name] for code, name in names.items() if name in own}
    return {code: _refuse(names.get(code, f"{code:#x}")) for code in range(256)} | known


_Unpickler.dispatch = _instructions()


def _no_storage(saved_id: tuple[Any, ...]) -> Any:
    raise _Fault("a storage outside a PyTorch file")


def _read_zip(file: BinaryIO, size: int) -> Any:
    if not zipfile.is_zipfile(file):
        raise _Cut(_say_cut_zip(file, size))
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if any(name.endswith("/constants.pkl") for name in names):
            raise _Fault("this one is TorchScript, which holds code; save its state_dict()")
        if names and all(name.endswith(".npy") for name in names):
            raise _Fault("this one is NumPy's (npz); save the tensors as safetensors")
        if len(set(pickles)) != 1:
            shown = list_names(_shown(name, 60) for name in names)
            raise _Fault(f"this zip is none of PyTorch: it holds {shown}; unpack it")
        _check_entries(archive, size)
        folder = pickles[0].removesuffix("data.pkl")
        order: ByteOrder = "<"
        if folder + "byteorder" in names and archive.read(folder + "byteorder") == b"big":
            order = ">"
        storages: dict[str, _Storage] = {}

        def get_storage(saved_id: tuple[Any, ...]) -> _Storage:
            key = str(saved_id[2])
            if key not in storages:
                storage = _Storage(saved_id[1].dtype, saved_id[4], order)
                entry = archive.getinfo(f"{folder}data/{key}")
                if entry.file_size != storage.size:
                    raise _Fault(f"storage {key} has {entry.file_size} bytes of {storage.size}")
                storage.fill(archive.read(entry))
                storages[key] = storage
            return storages[key]

        tree = _Unpickler(io.BytesIO(archive.read(pickles[0])), get_storage).load()
        return _Plain(size).convert(tree)


def _say_cut_zip(file: BinaryIO, size: int) -> str:
    """How much of a zip is there whose directory, which stands at its end, is not.

    PyTorch's first entry is the pickle, and that tells how many numbers were to follow.
    """
    known: dict[str, int] = {}

    def get_storage(saved_id: tuple[Any, ...]) -> _Storage:
        storage = _Storage(saved_id[1].dtype, saved_id[4])
        known[str(saved_id[2])] = storage.size
        return storage

    file.seek(26)
    try:
        name, extra = struct.unpack("<HH", file.read(4))
        file.seek(30 + name + extra)
        _Unpickler(io.BytesIO(file.read()), get_storage).load()
    except Exception:  # no pickle, or not the whole of it
        known.clear()
    if sum(known.values()) > size:
        return f"{size} bytes are there, and its numbers alone have {sum(known.values())}"
    return f"{size} bytes are there, without the list of entries at its end"


def _check_entries(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse what would unpack to more than the file holds.

    PyTorch stores without compression, so nothing that it wrote is larger inside than outside.
    What an entry is called is free: entries are looked up by name, none becomes a file.
    """
    seen: set[str] = set()
    total = 0
    for entry in archive.infolist():
        name = entry.filename
        if name in seen:
            raise _Fault(f"this zip has two entries {name!r}")
        seen.add(name)
        if entry.compress_type != zipfile.ZIP_STORED:
            raise _Fault(f"the entry {name!r} is compressed, as PyTorch writes none")
        total += max(entry.file_size, entry.compress_size)
    if total > size:
        raise _Fault(f"the entries of this zip claim {total} bytes in a file of {size}")


def _read_tar(file: BinaryIO, size: int) -> Any:
    """PyTorch before 0.1.10: the numbers, the tensors on them, and a pickle that names tensors."""
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(tarfile.open(fileobj=file, mode="r:"))
            members = {member.name: member for member in archive.getmembers()}
        except tarfile.ReadError:
            raise _Cut(f"{size} bytes are there, and its list of entries does not end") from None
        if not {"storages", "tensors", "pickle"} <= set(members):
            shown = list_names(_shown(name, 60) for name in members)
            raise _Fault(f"this tar is none of PyTorch: it holds {shown}; unpack it")

        def read(name: str) -> io.BytesIO:
            member = members[name]
            if not member.isreg() or member.issparse():
                raise _Fault(f"the entry {name} is no plain file")
            if member.offset_data + member.size > size:
                raise _Cut(f"{size} of {member.offset_data + member.size} bytes are there")
            file.seek(member.offset_data)
            return io.BytesIO(file.read(member.size))

        storages = _read_tar_storages(read("storages"))
        tensors = _read_tar_tensors(read("tensors"), storages)

        def get_tensor(saved_id: Any) -> Any:
            found = tensors.get(str(saved_id)) if type(saved_id) in (str, int) else None
            if found is None:
                raise _Fault(f"an unknown reference {_shown(saved_id)}")
            return found

        tree = _Unpickler(read("pickle"), _no_storage, get_tensor).load()
        return _Plain(size).convert(tree)


def _read_tar_storages(stream: io.BytesIO) -> dict[str, _Storage]:
    def load() -> Any:
        return _Unpickler(stream, _no_storage).load()

    storages: dict[str, _Storage] = {}
    for _ in range(load()):
        key, _, kind = load()
        storage = _Storage(kind.dtype, int.from_bytes(stream.read(8), "little", signed=True))
        storage.fill(stream.read(max(0, storage.size)))
        storages[str(key)] = storage
    for key, base_key, offset, count in load():
        storages[str(key)] = _view(storages[str(base_key)], offset, count)
    return storages


def _read_tar_tensors(stream: io.BytesIO, storages: dict[str, _Storage]) -> dict[str, _Tensor]:
    tensors: dict[str, _Tensor] = {}
    for _ in range(_Unpickler(stream, _no_storage).load()):
        key, storage_key, _ = _Unpickler(stream, _no_storage).load()
        (dimensions,) = struct.unpack("<q", stream.read(8))
        if not 0 <= dimensions <= 32:
            raise _Fault(f"a tensor of {dimensions} dimensions")
        numbers = struct.unpack(f"<{2 * dimensions + 1}q", stream.read(16 * dimensions + 8))
        size, stride, offset = numbers[:dimensions], numbers[dimensions:-1], numbers[-1]
        tensors[str(key)] = _Tensor(storages[str(storage_key)], offset, size, stride)
    return tensors


def _view(base: _Storage, offset: Any, count: Any) -> _Storage:
    """A part of a storage, counted in its numbers."""
    if type(offset) is not int or type(count) is not int:
        raise _Fault("a view without its place")
    if offset < 0 or count < 0 or offset + count > base.count:
        raise _Fault("a view that reaches beyond its storage")
    view = _Storage(base.dtype, count)
    if base.content is not None:
        item = _item_size(base.dtype)
        view.content = base.content[offset * item : (offset + count) * item]
    return view


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
        view = _view(base, offset, length)
        views.append((view, base, offset))
        return view

    tree = load_one(get_storage)
    keys = load_one()
    needed = sum(8 + storages[str(key)].size for key in keys if str(key) in storages)
    here = len(stream.getvalue())
    if type(keys) is list and stream.tell() + needed > here:
        raise _Cut(f"{here} of {stream.tell() + needed} bytes are there")
    for key in keys:
        storage = storages.get(str(key))
        if storage is None:
            raise _Fault(f"numbers of an unknown storage {key}")
        count = int.from_bytes(stream.read(8), "little", signed=True)
        if count != storage.count:
            raise _Fault(f"storage {key} has {count} numbers of {storage.count}")
        storage.fill(stream.read(storage.size))
    for view, base, offset in views:
        view.content = _view(base, offset, view.count).content
    return _Plain(here).convert(tree)


def _check_digest(content: bytes) -> bytes:
    body, digest = content[:-28], content[-28:-8]
    if hashlib.sha1(body).digest() != digest:
        raise _Fault("its checksum does not match; fetch it again")
    return body


class _Plain:
    """Turns a tree into one of arrays and plain containers, within a budget.

    size: bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self.bytes = MOST_BYTES * size
        self.entries = MOST_ENTRIES

    def convert(self, value: Any, depth: int = 0) -> Any:
        self.entries -= 1
        if self.entries < 0:
            raise _Fault(f"containers of more than {MOST_ENTRIES} entries")
        if depth > MOST_DEPTH:
            raise _Fault(f"containers nested more than {MOST_DEPTH} deep")
        if isinstance(value, (_Tensor, _Array)):
            self.bytes -= value.size_in_bytes
            if self.bytes < 0:
                raise _Fault(f"tensors of more than {MOST_BYTES} times the file's bytes")
            return value.array()
        if isinstance(value, _Parameter):
            return self.convert(value.data, depth + 1)
        if isinstance(value, dict):
            return {_plain_key(k): self.convert(item, depth + 1) for k, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.convert(item, depth + 1) for item in value]
        if value is None or isinstance(value, (bool, int, float, str, bytes, np.generic)):
            return value
        raise _Fault(f"it holds a {type(value).__name__.strip('_')}")


def _plain_key(key: Any) -> str | int:
    if isinstance(key, (str, int)):
        return key
    raise _Fault(f"a name that is a {type(key).__name__.strip('_')}")
