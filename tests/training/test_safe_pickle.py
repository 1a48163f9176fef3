"""Files of weights are read as PyTorch and Jittor write them, and never run.

files/*.pth were written by PyTorch 2.13 from the arrays in files/expected.npz.
"""

from __future__ import annotations

import collections
import hashlib
import io
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from options.errors import UserError
from training.safe_pickle import LEGACY_MAGIC, read_pickle

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
    with pytest.raises(UserError, match="it is no pickle"):
        read_pickle(path)
    with pytest.raises(UserError, match="No such file"):
        read_pickle(tmp_path / "absent.pth")


def test_containers_nested_without_end(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(UserError, match="nested more than 100 deep"):
        read_pickle(save(tmp_path / "a.pkl", loop))
