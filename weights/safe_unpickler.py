"""Unpickler that runs no code of the file: it knows the instructions that files of weights use.

A pickle is a program for a small machine: `pickle.load` runs any function that the program names.
`SafeUnpickler` refuses every instruction outside INSTRUCTIONS and every name outside
`pickle_values.ALLOWED`.

It subclasses `pickle._Unpickler`, CPython's unpickler in Python, because the public
`pickle.Unpickler` lets a subclass choose names but not instructions. The class is private: it may
change with any version of Python. Used of it are the table `dispatch` (code of an instruction ->
method), which `load` looks up on the instance; `find_class` and `persistent_load`, which methods
call on the instance; and `stack`, `append`, `read` and `pop_mark`. An instruction that a version
adds is refused, as is one that a version no longer has. tests/weights/test_cpython_unpickler.py
fails when a version changes the rest.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from weights.pickle_values import (
    ALLOWED,
    Array,
    Dtype,
    Fault,
    Parameter,
    StorageType,
    find_value,
    plain_key,
    shown,
    type_name,
)

# The instructions that writers of such files emit, in protocols 2 to 5. Left out are INST, OBJ and
# NEWOBJ_EX, which call what they name; EXT, which takes names from a registry; PERSID; sets, whose
# members are hashed; buffers from outside the file; and the text forms of protocol 0.
_INSTRUCTIONS = (
    "PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 "
    "BINFLOAT SHORT_BINSTRING BINSTRING SHORT_BINBYTES BINBYTES BINBYTES8 SHORT_BINUNICODE "
    "BINUNICODE BINUNICODE8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS "
    "EMPTY_DICT SETITEM SETITEMS BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL "
    "REDUCE BUILD NEWOBJ BINPERSID BYTEARRAY8"
)
INSTRUCTIONS = frozenset(_INSTRUCTIONS.split())

GetStorage = Callable[[tuple[Any, ...]], Any]

_PythonUnpickler: Any = pickle._Unpickler  # private: see the module's docstring


def no_storage(saved_id: tuple[Any, ...]) -> Any:
    """Refuse a storage, in a file that has none."""
    raise Fault("a storage outside a PyTorch file")


class SafeUnpickler(_PythonUnpickler):
    """Unpickler that knows INSTRUCTIONS and the names of ALLOWED, and no other.

    get_storage: returns the storage of a reference. get_tensor: if given, references are to whole
    tensors, as in the pickle of a tar.
    """

    def __init__(
        self,
        stream: BinaryIO,
        get_storage: GetStorage = no_storage,
        get_tensor: Callable[[Any], Any] | None = None,
    ) -> None:
        # latin1 reads every text that Python 2 wrote, and its bytes too.
        super().__init__(stream, encoding="latin1")
        self.get_storage = get_storage
        self.get_tensor = get_tensor

    def find_class(self, module: str, name: str) -> Any:
        return find_value(module, name)

    def persistent_load(self, saved_id: Any) -> Any:
        if self.get_tensor is not None:
            return self.get_tensor(saved_id)
        if not isinstance(saved_id, tuple) or len(saved_id) < 5 or saved_id[0] != "storage":
            raise Fault(f"an unknown reference {shown(saved_id)}")
        if not isinstance(saved_id[1], StorageType) or type(saved_id[4]) is not int:
            raise Fault("a storage of unknown dtype")
        if type(saved_id[2]) not in (str, int):
            raise Fault("a storage whose name is no text")
        return self.get_storage(saved_id)

    def byte_array(self) -> None:
        """Execute BYTEARRAY8, without reserving more memory than the file has bytes."""
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(min(length, sys.maxsize)))

    def call(self) -> None:
        """Execute REDUCE or NEWOBJ: function and arguments are on the stack."""
        arguments = self.stack.pop()
        function = self.stack.pop()
        if not any(function is known for known in ALLOWED.values()):
            raise Fault(f"a call of {type_name(function)}, which could run code")
        if type(arguments) is not tuple:
            raise Fault("a call without arguments")
        self.append(function(*arguments))

    def build(self) -> None:
        """Execute BUILD: an object and its state are on the stack."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, (Parameter, Dtype, Array)):
            target.set_state(state)
        elif type(target) is not dict:  # the state of an OrderedDict holds versions of layers
            raise Fault(f"a new state for {type_name(target)}, which could run code")

    def set_items(self) -> None:
        """Execute SETITEMS: a dictionary, and above the mark its names and values in turn."""
        items = self.pop_mark()
        self._fill(items)

    def set_item(self) -> None:
        """Execute SETITEM: a dictionary, one name and one value."""
        value = self.stack.pop()
        key = self.stack.pop()
        self._fill([key, value])

    def _fill(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise Fault(f"entries of a dictionary for {type_name(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # The hash of a tuple in a million tuples would end the process.
            target[plain_key(key)] = value

    def append_items(self) -> None:
        """Execute APPENDS: a list, and above the mark its new entries."""
        items = self.pop_mark()
        self._extend(items)

    def append_item(self) -> None:
        """Execute APPEND: a list, and its new entry."""
        item = self.stack.pop()
        self._extend([item])

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise Fault(f"entries of a list for {type_name(target)}")
        target.extend(items)


def _refuse(name: str) -> Callable[[SafeUnpickler], None]:
    def refuse(unpickler: SafeUnpickler) -> None:
        raise Fault(f"the pickle instruction {name}, which no file of weights needs")

    return refuse


def _make_dispatch() -> dict[int, Callable[..., Any]]:
    """Return code of an instruction -> method; every unknown code is refused."""
    names = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
    known = {
        code: method
        for code, method in _PythonUnpickler.dispatch.items()
        if names.get(code) in INSTRUCTIONS
    }
    own = {
        "REDUCE": SafeUnpickler.call,
        "NEWOBJ": SafeUnpickler.call,
        "BUILD": SafeUnpickler.build,
        "SETITEM": SafeUnpickler.set_item,
        "SETITEMS": SafeUnpickler.set_items,
        "APPEND": SafeUnpickler.append_item,
        "APPENDS": SafeUnpickler.append_items,
        "BYTEARRAY8": SafeUnpickler.byte_array,
    }
    known |= {code: own[name] for code, name in names.items() if name in own}
    return {code: _refuse(names.get(code, f"{code:#x}")) for code in range(256)} | known


SafeUnpickler.dispatch = _make_dispatch()
