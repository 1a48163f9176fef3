from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from options import paths
from options.errors import UserError
from options.paths import (
    existing_folder,
    exists,
    expand,
    explain,
    first_that,
    is_file,
    is_folder,
    list_folder,
    look_up,
    open_file,
    open_to_append,
    read_file,
    show_path,
)

ROOT = Path(__file__).resolve().parents[2]


def _one_line(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message and ": expected " in message and ", got " in message
    assert message.endswith(".")
    return message


def test_existing_and_missing_paths(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    os.mkfifo(tmp_path / "pipe")
    assert is_folder(tmp_path) and not is_file(tmp_path)
    assert is_file(tmp_path / "file") and not is_folder(tmp_path / "file")
    assert exists(tmp_path / "pipe") and not is_file(tmp_path / "pipe")
    for nothing in ("gone", "gone/deeper", "file/deeper"):
        assert look_up(tmp_path / nothing) is None and not exists(tmp_path / nothing)
    assert read_file(tmp_path / "file") == b"abc"
    assert existing_folder(str(tmp_path)) == tmp_path


def test_the_entries_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("gone/x.png")
    (tmp_path / "good").symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    entries = {entry.path.name: (entry.kind, entry.fault) for entry in list_folder(tmp_path)}
    assert list(entries) == sorted(entries)
    assert {name: kind for name, (kind, _) in entries.items()} == {
        "a": "file", "b": "folder", "dangling": "broken", "good": "file", "loop": "broken",
        "pipe": "other",
    }  # fmt: skip
    assert entries["loop"][1].startswith("a link that leads back to itself; remove the link")
    assert entries["dangling"][1].startswith("a link to gone/x.png, which is not there; restore")


def test_pipes_and_devices_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    (tmp_path / "holes").touch()
    os.truncate(tmp_path / "holes", 40 << 30)
    for name in ("pipe", "zeros"):
        assert "got a pipe or a device. Name a file." in _one_line(read_file, tmp_path / name)
    assert "got a folder. Name a file." in _one_line(read_file, tmp_path)
    assert "got 40960 MB, more than 256." in _one_line(read_file, tmp_path / "holes")
    for name in ("pipe", "zeros"):
        with pytest.raises(OSError, match=r"a pipe or a device|No such device"):
            open_to_append(tmp_path / name)
    with open_file(tmp_path / "holes") as file:
        assert file.read(3) == bytes(3)


def test_looping_and_dangling_links(tmp_path: Path) -> None:
    loop, dangling = tmp_path / "loop", tmp_path / "dangling"
    loop.symlink_to("loop")
    dangling.symlink_to("gone")
    for call in (look_up, exists, is_folder, is_file, list_folder, existing_folder, read_file):
        message = _one_line(call, loop)
        assert message.startswith(f"{loop}: expected") and "leads back to itself" in message
        deeper = _one_line(call, loop / "below")
        assert f"a link that leads back to itself at {loop}. Remove" in deeper
    assert not exists(dangling) and not is_folder(dangling)
    for call in (existing_folder, list_folder, read_file):
        message = _one_line(call, dangling)
        assert "a link to gone, which is not there. Restore that or remove the link." in message


def test_impossible_names(tmp_path: Path) -> None:
    for name, found in (
        ("a\0b", "a name that no file can have"),
        ("a\ud800b", "a name that no file can have"),
        ("n" * 300, "a name longer than"),
    ):
        for call in (look_up, list_folder, existing_folder, read_file):
            assert found in _one_line(call, tmp_path / name)
    assert "a\\x00b" in _one_line(look_up, "a\0b")


@pytest.mark.parametrize("number", sorted(paths._FAULTS))
def test_every_fault_is_one_line(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "as the system words it")

    monkeypatch.setattr(os, "scandir", fail)
    message = _one_line(list_folder, "somewhere")
    found, fix = explain("somewhere", OSError(number, "as the system words it"))
    assert message.startswith(f"somewhere: expected a readable folder, got {found}. ")
    assert fix[1:] in message


def test_other_system_errors_keep_their_message() -> None:
    assert explain("a", OSError(errno.EBUSY, "Device or resource busy"))[0] == (
        "device or resource busy"
    )
    assert explain("a", OSError("odd"))[0] == "odd"


def test_a_missing_folder_names_the_nearest_one(tmp_path: Path) -> None:
    message = _one_line(existing_folder, tmp_path / "a/b")
    assert f"got nothing; only {tmp_path} exists" in message
    (tmp_path / "file").touch()
    assert "got a file. Name the folder" in _one_line(existing_folder, tmp_path / "file")


def test_a_missing_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert "~/data: expected a home folder" in _one_line(expand, "~/data")


def test_missing_permissions(tmp_path: Path) -> None:
    """Run without root's permissions, so that the system itself refuses."""
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "file").touch()
    script = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from options.errors import UserError
from options.paths import existing_folder, is_folder, list_folder, read_file
closed = {str(closed)!r}
os.chmod(closed, 0)
os.umask(0)
if os.geteuid() == 0:
    os.setuid(65534)
for call, path in (
    (list_folder, closed), (existing_folder, closed), (is_folder, closed + "/deeper"),
    (read_file, closed + "/file"),
):
    try:
        call(path)
    except UserError as error:
        print(error)
"""
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o111)
    try:
        made = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    finally:
        closed.chmod(0o755)
    assert made.stderr == ""
    lines = made.stdout.splitlines()
    assert len(lines) == 4
    for line in lines:
        assert line.startswith(str(closed)) and "got permission denied" in line
        at = f" at {closed}" if line.startswith(f"{closed}/") else ""
        assert f"got permission denied{at}. Give yourself the right to read it" in line


def test_hints_skip_unreadable_paths(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    (tmp_path / "b").mkdir()
    assert first_that([tmp_path / "a", tmp_path / "b"], is_folder) == tmp_path / "b"
    assert first_that([tmp_path / "a"], is_folder) is None


def test_names_are_shown_on_one_line() -> None:
    assert show_path("湖 a.png") == "湖 a.png"
    assert show_path("a\nb\udcff.png") == "a\\nb\\udcff.png"
