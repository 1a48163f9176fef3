from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest

from data.files import replace_file, write_bytes, write_text


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")

    def stop(file: BinaryIO) -> None:
        file.write(b"half")
        assert len(list(tmp_path.iterdir())) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, stop)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("durable", [True, False])
def test_only_durable_files_are_synced(
    tmp_path: Path, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    write_bytes(tmp_path / "a", b"whole", durable=durable)
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert len(synced) == durable


def test_a_name_that_is_not_utf_8_is_escaped(tmp_path: Path) -> None:
    name = b"\xe6\xb9\x96\xff".decode("utf-8", "surrogateescape")
    write_text(tmp_path / "a.txt", f"{name}\n")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "湖\\udcff\n"


def test_the_longest_name(tmp_path: Path) -> None:
    for name in ("a" * 255, "湖" * 85):
        write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"
