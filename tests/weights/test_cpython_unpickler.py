"""CPython's private unpickler still has the parts that weights.safe_unpickler relies on.

These tests import the project late: if the class is gone, they say so instead of failing to load.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import sys
from typing import Any

import pytest

CHANGED = (
    f"pickle._Unpickler of Python {sys.version_info.major}.{sys.version_info.minor} differs from "
    "what weights/safe_unpickler.py relies on: {}"
)
CODES = {opcode.name: ord(opcode.code) for opcode in pickletools.opcodes}


def python_unpickler() -> Any:
    found = getattr(pickle, "_Unpickler", None)
    assert isinstance(found, type), CHANGED.format("the class is gone")
    dispatch = vars(found).get("dispatch")
    assert isinstance(dispatch, dict), CHANGED.format("it has no table `dispatch`")
    return found


def load(unpickler: type, code: bytes) -> Any:
    try:
        return unpickler(io.BytesIO(b"\x80\x04" + code)).load()
    except AttributeError as error:
        pytest.fail(CHANGED.format(error))


def test_it_has_every_instruction() -> None:
    dispatch = python_unpickler().dispatch
    from weights.safe_unpickler import INSTRUCTIONS

    unknown = sorted(INSTRUCTIONS - set(CODES))
    assert not unknown, CHANGED.format(f"pickletools does not know {unknown}")
    missing = sorted(name for name in INSTRUCTIONS if not callable(dispatch.get(CODES[name])))
    assert not missing, CHANGED.format(f"`dispatch` has no method of {missing}")


def test_a_table_in_a_subclass_decides() -> None:
    class Refused(Exception):
        pass

    def refuse(unpickler: Any) -> None:
        raise Refused

    base = python_unpickler()
    for name in ("NONE", "GLOBAL", "REDUCE", "BINUNICODE"):
        table = {**base.dispatch, CODES[name]: refuse}
        subclass = type("Subclass", (base,), {"dispatch": table})
        code = {
            "NONE": b"N.",
            "GLOBAL": b"cbuiltins\nint\n.",
            "REDUCE": b"cbuiltins\nint\n)R.",
            "BINUNICODE": b"X\x01\x00\x00\x00a.",
        }[name]
        try:
            load(subclass, code)
        except Refused:
            continue
        pytest.fail(CHANGED.format(f"`load` does not look {name} up in the subclass's `dispatch`"))


def test_names_and_references_go_through_the_methods_of_a_subclass() -> None:
    class Subclass(python_unpickler()):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            return f"found {module}.{name}"

        def persistent_load(self, saved_id: Any) -> Any:
            return f"loaded {saved_id}"

    for code, expected in (
        (b"cos\nsystem\n.", "found os.system"),
        (b"\x8c\x02os\x8c\x06system\x93.", "found os.system"),
        (b"K\x07Q.", "loaded 7"),
    ):
        found = load(Subclass, code)
        assert found == expected, CHANGED.format(f"{code!r} gives {found!r}")


def test_the_stack_and_the_stream_that_methods_use() -> None:
    seen: dict[str, Any] = {}

    def probe(unpickler: Any) -> None:
        seen["read"] = unpickler.read(3)
        seen["above the mark"] = unpickler.pop_mark()
        seen["stack"] = list(unpickler.stack)
        unpickler.stack.pop()
        unpickler.append("appended")

    base = python_unpickler()
    subclass = type("Subclass", (base,), {"dispatch": {**base.dispatch, CODES["NONE"]: probe}})
    seen["result"] = load(subclass, b"K\x01(K\x02K\x03Nabc.")
    expected = {"read": b"abc", "above the mark": [2, 3], "stack": [1], "result": "appended"}
    assert seen == expected, CHANGED.format(seen)
