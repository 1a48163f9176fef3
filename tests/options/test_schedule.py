from __future__ import annotations

import json
from pathlib import Path

import pytest

from options.errors import UserError
from options.schedule import Phase, Schedule, built_in_schedules, load_schedule, parse_schedule

TABLE = "phase last_epoch batch_size subset learning_rate\n"


def parse(text: str) -> Schedule:
    return parse_schedule(text, name="mine", source="mine.txt")


def test_main_is_the_contest_run() -> None:
    schedule = load_schedule("main")
    assert schedule.phases == (
        Phase("I", 38, 2, "total", 2e-4),
        Phase("II", 71, 30, "selection_1", 1.2e-3),
        Phase("III", 95, 5, "selection_2", 4e-4),
        Phase("IV", 110, 5, "selection_1", 2e-4),
    )
    assert schedule.flags["--generator"] == "tsit"
    assert schedule.flags["--size"] == "384 512"
    assert schedule.flags["--lambda-vgg"] == "20"
    assert schedule.flags["--lambda-feature"] == "10"
    assert schedule.flags["--gan-loss"] == "hinge"
    assert schedule.flags["--ttur"] == ""


def test_quick_uses_all_subsets() -> None:
    subsets = {phase.subset for phase in load_schedule("quick").phases}
    assert subsets == {"total", "selection_1", "selection_2"}


@pytest.mark.parametrize(
    "name", ["quick", "main", "aux", "pix2pixhd", "translation", "quick_translation"]
)
def test_built_in_schedules_state_what_to_expect(name: str) -> None:
    assert name in built_in_schedules()
    schedule = load_schedule(name)
    text = Path(schedule.path).read_text(encoding="utf-8")
    assert text.startswith("# ") and "# Expected:" in text
    assert schedule.name == name


def test_epochs_of_each_phase() -> None:
    schedule = load_schedule("main")
    assert schedule.phases[0].epochs(0) == range(1, 39)
    assert schedule.phases[1].epochs(38) == range(39, 72)
    assert schedule.epochs("III") == range(72, 96)
    assert schedule.last_epoch == 110
    seen = [epoch for phase in schedule.phases for epoch in schedule.epochs(phase.name)]
    assert seen == list(range(1, 111))
    assert schedule.phase("III") == schedule.phases[2]
    with pytest.raises(UserError, match=r"schedule main \(I, II, III, IV\), got 'V'"):
        schedule.phase("V")


def test_a_users_file(tmp_path: Path) -> None:
    path = tmp_path / "night.txt"
    path.write_bytes(
        b"\xef\xbb\xbf# mine\r\n--lambda_vgg=5 --no-flip  # no text is mirrored\r\n"
        b"--input-path 'a b'\r\n\r\n"
        b"learning_rate phase last_epoch batch_size subset\r\n"
        b"0.0002  warm  3  1  total  # short\r\n"
        b"1e-4    long  9  2  selection_2\r\n"
    )
    schedule = load_schedule(str(path))
    assert schedule.name == "night"
    assert schedule.phases == (
        Phase("warm", 3, 1, "total", 2e-4),
        Phase("long", 9, 2, "selection_2", 1e-4),
    )
    assert schedule.flags == {"--lambda-vgg": "5", "--no-flip": "", "--input-path": "'a b'"}
    assert schedule.flag_lines["--no-flip"] == 2 and schedule.flag_lines["--input-path"] == 3


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("", 0, "expected a table of phases"),
        ("# only words\n", 1, "expected a table of phases"),
        (TABLE, 1, "expected at least one phase"),
        ("I 3 1 total 2e-4\n", 1, "expected the column names"),
        ("phase last_epoch\n", 1, "expected the column names"),
        (TABLE + "I 3 1 total\n", 2, "expected 5 values .*, got 4 in"),
        (TABLE + "I 3 1 total 2e-4 x\n", 2, "expected 5 values .*, got 6 in"),
        (TABLE + "I x 1 total 2e-4\n", 2, "last_epoch: expected an integer"),
        (TABLE + "I 0 1 total 2e-4\n", 2, "last_epoch: expected an integer"),
        (TABLE + "I 3 1.5 total 2e-4\n", 2, "batch_size: expected an integer"),
        (TABLE + "I 3 0 total 2e-4\n", 2, "batch_size: expected an integer"),
        (TABLE + "I 3 1 all 2e-4\n", 2, "subset: expected one of total, selection_1, selection_2"),
        (TABLE + "I 3 1 total 0\n", 2, "learning_rate: expected a number above 0"),
        (TABLE + "I 3 1 total nan\n", 2, "learning_rate: expected a number above 0"),
        (TABLE + "I 3 1 total 2\n", 2, "learning_rate: expected a number above 0"),
        (TABLE + "I 3 1 total fast\n", 2, "learning_rate: expected a number above 0"),
        (
            TABLE + "I 3 1 total 2e-4\n\nII 3 1 total 2e-4\n",
            4,
            "last_epoch: expected 4 or more, got 3",
        ),
        (
            TABLE + "I 3 1 total 2e-4\nI 4 1 total 2e-4\n",
            3,
            "expected a new phase name, got 'I' again",
        ),
        (
            TABLE[:-1] + " stage\nI 3 1 total 2e-4 half\n",
            2,
            "stage: expected one of all, global, enhancer",
        ),
        (TABLE[:-1] + " stage stage\nI 3 1 total 2e-4 all all\n", 1, "expected the column names"),
        (TABLE + "I 3 1 total 2e-4\n--flip\n", 3, "expected flags above the table"),
        ("--flip\n# x\n--flip\n" + TABLE, 3, "got --flip on line 1 too"),
        ("--beta1 0 --beta1 0\n" + TABLE, 1, "got --beta1 twice"),
        ("-flip\n" + TABLE, 1, "a flag that starts with --"),
        ("--input-path 'a\n" + TABLE, 1, "expected quotes in pairs"),
    ],
)
def test_an_invalid_line_names_file_line_and_rule(text: str, line: int, rule: str) -> None:
    with pytest.raises(UserError, match=rule) as caught:
        parse(text)
    assert str(caught.value).startswith(f"mine.txt, line {line}: ")
    assert "\n" not in str(caught.value)


def test_stage_is_all_without_its_column() -> None:
    assert [phase.stage for phase in load_schedule("main").phases] == ["all"] * 4
    staged = load_schedule("pix2pixhd")
    assert [phase.stage for phase in staged.phases] == ["global", "enhancer", "all", "all"]
    lines = staged.describe().splitlines()
    assert lines[1].split()[-1] == "stage" and lines[2].split()[-1] == "global"
    assert "stage" not in load_schedule("main").describe()


def test_a_missing_file_lists_the_built_in_schedules(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"got 'mian' \(e\.g\. --schedule main\)"):
        load_schedule("mian")
    with pytest.raises(UserError, match="expected aux, main, pix2pixhd, quick"):
        load_schedule(str(tmp_path / "nothing"))
    with pytest.raises(UserError, match=r"got the folder .*\. Name the file in it"):
        load_schedule(str(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_files_saved_on_windows_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x.txt"
    text = f"# 风景\n--seed 7\n{TABLE}I 3 1 total 2e-4\n".replace("\n", "\r\n")
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    path.write_bytes((mark + text).encode(encoding))
    assert load_schedule(str(path)).flags == {"--seed": "7"}


@pytest.mark.parametrize(
    "content", [b"\x7fELF\2\1\1\0\0", bytes(3000), b"x" * 5000, b"\xff\xfe\0", b"\0\0\0"]
)
def test_a_binary_file_is_one_short_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_schedule(str(path))
    line = str(caught.value).replace(str(path), "x.txt")
    assert line.startswith("x.txt") and line.isprintable() and len(line) < 400


@pytest.mark.parametrize("cell", ["٣", "1_0", "9" * 400, "1e9", "10000000001", "-1"])
def test_an_invalid_count(cell: str) -> None:
    for row in (f"I {cell} 1 total 2e-4", f"I 3 {cell} total 2e-4"):
        with pytest.raises(UserError, match="expected an integer from 1 to 1000000000"):
            parse(TABLE + row)


def test_another_encoding_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("# 风景".encode("gbk"))
    with pytest.raises(UserError, match="expected a schedule in UTF-8"):
        load_schedule(str(path))


def test_describe_and_dict() -> None:
    schedule = load_schedule("main")
    lines = schedule.describe().splitlines()
    assert lines[0] == "schedule main" and len(lines) == 6
    assert lines[3].split() == ["II", "39-71", "30", "selection_1", "0.0012"]
    assert lines[1].index("epochs") == lines[2].index("1-38")
    assert json.loads(json.dumps(schedule.to_dict()))["phases"][3]["last_epoch"] == 110


def test_quick_for_translation_uses_every_photo() -> None:
    schedule = load_schedule("quick", "translation")
    assert schedule.name == "quick_translation"
    assert {phase.subset for phase in schedule.phases} == {"total"}
    assert load_schedule("quick_translation", "translation") == schedule
    assert load_schedule("main", "translation").name == "main"
