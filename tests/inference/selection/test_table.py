"""The table layout -> run, as users edit it."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.selection.table import ImageTable, read_table
from options.errors import UserError

STEMS = ["a", "b", "caf\u00e9"]


def read(tmp_path: Path, text: str) -> ImageTable:
    path = tmp_path / "table.json"
    path.write_text(text, encoding="utf-8")
    return read_table(path, STEMS, ["one", "two"])


def test_both_forms(tmp_path: Path) -> None:
    plain = read(tmp_path, '{"b": "two"}')
    assert (plain.runs, plain.seeds) == ({"b": "two"}, {})
    # macOS writes names in NFD
    full = read(tmp_path, '{"about": 1, "table": {"cafe\u0301": "one"}, "seeds": {"a": 7}}')
    assert (full.runs, full.seeds) == ({"caf\u00e9": "one"}, {"a": 7})
    empty = read(tmp_path, "{}")
    assert (empty.runs, empty.seeds) == ({}, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"x": "one", "y": "one"}', "expected stems of the layouts, got 2 others (x, y)"),
        ('{"a": "three"}', "expected one or two for each layout, got 'three' for a"),
        ('{"a": 1}', "expected one or two for each layout, got '1' for a"),
        ('{"a": "one", "a": "two"}', "expected each layout once, got a twice"),
        ('{"table": {"b": "one", "b": "one"}}', "expected each layout once, got b twice"),
        ('{"caf\u00e9": "one", "cafe\u0301": "two"}', "expected each layout once, got caf"),
        ('{"table": {}, "seeds": {"x": 1}}', "expected stems of the layouts, got 1 others (x)"),
        ('{"table": {}, "seeds": {"a": -1}}', "expected seeds from 0 to 4294967295, got '-1' for"),
        ('{"table": {}, "seeds": {"a": true}}', "expected seeds from 0 to"),
        ('{"table": {}, "seeds": [1]}', "expected seeds by the stems of layouts"),
        ("[]", 'expected a table {"stem": "run"}, got list'),
        ('{"a": "one"', "expected JSON, got"),
        ("", "expected JSON, got"),
    ],
)
def test_a_faulty_table_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    message = str(error.value)
    assert words in message and "\n" not in message
    assert message.startswith(f"{tmp_path}/table.json: ")
