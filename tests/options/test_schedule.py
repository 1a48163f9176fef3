from __future__ import annotations

import json
from pathlib import Path

import pytest

from options.errors import UserError
from options.schedule import Phase, Schedule, built_in_schedules, load_schedule, parse_schedule

TABLE = "phase last_epoch batch_size subset learning_rate\n"


def parse(text: str) -> Schedule:
    return parse_schedule(text, name="mine", source="mine.txt")


def test_main_is_the_contests_run() -> None:
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
def test_built_in_schedules_say_what_to_expect(name: str) -> None:
    assert name in built_in_schedules()
    schedule = load_schedule(name)
    text = Path(schedule.path).read_text(encoding="utf-8")
    assert text.startswith("# ") and "# Expected:" in text
    assert schedule.name == name


def test_the_epochs_of_each_phase() -> None:
    schedule = load_schedule("main")
    assert schedule.phases[0].epochs(0) == range(1, 39)
    assert schedule.phases[1].epochs(38) == range(39, 72)
    assert schedule.epochs("III") == range(72, 96)
    assert schedule.last_epoch == 110
    seen = [epoch for phase in schedule.phases for epoch in schedule.epochs(phase.name)]
    assert seen == list(range(1, 111))
    assert schedule.phase("III") == schedule.phases[2]
    with pytest.raises(UserError, match="'V' is not; write one of I, II, III, IV"):
        schedule.phase("V")


def test_file_of_a_user(tmp_path: Path) -> None:
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
        ("", 0, "a schedule has a table"),
        ("# only words\n", 1, "a schedule has a table"),
        (TABLE, 1, "a phase or more"),
        ("I 3 1 total 2e-4\n", 1, "first row names the columns"),
        ("phase last_epoch\n", 1, "first row names the columns"),
        (TABLE + "I 3 1 total\n", 2, "has 4; write all"),
        (TABLE + "I 3 1 total 2e-4 x\n", 2, "has 6; write all"),
        (TABLE + "I x 1 total 2e-4\n", 2, "last_epoch is a whole number"),
        (TABLE + "I 0 1 total 2e-4\n", 2, "last_epoch is a whole number"),
        (TABLE + "I 3 1.5 total 2e-4\n", 2, "batch_size is a whole number"),
        (TABLE + "I 3 0 total 2e-4\n", 2, "batch_size is a whole number"),
        (TABLE + "I 3 1 all 2e-4\n", 2, "subset is one of total, selection_1, selection_2"),
        (TABLE + "I 3 1 total 0\n", 2, "learning_rate is a number above 0"),
        (TABLE + "I 3 1 total nan\n", 2, "learning_rate is a number above 0"),
        (TABLE + "I 3 1 total 2\n", 2, "learning_rate is a number above 0"),
        (TABLE + "I 3 1 total fast\n", 2, "learning_rate is a number above 0"),
        (TABLE + "I 3 1 total 2e-4\n\nII 3 1 total 2e-4\n", 4, "last_epoch grows"),
        (TABLE + "I 3 1 total 2e-4\nI 4 1 total 2e-4\n", 3, "name stands once"),
        (
            TABLE[:-1] + " stage\nI 3 1 total 2e-4 half\n",
            2,
            "stage is one of all, global, enhancer",
        ),
        (TABLE[:-1] + " stage stage\nI 3 1 total 2e-4 all all\n", 1, "first row names the columns"),
        (TABLE + "I 3 1 total 2e-4\n--flip\n", 3, "flags stand above the table"),
        ("--flip\n# x\n--flip\n" + TABLE, 3, "--flip is on line 1 too"),
        ("--beta1 0 --beta1 0\n" + TABLE, 1, "here twice"),
        ("-flip\n" + TABLE, 1, "a flag begins with --"),
        ("--input-path 'a\n" + TABLE, 1, "quotes come in pairs"),
    ],
)
def test_what_is_off_names_file_line_and_rule(text: str, line: int, rule: str) -> None:
    with pytest.raises(UserError, match=rule) as caught:
        parse(text)
    assert str(caught.value).startswith(f"mine.txt, line {line}: ")
    assert "\n" not in str(caught.value)


def test_a_stage_is_all_where_the_table_has_no_such_column() -> None:
    assert [phase.stage for phase in load_schedule("main").phases] == ["all"] * 4
    staged = load_schedule("pix2pixhd")
    assert [phase.stage for phase in staged.phases] == ["global", "enhancer", "all", "all"]
    lines = staged.describe().splitlines()
    assert lines[1].split()[-1] == "stage" and lines[2].split()[-1] == "global"
    assert "stage" not in load_schedule("main").describe()


def test_missing_file_names_the_built_in_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'mian' is neither; write --schedule main"):
        load_schedule("mian")
    with pytest.raises(UserError, match="is neither; write one of aux, main, pix2pixhd, quick"):
        load_schedule(str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="is a folder; name the file in it"):
        load_schedule(str(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_what_editors_of_windows_save_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x.txt"
    text = f"# 风景\n--seed 7\n{TABLE}I 3 1 total 2e-4\n".replace("\n", "\r\n")
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    path.write_bytes((mark + text).encode(encoding))
    assert load_schedule(str(path)).flags == {"--seed": "7"}


@pytest.mark.parametrize(
    "content", [b"\x7fELF\2\1\1\0\0", bytes(3000), b"x" * 5000, b"\xff\xfe\0", b"\0\0\0"]
)
def test_a_binary_file_is_one_short_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_schedule(str(path))
    line = str(caught.value).replace(str(path), "x.txt")
    assert line.startswith("x.txt") and line.isprintable() and len(line) < 400


@pytest.mark.parametrize("cell", ["٣", "1_0", "9" * 400, "1e9", "10000000001", "-1"])
def test_a_count_that_is_none(cell: str) -> None:
    for row in (f"I {cell} 1 total 2e-4", f"I 3 {cell} total 2e-4"):
        with pytest.raises(UserError, match="is a whole number from 1 to 1000000000"):
            parse(TABLE + row)


def test_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("# 风景".encode("gbk"))
    with pytest.raises(UserError, match="text file in UTF-8"):
        load_schedule(str(path))


def test_describe_and_dict() -> None:
    schedule = load_schedule("main")
    lines = schedule.describe().splitlines()
    assert lines[0] == "schedule main" and len(lines) == 6
    assert lines[3].split() == ["II", "39-71", "30", "selection_1", "0.0012"]
    assert lines[1].index("epochs") == lines[2].index("1-38")
    assert json.loads(json.dumps(schedule.to_dict()))["phases"][3]["last_epoch"] == 110


def test_quick_of_translation_takes_every_photograph() -> None:
    schedule = load_schedule("quick", "translation")
    assert schedule.name == "quick_translation"
    assert {phase.subset for phase in schedule.phases} == {"total"}
    assert load_schedule("quick_translation", "translation") == schedule
    assert load_schedule("main", "translation").name == "main"
