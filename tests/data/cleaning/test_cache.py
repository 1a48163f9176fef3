"""The cache: stored rows, damaged files, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.cleaning.cache import Cache, content_key, pack, unpack
from options.errors import UserError


def test_arrays_survive_packing() -> None:
    arrays: dict[str, np.ndarray] = {
        "a": np.arange(6, dtype=np.int32).reshape(2, 3),
        "none": np.zeros((0, 5), np.float16),
        "b": np.array([1.5, np.nan]),
        "é": np.array(3, np.uint8),
    }
    found = unpack(pack(arrays))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


def test_keys_depend_on_content_and_settings(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"23"), ("c", b"12"), ("d", b"3"), ("e", b"1")):
        (tmp_path / name).write_bytes(content)

    def key(one: str, two: str, form: str = "x") -> str:
        return content_key(tmp_path / one, tmp_path / two, form=form)

    assert key("a", "b") == key("e", "b")
    assert len({key("a", "b"), key("c", "d"), key("b", "a"), key("a", "b", "y")}) == 4


def test_rows_are_stored(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    cache = Cache(path)
    cache.add([("k1", b"m1", b"f1", b"d1"), ("k2", b"m2", b"f2", b"d2")], [(b"\xff|f", 3, 4, "k1")])
    cache.keep_result("r", {"x": np.arange(3)})
    cache.close()
    cache = Cache(path)
    assert cache.keys() == {"k1", "k2"}
    assert cache.stamps() == {b"\xff|f": (3, 4, "k1")}
    assert cache.column("measures", ["k2", "k1", "k2"]) == [b"m2", b"m1", b"m2"]
    found = cache.result("r")
    assert found is not None and found["x"].tolist() == [0, 1, 2]
    cache.keep_result("s", {})
    assert cache.result("r") is None and cache.result("s") == {}
    cache.close()


def test_a_damaged_database_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    path.write_bytes(b"SQLite format 3\0" + b"and then no database" * 100)
    cache = Cache(path)
    assert cache.keys() == set()
    cache.close()


def test_another_file_of_its_name_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError, match=r"file is not a database\. .* remove that file"):
        Cache(path)
    assert path.read_bytes() == b"no database at all" * 100


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a writable cache of the measures"):
        Cache(tmp_path / "missing" / "c.sqlite")
