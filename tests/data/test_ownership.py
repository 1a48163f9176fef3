"""Ownership: files of the program, and files of the user that are never touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from data.folders import find_content, find_test_layouts
from data.listing import images_by_stem
from data.ownership import (
    MARKER,
    OutputFolder,
    Partial,
    check_claim,
    claim_folder,
    output_file,
    without_own,
)
from options.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
FIX = "name another folder"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MARKER
    }


def test_written_files_are_owned_and_replaceable(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "deep/out", FIX)
    assert folder.check(["a.txt"]) == [] and not (tmp_path / "deep").exists()
    folder.write({"a.txt": "one", "b.bin": b"\x00", "c": lambda file: file.write(b"c")})
    assert contents(folder.path) == {"a.txt": b"one", "b.bin": b"\x00", "c": b"c"}
    assert folder.owned() == ["a.txt", "b.bin", "c"]
    assert folder.check(["a.txt", "new"]) == ["a.txt"]
    folder.write({"a.txt": "two"})
    assert contents(folder.path) == {"a.txt": b"two", "b.bin": b"\x00", "c": b"c"}
    assert folder.owned() == ["a.txt", "b.bin", "c"]


def _edit(path: Path) -> None:
    path.write_text("tow")  # of the same length


def _append(path: Path) -> None:
    path.write_text("one and more")


def _replace_by_link(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.symlink_to("other")


def _replace_by_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _damage_marker(path: Path) -> None:
    marker = path.with_name(MARKER)
    marker.write_bytes(marker.read_bytes()[:-9])


def _empty_marker(path: Path) -> None:
    path.with_name(MARKER).write_text("{}")


def _remove_marker(path: Path) -> None:
    path.with_name(MARKER).unlink()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_edit, "it was changed since"),
        (_append, "it was changed since"),
        (_replace_by_link, "it is a link"),
        (_replace_by_dangling_link, "it is a link"),
        (_replace_by_folder, "it is a folder"),
        (_damage_marker, "this program did not write it"),
        (_empty_marker, "this program did not write it"),
        (_remove_marker, "this program did not write it"),
    ],
)
def test_all_other_files_are_the_users(
    tmp_path: Path, change: Callable[[Path], None], reason: str
) -> None:
    folder = OutputFolder(tmp_path, FIX)
    folder.write({"a.txt": "one", "b.txt": "two"})
    change(tmp_path / "a.txt")
    before = contents(tmp_path)
    for attempt in (lambda: folder.check(["b.txt", "a.txt"]), lambda: folder.write({"a.txt": "x"})):
        with pytest.raises(UserError) as error:
            attempt()
        text = str(error.value)
        assert reason in text and "\n" not in text and text.endswith(f"or {FIX}.")
    assert contents(tmp_path) == before and os.path.lexists(tmp_path / "a.txt")
    assert not list(tmp_path.glob(".new-*"))


def test_the_users_files_are_not_removed_with_stale_ones(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out", FIX)
    folder.write({"a": "1", "b": "2", "c": "3"})
    (tmp_path / "out/b").write_text("mine")
    (tmp_path / "out/d").write_text("mine too")
    (tmp_path / "new").mkdir()
    (tmp_path / "new/e").write_text("5")
    folder.place(tmp_path / "new", ["e"], remove=["a", "b", "d", "e", "gone"])
    assert contents(tmp_path / "out") == {"b": b"mine", "c": b"3", "d": b"mine too", "e": b"5"}
    assert folder.owned() == ["c", "e"]


def test_a_file_created_during_the_work_is_kept(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out", FIX)
    folder.check(["a"])
    (tmp_path / "out").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new/a").write_text("made")
    (tmp_path / "out/a").write_text("mine")
    with pytest.raises(UserError, match="in the way"):
        folder.place(tmp_path / "new", ["a"])
    assert (tmp_path / "out/a").read_text() == "mine"
    assert (tmp_path / "new/a").read_text() == "made"


@pytest.mark.parametrize("at", range(8))
def test_files_are_recognized_after_a_kill_at_any_point(tmp_path: Path, at: int) -> None:
    """The process ends at its at-th change of the folder."""
    folder = OutputFolder(tmp_path / "out", FIX)
    folder.write({"a": "old a", "b": "old b", "stale": "old"})
    (tmp_path / "out/mine").write_text("mine")
    new = tmp_path / "out/.part"
    new.mkdir()
    for name in "abc":
        (new / name).write_text(f"new {name}")
    code = f"""
import os
from pathlib import Path
from data.ownership import OutputFolder
count = 0
def dying(real):
    def call(*arguments, **settings):
        global count
        if count == {at}: os._exit(9)
        count += 1
        return real(*arguments, **settings)
    return call
os.replace, Path.unlink = dying(os.replace), dying(Path.unlink)
OutputFolder(Path({str(tmp_path / "out")!r}), "x").place(Path({str(new)!r}), list("abc"), ["stale"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == (9 if at < 6 else 0)
    present = {path.name for path in folder.path.iterdir() if path.is_file()}
    assert set(folder.owned()) == present - {MARKER, "mine"} - {
        name for name in present if name.startswith(".") and name.endswith(".tmp")
    }
    assert folder.check(["a", "b", "c"])
    for name in "abc":
        (new / name).write_text(f"new {name}")
    folder.place(new, list("abc"), ["stale"])
    assert folder.owned() == ["a", "b", "c"]
    assert (folder.path / "mine").read_text() == "mine"


def test_names_of_any_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xc9\xbd\xcb\xae\n\\.txt")
    folder = OutputFolder(tmp_path, FIX)
    folder.write({name: "x"})
    assert folder.owned() == [name] and folder.check([name]) == [name]


def test_a_marker_owns_no_file_of_another_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "mine").write_text("x")
    folder = OutputFolder(tmp_path / "out", FIX)
    folder.write({"x": "x"})
    marker = folder.path / MARKER
    content = json.loads(marker.read_text())
    content["files"]["../mine"] = content["files"]["x"]
    marker.write_text(json.dumps(content))
    assert folder.owned() == ["x"]


def test_a_hard_link_keeps_its_content(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out", FIX)
    folder.write({"a": "first"})
    os.link(tmp_path / "out/a", tmp_path / "mine")
    folder.write({"a": "second"})
    assert (tmp_path / "mine").read_text() == "first"


def test_unwritable_places_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for path, reason in (
        ("file", "got a file at .*file"),
        ("file/deep/er", "got a file at .*file"),
        ("link", "got a broken link at .*link"),
        ("loop/x", "got a broken link at .*loop"),
    ):
        with pytest.raises(UserError, match=rf"expected a folder, {reason}\. Name another folder"):
            OutputFolder(tmp_path / path, FIX).check(["a"])
    with pytest.raises(UserError, match=r"expected a folder, got a file at .*file"):
        output_file(tmp_path / "file/report.json", FIX)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(UserError, match="expected a writable folder, got a read-only one"):
        OutputFolder(tmp_path / "new/deep", FIX).check(["a"])


def test_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = OutputFolder(tmp_path / "new/deep", FIX)
    with pytest.raises(UserError, match=r"expected about 1000000000000 MB of free space, got \d+"):
        folder.check(["a"], 10**18)
    disk = namedtuple("disk", "f_blocks f_bavail f_frsize f_files f_favail")
    monkeypatch.setattr(os, "statvfs", lambda path: disk(10**9, 10**9, 4096, 100, 1))
    with pytest.raises(UserError, match=r"room for 2 files, got room for 1"):
        folder.check(["a", "b"])
    monkeypatch.setattr(os, "statvfs", lambda path: disk(0, 0, 4096, 0, 0))
    assert folder.check(["a", "b"], 10**9) == []


def test_a_folder_that_is_owned_as_a_whole(tmp_path: Path) -> None:
    check_claim(tmp_path / "new", "run", FIX)
    claim_folder(tmp_path / "new", "run")
    (tmp_path / "new/log.txt").write_text("")
    claim_folder(tmp_path / "new", "run")
    with pytest.raises(UserError, match=r"an empty one or a report, got one that holds log\.txt"):
        check_claim(tmp_path / "new", "report", FIX)
    other = tmp_path / "other"
    other.mkdir()
    (other / ".DS_Store").write_text("")
    (other / "selections").mkdir()
    check_claim(other, "run", FIX, allowed=["selections"])
    with pytest.raises(UserError, match="holds selections"):
        check_claim(other, "run", FIX)
    (other / "a.tex").write_text("mine")
    with pytest.raises(UserError, match=r"holds a\.tex\. Name another folder"):
        check_claim(other, "run", FIX)
    assert sorted(path.name for path in other.iterdir()) == [".DS_Store", "a.tex", "selections"]
    # Owned files in it do not remove the mark.
    OutputFolder(tmp_path / "new", FIX).write({"a.pth": b"x"})
    check_claim(tmp_path / "new", "run", FIX)


def test_readers_skip_owned_files_among_others(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"a layout")
    OutputFolder(tmp_path, FIX).write({"overview.png": b"o", "a.jpg": b"1", "submission.zip": b"z"})
    assert [path.name for path in find_test_layouts(tmp_path).paths] == ["a.png", "b.png"]
    assert sorted(images_by_stem(tmp_path)) == ["a", "b"]
    # A file of the user under an owned name is the user's.
    (tmp_path / "overview.png").write_bytes(b"a layout of mine")
    assert [path.name for path in find_test_layouts(tmp_path).paths][-1] == "overview.png"


def test_a_folder_of_only_owned_files_may_be_read(tmp_path: Path) -> None:
    OutputFolder(tmp_path, FIX).write({"overview.png": b"o", "a.jpg": b"1", "b.jpg": b"2"})
    (tmp_path / "notes.txt").write_text("")
    photos = find_content(tmp_path).photos
    assert [photo.stem for photo in photos] == ["a", "b"]
    assert without_own(tmp_path / "absent", [Path("x")]) == [Path("x")]


def test_finished_files_outlive_their_process(tmp_path: Path) -> None:
    with Partial(tmp_path, "set", "key") as part:
        part.add("a", "1", b"aa")
        part.add("b", "1", b"bb")
    (part.path / "b").write_bytes(b"b")  # cut short, as after a power cut
    with (part.path / Partial.LIST).open("ab") as file:
        file.write(b'["c", "1", 2')  # cut short by a kill
    with Partial(tmp_path, "set", "key") as part:
        assert part.has("a", "1") and not part.has("a", "2")
        assert not part.has("b", "1") and not part.has("c", "1")
        part.add("c", "1", b"cc")
    with Partial(tmp_path, "set", "key") as part:
        assert part.has("c", "1")
        os.rename(part.path / "a", tmp_path / "a")  # moved in by a start that was then killed
        assert part.has("a", "1") and (part.path / "a").read_bytes() == b"aa"
        part.remove()
        assert part.path.is_dir()  # files are left
        for name in "abc":
            (part.path / name).unlink()
        part.remove()
    assert not part.path.exists() and (tmp_path / "a").read_bytes() == b"aa"


def test_one_process_writes_a_set(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from data.ownership import Partial\n"
        f"with Partial(Path({str(tmp_path)!r}), 'set', 'KEY'): print('in')"
    )
    with Partial(tmp_path, "set", "key") as part:
        part.add("a", "1", b"aa")
        for key, entered in (("key", False), ("other", True)):
            command = [sys.executable, "-c", code.replace("KEY", key)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            assert (done.stdout == "in\n") is entered, done.stderr
            assert entered or "another process that writes" in done.stderr
        assert Partial(tmp_path, "set", "other").others()[0].path == part.path
        assert part.others() == []


def test_writing_removes_files_of_an_earlier_start(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path, "name another folder")
    folder.write({"a": "old", "b": "old"})
    (tmp_path / "b").write_text("edited")
    (tmp_path / "c").write_text("the user's")
    folder.write({"d": "new"}, ["a", "b", "c", "d", "gone"])
    assert not (tmp_path / "a").exists()
    assert [(tmp_path / name).read_text() for name in "bcd"] == ["edited", "the user's", "new"]
    assert folder.owned() == ["d"]
