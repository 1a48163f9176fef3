"""Pickles that would run code, or that no writer of weights makes, are refused and not run."""

from __future__ import annotations

import copyreg
import hashlib
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from options.errors import UserError
from weights.pickle_values import ALLOWED
from weights.safe_pickle import LEGACY_MAGIC, read_pickle

LEGACY_HEAD = b"".join(pickle.dumps(v, 2) for v in (LEGACY_MAGIC, 1001, {"little_endian": True}))


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def write_zip(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)


@pytest.mark.parametrize("form", ["plain", "jittor", "zip", "legacy"])
def test_code_is_not_run(tmp_path: Path, form: str) -> None:
    victim = tmp_path / "made by the attack"
    content = pickle.dumps({"weight": Attack(victim)})
    path = tmp_path / "attack.pth"
    if form == "zip":
        write_zip(path, content)
    elif form == "jittor":
        path.write_bytes(content + hashlib.sha1(content).digest() + b"HCAJSLHD")
    else:
        path.write_bytes(LEGACY_HEAD * (form == "legacy") + content)
    with pytest.raises(UserError, match=rf"{os.mkdir.__module__}\.mkdir, which could run code"):
        read_pickle(path)
    assert not victim.exists()
    pickle.loads(pickle.dumps(Attack(victim)))
    assert victim.exists()  # the attack works on pickle.loads


@pytest.mark.parametrize(
    "code",
    [b"cbuiltins\neval\n(V1\ntR.", b"cos\nsystem\n(Vtrue\ntR.", b"\x80\x02cposix\nsystem\n."],
)
def test_raw_instructions_are_refused(tmp_path: Path, code: bytes) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(code if code.startswith(b"\x80") else b"\x80\x02" + code)
    with pytest.raises(UserError, match="could run code"):
        read_pickle(path)


PROTOCOL = b"\x80\x02"
# Names as both instructions give them: GLOBAL reads lines, STACK_GLOBAL takes texts off the stack.
SYSTEM = b"cos\nsystem\n"
SYSTEM_OFF_STACK = b"\x8c\x05posix\x8c\x06system\x93"
TRUE = b"X\x04\x00\x00\x00true\x85"  # the tuple ("true",)
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
PARAMETER = b"ctorch._utils\n_rebuild_parameter\n"
ORDERED = b"ccollections\nOrderedDict\n"
ATTACKS = {
    "global": (SYSTEM + TRUE + b"R.", r"os\.system, which could run code"),
    "stack global": (SYSTEM_OFF_STACK + TRUE + b"R.", r"posix\.system, which could run code"),
    "eval": (b"cbuiltins\neval\n" + TRUE + b"R.", r"builtins\.eval"),
    "python 2's names": (b"c__builtin__\neval\n" + TRUE + b"R.", r"__builtin__\.eval"),
    "nested": (REBUILD + SYSTEM + TRUE + b"R\x85R.", r"os\.system"),
    "in a parameter": (PARAMETER + SYSTEM + b"\x85R.", r"os\.system"),
    "attribute of a known name": (
        b"\x8c\x0ctorch._utils\x8c\x1e_rebuild_tensor_v2.__globals__\x93.",
        r"_rebuild_tensor_v2\.__globals__",
    ),
    "getattr": (b"cbuiltins\ngetattr\n.", r"builtins\.getattr"),
    "torch's own loader": (b"ctorch\nload\n" + TRUE + b"R.", r"torch\.load"),
    "torch's hub": (b"ctorch.hub\nload\n.", r"torch\.hub\.load"),
    "a line's end in a name": (b"\x8c\x03o\ns\x8c\x06system\x93.", r"for o\\ns\.system"),
    "inst": (b"(X\x04\x00\x00\x00trueios\nsystem\n.", "instruction INST"),
    "obj": (b"(" + ORDERED + TRUE + b"o.", "instruction OBJ"),
    "newobj with keywords": (ORDERED + b")}\x92.", "instruction NEWOBJ_EX"),
    "newobj of a number": (b"K\x01)\x81.", "a call of type int, which could run code"),
    "call of a call's result": (ORDERED + b")R)R.", "a call of type dict, which could run code"),
    "call of a tensor's dtype": (b"ctorch\nFloatStorage\n)R.", "a call of type StorageType"),
    "extension 1": (b"\x82\x01.", "instruction EXT1"),
    "extension 4": (b"\x84\x01\x00\x00\x00.", "instruction EXT4"),
    "text reference": (b"Pstorage\n.", "instruction PERSID"),
    "reference to a text": (TRUE + b"Q.", "unknown reference"),
    "reference of a function": (
        b"(X\x07\x00\x00\x00storage" + ORDERED + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.",
        "a storage of unknown dtype",
    ),
    "build on a function": (REBUILD + b"}b.", "a new state for type function"),
    "build of slots": (
        REBUILD + b"N}X\x08\x00\x00\x00__code__K\x01s\x86b.",
        "a new state for type function, which could run code",
    ),
    "build on a class": (b"cnumpy\nndarray\n}b.", "a new state for type type"),
    "dtype of objects": (b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R.", "an array of dtype O8"),
    "array of a number": (
        b"cnumpy.core.numeric\n_frombuffer\n(\x8a\x06\x00\x00\x00\x00\x00\x10cnumpy\ndtype\n"
        b"X\x02\x00\x00\x00u1\x85RK\x01\x85X\x01\x00\x00\x00CtR.",
        "an array without its numbers",
    ),
    "set": (b"\x8f.", "instruction EMPTY_SET"),
    "key that is hashed": (b"}" + b")" + b"\x85" * 200_000 + b"K\x01s.", "a name of type tuple"),
    "pairs with such a key": (ORDERED + b"])K\x01\x86a\x85R.", "a name of type tuple"),
    "filling a function": (REBUILD + b"K\x01K\x02s.", "entries of a dictionary for type function"),
    "appending to a class": (b"cnumpy\nndarray\nK\x01a.", "entries of a list for type type"),
    "text opcodes": (b"S'x'\n.", "instruction STRING"),
    "bytes that are not there": (b"\x96" + b"\xff" * 6 + b"\x00\x00.", "damaged|cut short"),
    "memo that is not there": (b"h\x07.", "damaged"),
    "empty stack": (b"R.", "damaged"),
    "cut short": (b"}X\xff\x00\x00\x00ab", "damaged|cut short"),
}


@pytest.mark.parametrize("form", ["plain", "zip", "legacy"])
def test_instructions_that_no_file_of_weights_needs(tmp_path: Path, form: str) -> None:
    for name, (code, expected) in ATTACKS.items():
        path = tmp_path / f"{name}.pth"
        content = b"\x80\x04" + code
        if form == "zip":
            write_zip(path, content)
        else:
            path.write_bytes(LEGACY_HEAD * (form == "legacy") + content)
        with pytest.raises(UserError, match=expected) as error:
            read_pickle(path)
        assert "\n" not in str(error.value) and len(str(error.value)) < 600, name
        assert str(path) in str(error.value), name


def test_a_strangers_words_stay_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(LEGACY_HEAD + pickle.dumps({}, 2) + pickle.dumps(["no\nstorage"], 2))
    with pytest.raises(UserError, match=r"unknown storage no\\nstorage"):
        read_pickle(path)


def test_the_registry_of_extensions_is_not_used(tmp_path: Path) -> None:
    copyreg.add_extension("os", "system", 1)
    try:
        path = tmp_path / "a.pkl"
        path.write_bytes(PROTOCOL + b"\x82\x01" + TRUE + b"R.")
        with pytest.raises(UserError, match="instruction EXT1"):
            read_pickle(path)
    finally:
        copyreg.remove_extension("os", "system", 1)


def test_one_file_changes_nothing_for_the_next(tmp_path: Path) -> None:
    before = {name: vars(item).copy() for name, item in ALLOWED.items() if vars(item)}
    for code, _ in ATTACKS.values():
        path = tmp_path / "a.pkl"
        path.write_bytes(PROTOCOL + code)
        with pytest.raises(UserError):
            read_pickle(path)
    after = {name: vars(item).copy() for name, item in ALLOWED.items() if vars(item)}
    assert before == after
