"""Streams that are closed or break, odd modes and deleted folders at the start of a program."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from options.errors import UserError
from runtime import process

REPOSITORY = Path(__file__).parents[2]
HEAD = """
import os, subprocess, sys
from pathlib import Path
from runtime.program import exit_codes
from runtime.supervise import supervise

@exit_codes(stopped="stopped")
def main(argv=None):
    mark = Path(sys.argv[1])
"""
END = "\nsys.exit(supervise(main))\n"


def command(folder: Path, work: str) -> list[str]:
    """A program like train.py that runs the given lines; its mark is folder/mark."""
    code = HEAD + textwrap.indent(textwrap.dedent(work), "    ") + END
    return [sys.executable, "-c", code, str(folder / "mark")]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), **more}


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_neither_block_nor_replace_files(tmp_path: Path, closed: str) -> None:
    work = """
    with open(mark, "w") as file:
        assert file.fileno() > 2
        print("to the user", flush=True)
        print("more", file=sys.stderr, flush=True)
        os.write(1, b"from a library")
        subprocess.run(["echo", "from a child"], check=True)
        assert sys.stdin is None or sys.stdin.read() == ""
        file.write("complete")
    return 0
    """
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command(tmp_path, work)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mark").read_text() == "complete"
    assert (b"to the user" in done.stdout) == (">&-" not in closed.split())


TALK = """
print("first", flush=True)
for number in range(3000):
    print("line", number, "." * 80, file=sys.stderr if number % 2 else sys.stdout, flush=True)
mark.write_text("done")
return 0
"""


def test_a_closed_pipe_does_not_end_the_work(tmp_path: Path) -> None:
    working = subprocess.Popen(
        command(tmp_path, TALK),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert working.stdout is not None
    assert working.stdout.readline() == b"first\n"
    working.stdout.close()
    assert working.wait(20) == 0
    assert (tmp_path / "mark").read_text() == "done"


def test_a_closed_terminal_does_not_end_the_work(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    working = subprocess.Popen(
        ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *command(tmp_path, TALK)],
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.read(ours, 5)
    os.close(ours)
    assert working.wait(20) == 0
    assert (tmp_path / "mark").read_text() == "done"


def test_a_full_disk_for_the_output_does_not_end_the_work(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(tmp_path, TALK), env=environment(), stdout=full, stderr=full, timeout=20
        )
    assert done.returncode == 0
    assert (tmp_path / "mark").read_text() == "done"


def test_a_non_blocking_pipe_loses_no_output(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    working = subprocess.Popen(
        command(tmp_path, TALK), env=environment(), stdout=writer, stderr=subprocess.STDOUT
    )
    os.close(writer)
    with open(reader, "rb") as file:
        lines = file.read().splitlines()
    assert working.wait(20) == 0
    assert [line.split()[1] for line in lines[1:]] == [b"%d" % n for n in range(3000)]


@pytest.mark.parametrize(
    "settings",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}],
)
def test_every_name_can_be_printed(tmp_path: Path, settings: dict[str, str]) -> None:
    done = subprocess.run(
        command(tmp_path, r"print('\u98ce \udcb7'); print('\udcb7', file=sys.stderr); return 0"),
        env=environment(**settings),
        capture_output=True,
    )
    assert done.returncode == 0 and b"\\udcb7" in done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len(done.stderr.splitlines()) == 1


def test_a_program_can_read_its_own_files(tmp_path: Path) -> None:
    work = "mark.write_text(''); Path(f'{mark}s').mkdir(); return 0"
    for mask, modes in (("0777", (0o600, 0o700)), ("077", (0o600, 0o700)), ("022", (0o644, 0o755))):
        folder = tmp_path / mask
        folder.mkdir()
        subprocess.run(
            ["sh", "-c", f'umask {mask}; exec "$@"', "sh", *command(folder, work)],
            env=environment(),
            check=True,
        )
        made = [(folder / name).stat().st_mode & 0o777 for name in ("mark", "marks")]
        assert tuple(made) == modes


def test_a_deleted_current_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    leave = 'cd "$1/gone"; rmdir "$1/gone"; shift; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", leave, "sh", str(tmp_path), *command(tmp_path, "return 0")],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: current folder: expected one that exists, got No such file or directory. Change to "
        "another folder and start again\n"
    )


def test_a_missing_home_folder_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path, "Path('~nobody-of-that-name/x').expanduser(); return 0"),
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: HOME: expected a home folder")


def test_packages_of_another_project_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign, own = tmp_path / "modules/numpy", tmp_path / "venv/lib/cv2"
    for folder in (foreign, own):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "python"))
    for path, found in (
        (tmp_path / "modules", str(foreign / "__init__.py")),
        (tmp_path / "venv/lib", None),  # the environment's own, named again
        (tmp_path / "nothing", None),
    ):
        monkeypatch.setattr(sys, "path", [str(path), *sys.path])
        for name in ("numpy", "cv2"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setenv("PYTHONPATH", f"{path}:")
        assert process.foreign_package() == found
        sys.path.pop(0)
    monkeypatch.setattr(process, "foreign_package", lambda: str(foreign))
    with pytest.raises(UserError, match="Unset PYTHONPATH"):
        process.check_surroundings()
