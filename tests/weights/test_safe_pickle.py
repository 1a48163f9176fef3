"""Files of weights are read in every form that PyTorch and Jittor have written.

PyTorch 2.13 wrote files/*.pth from the arrays in files/expected.npz, and newer_kinds.pth from those
in newer_kinds.npz.
"""

from __future__ import annotations

import collections
import copy
import io
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
from weights.safe_pickle import read_pickle
from weights.torch_file import write_torch

FILES = Path(__file__).parent / "files"
EMPTY = b"\x80\x02}."  # an empty dictionary


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


def torch_pickle(tensor: tuple[Any, ...], count: int = 6) -> bytes:
    """Return a torch zip of one tensor of (offset, size, stride) over `count` float32 numbers."""

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
    with pytest.raises(UserError, match="expected tensors only, got a tensor"):
        read_pickle(path)


@pytest.mark.parametrize(
    ("size", "stride"),
    [((1 << 40,), (0,)), ((7,), (0,)), ((2, 6), (0, 1)), ((1 << 62, 0), (1, 1)), ((2**70,), (0,))],
)
def test_a_tensor_cannot_be_larger_than_its_storage(tmp_path: Path, size: Any, stride: Any) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(torch_pickle((0, size, stride)))
    with pytest.raises(UserError, match="a tensor of size"):
        read_pickle(path)


def test_a_storage_has_the_length_it_claims(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(torch_pickle((0, (2,), (1,)), count=7))
    with pytest.raises(UserError, match="storage 0 of 24 bytes instead of 28"):
        read_pickle(path)


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_file_cut_short_is_an_error(tmp_path: Path, name: str, share: float) -> None:
    content = (FILES / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=name):
        read_pickle(path)


def test_a_web_page_and_a_missing_file(tmp_path: Path) -> None:
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


def test_lists_that_double_at_every_level(tmp_path: Path) -> None:
    tree: list[Any] = []
    for _ in range(60):
        tree = [tree, tree]
    with pytest.raises(UserError, match="more than 1000000 entries"):
        read_pickle(save(tmp_path / "a.pkl", tree))


def test_one_array_under_a_thousand_names(tmp_path: Path) -> None:
    array = np.zeros(10_000, np.float32)
    with pytest.raises(UserError, match="more than 8 times the file's bytes"):
        read_pickle(save(tmp_path / "a.pkl", {str(index): array for index in range(1000)}))


def write_zip(path: Path, entries: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_a_compressed_zip(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    entries = {"a/data.pkl": EMPTY, "a/data/0": bytes(50_000_000)}
    write_zip(path, entries, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match=r"the compressed entry 'a/data\.pkl'"):
        read_pickle(path)


def test_entries_that_share_bytes(tmp_path: Path) -> None:
    # Several names in the directory for the same bytes: each would unpack them again.
    path = write_zip(tmp_path / "a.pth", {"a/data.pkl": EMPTY, "a/data/0": bytes(5000)})
    with zipfile.ZipFile(path, "a") as archive:
        entry = archive.getinfo("a/data/0")
        for index in range(1, 9):
            twin = copy.copy(entry)
            twin.filename = f"a/data/{index}"
            archive.filelist.append(twin)
        archive._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"entries of \d+ bytes in a zip archive of \d+ bytes"):
        read_pickle(path)


@pytest.mark.parametrize(
    "name", ["../data/0", "/etc/passwd", "a/../../x", "a\\..\\x", "C:x", "a/data/../../../x"]
)
def test_entries_with_paths_write_no_file(tmp_path: Path, name: str) -> None:
    # Entries are looked up by name and never unpacked.
    folder = tmp_path / "folder"
    folder.mkdir()
    path = write_zip(folder / "a.pth", {"a/data.pkl": EMPTY, name: b"x"})
    assert read_pickle(path) == {}
    assert list(tmp_path.iterdir()) == [folder] and list(folder.iterdir()) == [path]


def test_two_entries_of_one_name(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.pth", {"a/data.pkl": EMPTY})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a/data.pkl", EMPTY)
    with pytest.raises(UserError, match="two entries"):
        read_pickle(path)


def test_newer_dtypes_in_a_folder_of_any_name() -> None:
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
def test_the_folder_in_a_zip_may_have_any_name(tmp_path: Path, folder: str) -> None:
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
    """Write a file of PyTorch before 0.1.10: two tensors on a storage, and one on a view of it.

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


def test_the_oldest_form_a_tar(tmp_path: Path) -> None:
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
        (lambda e: e.update(storages=e["storages"][:40]), "a storage of 8 bytes instead|damaged"),
        (lambda e: e.update(tensors=e["tensors"][:-8]), "damaged"),
        (lambda e: e.pop("tensors"), r"a tar archive of sys_info, pickle, storages\. Unpack it"),
    ],
)
def test_a_damaged_tar(tmp_path: Path, change: Any, expected: str) -> None:
    path = write_old_tar(tmp_path / "a.pth", change=change)
    with pytest.raises(UserError, match=expected) as error:
        read_pickle(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.99])
def test_a_tar_cut_short(tmp_path: Path, share: float) -> None:
    path = write_old_tar(tmp_path / "a.pth")
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"cut short|a tar archive of|a storage of"):
        read_pickle(path)


def test_the_error_tells_how_much_of_a_file_is_there(tmp_path: Path) -> None:
    whole = (FILES / "legacy.pth").read_bytes()
    path = tmp_path / "legacy.pth"
    for size in (len(whole) - 1, len(whole) - 9):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=f"cut short: {size} of {len(whole)} bytes"):
            read_pickle(path)
    path.write_bytes(whole[:300])
    with pytest.raises(UserError, match="cut short: 300 bytes, without the end of the pickle"):
        read_pickle(path)
    write_torch(path, {"a": np.zeros((100, 100), np.float32), "b": np.zeros(7)})
    content = path.read_bytes()
    path.write_bytes(content[:20_000])
    with pytest.raises(
        UserError, match="cut short: 20000 bytes, of more than 40056 bytes of numbers"
    ):
        read_pickle(path)
    for size in (60, len(content) - 40):
        path.write_bytes(content[:size])
        with pytest.raises(
            UserError, match=f"cut short: {size} bytes, without the list of entries"
        ):
            read_pickle(path)
    save(path, {"a": np.zeros(3)})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"cut short: \d+ bytes, without the end of the pickle"):
        read_pickle(path)


def test_a_quantized_tensor_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02ctorch._utils\n_rebuild_qtensor\n)R.")
    with pytest.raises(UserError, match=r"got a quantized tensor\. Save the weights as float32"):
        read_pickle(path)
