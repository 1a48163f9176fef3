"""Files of weights are read as PyTorch and Jittor write them, and never run.

files/*.pth were written by PyTorch 2.13 from the arrays in files/expected.npz, newer_kinds.pth with
those in newer_kinds.npz.
"""

from __future__ import annotations

import collections
import copy
import copyreg
import hashlib
import io
import os
import pickle
import struct
import sys
import tarfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from options.errors import UserError
from training import safe_pickle
from training.safe_pickle import LEGACY_MAGIC, read_pickle
from training.torch_file import write_torch

FILES = Path(__file__).parent / "files"


def save(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_torch_files_hold_the_expected_arrays(name: str) -> None:
    arrays = read_pickle(FILES / name)
    expected = np.load(FILES / "expected.npz")
    assert sorted(arrays) == sorted(expected.files)
    for key in expected.files:
        assert arrays[key].dtype == expected[key].dtype, key
        assert arrays[key].shape == expected[key].shape, key
        np.testing.assert_array_equal(arrays[key], expected[key], err_msg=key)


def test_a_whole_module_is_refused() -> None:
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.linear\.Linear, which could run"):
        read_pickle(FILES / "module.pth")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_arrays_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    arrays = {
        "float": np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3),
        "column major": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big endian": np.arange(3, dtype=">i4"),
        "scalar": np.float32(2.5),
        "list": [1, "two", None, (3.0, True)],
    }
    found = read_pickle(save(tmp_path / "a.pkl", arrays, protocol))
    for key in ("float", "column major", "big endian"):
        np.testing.assert_array_equal(found[key], arrays[key])
    assert found["scalar"] == np.float32(2.5)
    assert found["list"] == [1, "two", None, [3.0, True]]


def test_jittor_file_and_its_checksum(tmp_path: Path) -> None:
    import jittor as jt

    path = tmp_path / "a.pkl"
    values = {"weight": jt.array([[1.0, 2.0]]), "plain": np.arange(3)}
    jt.save(values, str(path))
    found = read_pickle(path)
    np.testing.assert_array_equal(found["weight"], [[1.0, 2.0]])
    np.testing.assert_array_equal(found["plain"], [0, 1, 2])
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="checksum does not match"):
        read_pickle(path)


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["plain", "jittor", "zip", "legacy"])
def test_code_is_not_run(tmp_path: Path, form: str) -> None:
    victim = tmp_path / "made by the attack"
    content = pickle.dumps({"weight": Attack(victim)})
    path = tmp_path / "attack.pth"
    if form == "jittor":
        content += hashlib.sha1(content).digest() + b"HCAJSLHD"
    elif form == "legacy":
        head = [LEGACY_MAGIC, 1001, {"little_endian": True}]
        content = b"".join(pickle.dumps(part, 2) for part in head) + content
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{os.mkdir.__module__}\.mkdir, which could run code"):
        read_pickle(path)
    assert not victim.exists()
    pickle.loads(pickle.dumps(Attack(victim)))
    assert victim.exists()  # so the attack is a real one


@pytest.mark.parametrize(
    "code",
    [b"cbuiltins\neval\n(V1\ntR.", b"cos\nsystem\n(Vtrue\ntR.", b"\x80\x02cposix\nsystem\n."],
)
def test_raw_opcodes_are_refused(tmp_path: Path, code: bytes) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(code if code.startswith(b"\x80") else b"\x80\x02" + code)
    with pytest.raises(UserError, match="could run code"):
        read_pickle(path)


def torch_pickle(tensor: tuple[Any, ...], count: int = 6) -> bytes:
    """A torch zip of one tensor made of (offset, size, stride) over `count` float32 numbers."""

    def rebuild(*arguments: Any) -> None: ...

    modules = {name: types.ModuleType(name) for name in ("torch", "torch._utils")}
    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    modules["torch._utils"]._rebuild_tensor_v2 = rebuild  # type: ignore[attr-defined]
    storage_type = type("FloatStorage", (), {"__module__": "torch"})
    modules["torch"].FloatStorage = storage_type  # type: ignore[attr-defined]

    class Storage: ...

    class Tensor:
        def __reduce__(self) -> Any:
            offset, size, stride = tensor
            return rebuild, (Storage(), offset, size, stride, False, collections.OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            if isinstance(value, Storage):
                return ("storage", storage_type, "0", "cpu", count)
            return None

    stream = io.BytesIO()
    saved = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        Pickler(stream, 2).dump({"weight": Tensor()})
    finally:
        for name, module in saved.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a/data.pkl", stream.getvalue())
        archive.writestr("a/data/0", np.arange(6, dtype="<f4").tobytes())
    return content.getvalue()


def test_strided_tensor(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(torch_pickle((0, (3, 2), (1, 3))))
    np.testing.assert_array_equal(read_pickle(path)["weight"], [[0, 3], [1, 4], [2, 5]])


@pytest.mark.parametrize(
    "tensor",
    [(1, (6,), (1,)), (0, (2, 2), (5, 1)), (0, (3,), (-1,)), (-2, (3,), (1,)), (0, (2,), ())],
)
def test_a_tensor_cannot_reach_outside_its_storage(tmp_path: Path, tensor: Any) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(torch_pickle(tensor))
    with pytest.raises(UserError, match="holds tensors alone"):
        read_pickle(path)


@pytest.mark.parametrize(
    ("size", "stride"),
    [((1 << 40,), (0,)), ((7,), (0,)), ((2, 6), (0, 1)), ((1 << 62, 0), (1, 1)), ((2**70,), (0,))],
)
def test_a_tensor_is_no_larger_than_its_storage(tmp_path: Path, size: Any, stride: Any) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(torch_pickle((0, size, stride)))
    with pytest.raises(UserError, match="a tensor of size"):
        read_pickle(path)


def test_a_storage_has_the_length_it_claims(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(torch_pickle((0, (2,), (1,)), count=7))
    with pytest.raises(UserError, match="storage 0 has 24 bytes of 28"):
        read_pickle(path)


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_file_cut_short_is_an_error(tmp_path: Path, name: str, share: float) -> None:
    content = (FILES / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=name):
        read_pickle(path)


def test_no_pickle_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "page.pth"
    path.write_text("<!DOCTYPE html>")
    with pytest.raises(UserError, match=r"expected a file of weights, got a web page \(HTML"):
        read_pickle(path)
    with pytest.raises(UserError, match="No such file"):
        read_pickle(tmp_path / "absent.pth")


def test_containers_nested_without_end(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(UserError, match="nested more than 100 deep"):
        read_pickle(save(tmp_path / "a.pkl", loop))


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
    "newobj of a number": (b"K\x01)\x81.", "calls a int"),
    "call of a call's result": (ORDERED + b")R)R.", "calls a dict"),
    "call of a tensor's kind": (b"ctorch\nFloatStorage\n)R.", "calls a StorageType"),
    "extension 1": (b"\x82\x01.", "instruction EXT1"),
    "extension 4": (b"\x84\x01\x00\x00\x00.", "instruction EXT4"),
    "text reference": (b"Pstorage\n.", "instruction PERSID"),
    "reference to a text": (TRUE + b"Q.", "unknown reference"),
    "reference of a function": (
        b"(X\x07\x00\x00\x00storage" + ORDERED + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.",
        "a storage of unknown type",
    ),
    "build on a function": (REBUILD + b"}b.", "changes a function"),
    "build of slots": (REBUILD + b"N}X\x08\x00\x00\x00__code__K\x01s\x86b.", "changes a function"),
    "build on a class": (b"cnumpy\nndarray\n}b.", "changes a type"),
    "dtype of objects": (b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R.", "an array of O8"),
    "array of a number": (
        b"cnumpy.core.numeric\n_frombuffer\n(\x8a\x06\x00\x00\x00\x00\x00\x10cnumpy\ndtype\n"
        b"X\x02\x00\x00\x00u1\x85RK\x01\x85X\x01\x00\x00\x00CtR.",
        "an array without its numbers",
    ),
    "set": (b"\x8f.", "instruction EMPTY_SET"),
    "key that is hashed": (b"}" + b")" + b"\x85" * 200_000 + b"K\x01s.", "a name that is a tuple"),
    "pairs with such a key": (ORDERED + b"])K\x01\x86a\x85R.", "a name that is a tuple"),
    "filling a function": (REBUILD + b"K\x01K\x02s.", "fills a function"),
    "appending to a class": (b"cnumpy\nndarray\nK\x01a.", "fills a type"),
    "text opcodes": (b"S'x'\n.", "instruction STRING"),
    "bytes that are not there": (b"\x96" + b"\xff" * 6 + b"\x00\x00.", "damaged|cut short"),
    "memo that is not there": (b"h\x07.", "damaged"),
    "nothing on the stack": (b"R.", "damaged"),
    "cut short": (b"}X\xff\x00\x00\x00ab", "damaged|cut short"),
}


@pytest.mark.parametrize("form", ["plain", "zip", "legacy"])
def test_instructions_that_weights_have_no_use_for(tmp_path: Path, form: str) -> None:
    for name, (code, expected) in ATTACKS.items():
        path = tmp_path / f"{name}.pth"
        content = b"\x80\x04" + code
        if form == "legacy":
            head = [LEGACY_MAGIC, 1001, {"little_endian": True}]
            content = b"".join(pickle.dumps(part, 2) for part in head) + content
        if form == "zip":
            write_zip(path, {"archive/data.pkl": content})
        else:
            path.write_bytes(content)
        with pytest.raises(UserError, match=expected) as error:
            read_pickle(path)
        assert "\n" not in str(error.value) and len(str(error.value)) < 600, name
        assert str(path) in str(error.value), name


def test_a_strangers_words_stay_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    head = [LEGACY_MAGIC, 1001, {"little_endian": True}, {}, ["no\nstorage"]]
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head))
    with pytest.raises(UserError, match=r"unknown storage no\\nstorage"):
        read_pickle(path)


def test_the_registry_of_extensions_is_not_asked(tmp_path: Path) -> None:
    copyreg.add_extension("os", "system", 1)
    try:
        path = tmp_path / "a.pkl"
        path.write_bytes(PROTOCOL + b"\x82\x01" + TRUE + b"R.")
        with pytest.raises(UserError, match="instruction EXT1"):
            read_pickle(path)
    finally:
        copyreg.remove_extension("os", "system", 1)


def test_one_file_leaves_nothing_behind_for_the_next(tmp_path: Path) -> None:
    before = {name: vars(item).copy() for name, item in safe_pickle.ALLOWED.items() if vars(item)}
    for code, _ in ATTACKS.values():
        path = tmp_path / "a.pkl"
        path.write_bytes(PROTOCOL + code)
        with pytest.raises(UserError):
            read_pickle(path)
    after = {name: vars(item).copy() for name, item in safe_pickle.ALLOWED.items() if vars(item)}
    assert before == after


def test_lists_that_double_without_end(tmp_path: Path) -> None:
    tree: list[Any] = []
    for _ in range(60):
        tree = [tree, tree]
    with pytest.raises(UserError, match="more than 1000000 entries"):
        read_pickle(save(tmp_path / "a.pkl", tree))


def test_one_array_a_thousand_times(tmp_path: Path) -> None:
    array = np.zeros(10_000, np.float32)
    with pytest.raises(UserError, match="more than 8 times the file's bytes"):
        read_pickle(save(tmp_path / "a.pkl", {str(index): array for index in range(1000)}))


def write_zip(path: Path, entries: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_a_zip_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    entries = {"a/data.pkl": PROTOCOL + b"}.", "a/data/0": bytes(50_000_000)}
    write_zip(path, entries, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match=r"entry 'a/data\.pkl' is compressed"):
        read_pickle(path)


def test_entries_that_lie_on_each_other(tmp_path: Path) -> None:
    # Two names in the directory for the same bytes: each more would give them again.
    path = write_zip(tmp_path / "a.pth", {"a/data.pkl": PROTOCOL + b"}.", "a/data/0": bytes(5000)})
    with zipfile.ZipFile(path, "a") as archive:
        entry = archive.getinfo("a/data/0")
        for index in range(1, 9):
            twin = copy.copy(entry)
            twin.filename = f"a/data/{index}"
            archive.filelist.append(twin)
        archive._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"entries of this zip claim \d+ bytes in a file of"):
        read_pickle(path)


@pytest.mark.parametrize(
    "name", ["../data/0", "/etc/passwd", "a/../../x", "a\\..\\x", "C:x", "a/data/../../../x"]
)
def test_names_that_lead_out_of_a_zip_lead_nowhere(tmp_path: Path, name: str) -> None:
    # Entries are looked up by name and never unpacked.
    folder = tmp_path / "folder"
    folder.mkdir()
    path = write_zip(folder / "a.pth", {"a/data.pkl": PROTOCOL + b"}.", name: b"x"})
    assert read_pickle(path) == {}
    assert list(tmp_path.iterdir()) == [folder] and list(folder.iterdir()) == [path]


def test_two_entries_of_one_name(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.pth", {"a/data.pkl": PROTOCOL + b"}."})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a/data.pkl", PROTOCOL + SYSTEM + TRUE + b"R.")
    with pytest.raises(UserError, match="two entries"):
        read_pickle(path)


def test_newer_kinds_of_numbers_in_a_folder_of_any_name() -> None:
    path = FILES / "newer_kinds.pth"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist()[0] == "models (1) x/data.pkl"
    arrays = read_pickle(path)
    expected = np.load(FILES / "newer_kinds.npz")
    assert sorted(arrays) == sorted(expected.files)
    for name in expected.files:
        assert arrays[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(arrays[name], expected[name], err_msg=name)


@pytest.mark.parametrize(
    "folder", ["", "a/", "a/b/c/", "D:/x/", "C:\\x y\\z/", " /", "\u98ce\u666f/", "..\\x/"]
)
def test_a_zips_folder_has_any_name(tmp_path: Path, folder: str) -> None:
    with zipfile.ZipFile(io.BytesIO(torch_pickle((0, (6,), (1,))))) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    renamed = {folder + name.removeprefix("a/"): content for name, content in entries.items()}
    path = write_zip(tmp_path / "a.pth", renamed)
    assert read_pickle(path)["weight"].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_big_endian_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(torch_pickle((0, (3, 2), (1, 3))))) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["a/data/0"] = np.arange(6, dtype=">f4").tobytes()
    path = write_zip(tmp_path / "a.pth", entries | {"a/byteorder": b"big"})
    np.testing.assert_array_equal(read_pickle(path)["weight"], [[0, 3], [1, 4], [2, 5]])
    assert read_pickle(path)["weight"].dtype == np.dtype("=f4")


def write_old_tar(path: Path, *, change: Callable[[dict[str, bytes]], object] = id) -> Path:
    """A file of PyTorch before 0.1.10: two tensors on one storage and one on a view of it.

    PyTorch 2.13 reads it (weights_only=False) as {"a": [[0, 1], [2, 3]], "b": [1, 3], "c": [2, 3]}.
    """
    storages = b"".join(
        [
            pickle.dumps(1, 2),
            b"\x80\x02(K\x07X\x03\x00\x00\x00cpuctorch\nFloatStorage\nt.",
            struct.pack("<q4f", 4, 0, 1, 2, 3),
            pickle.dumps([(8, 7, 2, 2)], 2),
        ]
    )
    tensors = pickle.dumps(3, 2)
    for key, storage, size, stride, offset in (
        (21, 7, (2, 2), (2, 1), 0),
        (22, 7, (2,), (2,), 1),
        (23, 8, (2,), (1,), 0),
    ):
        head = b"\x80\x02(K%cK%cctorch\nFloatTensor\nt." % (key, storage)
        numbers = (len(size), *size, *stride, offset)
        tensors += head + struct.pack(f"<{len(numbers)}q", *numbers)
    tree = b"\x80\x02}(" + b"".join(
        b"X\x01\x00\x00\x00%cX\x02\x00\x00\x00%dQ" % (name, key)
        for name, key in zip(b"abc", (21, 22, 23), strict=True)
    )
    entries = {"sys_info": pickle.dumps({"protocol_version": 1000, "little_endian": True}, 2)}
    entries |= {"pickle": tree + b"u.", "tensors": tensors, "storages": storages}
    change(entries)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_the_oldest_form_is_a_tar(tmp_path: Path) -> None:
    arrays = read_pickle(write_old_tar(tmp_path / "a.pth"))
    expected = {"a": [[0, 1], [2, 3]], "b": [1, 3], "c": [2, 3]}
    assert {name: array.tolist() for name, array in arrays.items()} == expected
    assert arrays["a"].dtype == np.float32


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda e: e.update(pickle=b"\x80\x02cos\nsystem\n."), r"os\.system, which could run code"),
        (lambda e: e.update(storages=b"\x80\x02cos\nsystem\n."), r"os\.system"),
        (lambda e: e.update(tensors=b"\x80\x02cos\nsystem\n."), r"os\.system"),
        (lambda e: e.update(pickle=b"\x80\x02X\x02\x00\x00\x0099Q."), "unknown reference 99"),
        (lambda e: e.update(storages=e["storages"][:40]), "a storage has|damaged"),
        (lambda e: e.update(tensors=e["tensors"][:-8]), "damaged"),
        (lambda e: e.pop("tensors"), "this tar is none of PyTorch"),
    ],
)
def test_a_tar_that_lies(tmp_path: Path, change: Any, expected: str) -> None:
    path = write_old_tar(tmp_path / "a.pth", change=change)
    with pytest.raises(UserError, match=expected) as error:
        read_pickle(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.99])
def test_a_tar_cut_short(tmp_path: Path, share: float) -> None:
    path = write_old_tar(tmp_path / "a.pth")
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"cut short|none of PyTorch|a storage has"):
        read_pickle(path)


def test_how_much_of_a_file_is_there(tmp_path: Path) -> None:
    whole = (FILES / "legacy.pth").read_bytes()
    path = tmp_path / "legacy.pth"
    for size in (len(whole) - 1, len(whole) - 9):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=f"cut short: {size} of {len(whole)} bytes are there"):
            read_pickle(path)
    path.write_bytes(whole[:300])
    with pytest.raises(UserError, match="cut short: 300 bytes are there, and its pickle"):
        read_pickle(path)
    write_torch(path, {"a": np.zeros((100, 100), np.float32), "b": np.zeros(7)})
    content = path.read_bytes()
    path.write_bytes(content[:20_000])
    with pytest.raises(
        UserError, match="cut short: 20000 bytes are there, and its numbers alone have 40056"
    ):
        read_pickle(path)
    for size in (60, len(content) - 40):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match=f"{size} bytes are there, without the list of entries"):
            read_pickle(path)
    save(path, {"a": np.zeros(3)})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"cut short: \d+ bytes are there, and its pickle"):
        read_pickle(path)


def test_a_quantized_tensor_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(PROTOCOL + b"ctorch._utils\n_rebuild_qtensor\n)R.")
    with pytest.raises(UserError, match="a quantized tensor; save the weights as float32"):
        read_pickle(path)
