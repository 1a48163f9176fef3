from __future__ import annotations

import csv
import io
import os
import random
import unicodedata
from pathlib import Path

import pytest

from data.folders import Pair
from data.selections import (
    Missed,
    explain_misses,
    find_misses,
    line_to_stem,
    parse_stems,
    read_selection,
    read_stems,
    require_matches,
    select_pairs,
    selection_path,
    selections_folder,
    stem_to_cell,
    stem_to_line,
    subsets_to_make,
    unquote,
    write_stems,
)
from options.errors import UserError


def _write(folder: Path, subset: str, text: str, encoding: str = "utf-8") -> None:
    folder.mkdir(exist_ok=True)
    selection_path(folder, subset).write_bytes(text.encode(encoding))


def _pairs(*stems: str) -> list[Pair]:
    return [Pair(stem, Path(f"{stem}.jpg"), Path(f"{stem}.png")) for stem in stems]


def test_total_without_a_file_is_everything(tmp_path: Path) -> None:
    assert read_selection(tmp_path, "total") is None
    pairs = _pairs("b", "a")
    assert select_pairs(pairs, tmp_path, "total") == pairs


def test_total_with_a_file_is_that_file(tmp_path: Path) -> None:
    _write(tmp_path, "total", "a\n")
    assert read_selection(tmp_path, "total") == {"a"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_comments_spaces_and_unicode(tmp_path: Path, encoding: str) -> None:
    _write(tmp_path, "selection_1", "湖 one\r\n\n# why\n#tag\n  b.c  \n", encoding)
    assert read_selection(tmp_path, "selection_1") == {"湖 one", "#tag", "b.c"}


def test_order_of_the_pairs_is_kept(tmp_path: Path) -> None:
    _write(tmp_path, "selection_2", "c\na\ngone\n")
    chosen = select_pairs(_pairs("c", "b", "a"), tmp_path, "selection_2")
    assert [pair.stem for pair in chosen] == ["c", "a"]


def test_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_selection(tmp_path, "selection_1")
    assert f"python -m tools.filter_dataset --input_path DIR --output_path {tmp_path}" in str(
        caught.value
    )
    assert "selection_1.txt: expected the list of stems of selection_1" in str(caught.value)


def test_lists_without_a_match_are_errors(tmp_path: Path) -> None:
    _write(tmp_path, "selection_1", "# nothing\n")
    with pytest.raises(UserError, match="at least one stem"):
        read_selection(tmp_path, "selection_1")
    _write(tmp_path, "selection_1", "a.jpg\n")
    with pytest.raises(UserError, match=r"1 of 1 names match no pair: 1 with a suffix \(a\.jpg\)"):
        select_pairs(_pairs("a"), tmp_path, "selection_1")
    selection_path(tmp_path, "selection_1").write_bytes(b"a\nb\xff\n")
    with pytest.raises(UserError, match=r"readable UTF-8 text, .* in line 2"):
        read_selection(tmp_path, "selection_1")


def test_other_subsets_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="one of total, selection_1, selection_2, got 'selection_3'"
    ):
        read_selection(tmp_path, "selection_3")


def test_lists_are_made_unasked_only_for_a_dataset_without_any(tmp_path: Path) -> None:
    wanted = ("total", "selection_2", "selection_1", "selection_2")
    assert subsets_to_make(tmp_path, wanted) == ["selection_2", "selection_1"]
    assert subsets_to_make(tmp_path, ("total",)) == []
    _write(tmp_path, "selection_1", "mine\n")
    assert subsets_to_make(tmp_path, wanted) == []


def test_lists_of_the_run_take_precedence_over_the_dataset(tmp_path: Path) -> None:
    dataset, own = tmp_path / "dataset", tmp_path / "run/selections"
    dataset.mkdir()
    own.mkdir(parents=True)
    (own / "keep.txt").write_text("a\n")
    assert selections_folder(dataset, own) == dataset / "selections"
    _write(dataset / "selections", "selection_1", "a\n")
    assert selections_folder(dataset, own) == dataset / "selections"
    _write(own, "selection_2", "b\n")
    assert selections_folder(dataset, own) == own


ODD_NAMES = [
    " a", "a ", "\u3000a\u3000", "\ta", "a\nb", "a\r\nb", "a\rb", "a\x0bb", "a\x85b", "a\u2028b",
    "a\x1cb", "\ufeffa", "a\ufeff", "# a", "#", "#a", '"', '""', '"a"', '"a', 'a"', '"\\n"',
    "a\\nb", "a\\", "\\", "a,b", "a;b", "\udcff\udcfe", "湖\udc80", "湖 \u3000泊", "-a", "~a",
    "'a'", "a\u202fb", "été", "\x7f", "a\tb", " ", "\n", ".a", "a.b.c", "😀", "null", "1", "\u2029",
    '"\\ud800"',
]  # fmt: skip


def _random_name(generator: random.Random) -> str:
    """Return a name as Python reads it from a folder: any bytes except NUL and the slash."""
    kinds = ["ascii", "bytes", "odd"]
    parts = []
    for _ in range(generator.randint(1, 6)):
        kind = generator.choice(kinds)
        if kind == "odd":
            parts.append(generator.choice(ODD_NAMES))
        elif kind == "ascii":
            parts.append(chr(generator.randint(1, 126)))
        else:
            parts.append(os.fsdecode(bytes([generator.randint(128, 255)])))
    name = os.fsdecode(os.fsencode("".join(parts).replace("/", "_")))
    return unicodedata.normalize("NFC", name)


def test_any_name_survives_a_list(tmp_path: Path) -> None:
    generator = random.Random(0)
    names = [*ODD_NAMES, *(_random_name(generator) for _ in range(3000))]
    for name in names:
        line = stem_to_line(name)
        assert line_to_stem(line) == name, ascii(name)
        assert line.encode().decode().splitlines() == [line]
        assert parse_stems(line) == {name}
    path = tmp_path / "list.txt"
    path.write_bytes(write_stems(names).encode())
    assert read_stems(path) == set(names)


def test_any_name_survives_a_table(tmp_path: Path) -> None:
    generator = random.Random(1)
    names = [*ODD_NAMES, *(_random_name(generator) for _ in range(1000))]
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([stem_to_cell(name)] for name in names)
    path = tmp_path / "table.csv"
    path.write_bytes(text.getvalue().encode())
    with path.open(encoding="utf-8", newline="") as file:
        cells = [row[0] for row in csv.reader(file)]
    assert [unquote(cell) for cell in cells] == names
    assert stem_to_cell(" a\n#b") == " a\n#b"


def test_ordinary_names_are_plain_lines() -> None:
    for name in (
        "a",
        "湖 one",
        "a.b (2)",
        "C:\\a",
        "it's",
        "#1",
        "-x",
        'the "lake"',
        "été",
        "a\u3000b",
    ):
        assert stem_to_line(name) == name


def test_lists_of_other_operating_systems() -> None:
    assert parse_stems("a\r\nb\rc\n\n  d \n# e\n#\n") == {"a", "b", "c", "d"}
    assert parse_stems('"a b"\n"a\\u0020"\n') == {"a b", "a "}
    assert parse_stems(unicodedata.normalize("NFD", "été")) == {"été"}


def test_names_without_a_match_are_explained() -> None:
    reasons = explain_misses(
        ["Lake", "a.jpg", "imgs/b.png", "D:\\x\\b", "broken", "gone", "gone2", "gone3", "gone4",
         "b (1)", "b - Copy", "a,0,reason"],
        _pairs("lake", "a", "b"),
        {"broken"},
    )  # fmt: skip
    assert set(reasons) == {
        "4 not in this dataset (gone, gone2, gone3, ...)",
        "3 with another spelling or copy number (Lake, b (1), b - Copy)",
        "2 with a folder (D:\\x\\b, imgs/b.png)",
        "1 with a suffix (a.jpg)",
        "1 of bad pairs (broken)",
        "1 with more than a name on the line (a,0,reason)",
    }
    assert reasons[0].startswith("4 ")


def test_names_without_a_match_are_counted(tmp_path: Path) -> None:
    _write(tmp_path, "selection_1", "a\nb\nc.jpg\nbad\n")
    pairs = _pairs("a", "b", "c")
    assert find_misses(pairs, tmp_path, "total") is None
    missed = find_misses(pairs, tmp_path, "selection_1", {"bad"})
    assert missed is not None and (missed.missed, missed.listed, missed.bad) == (2, 4, 1)
    path = tmp_path / "selection_1.txt"
    assert str(missed).startswith(f"{path}: 2 of 4 names match no pair: 1 ")
    require_matches(missed, 0.25)
    with pytest.raises(UserError, match=r"2 of 4 .* at most 24% \(--list-miss-limit\)") as caught:
        require_matches(missed, 0.24)
    assert "\n" not in str(caught.value)
    _write(tmp_path, "selection_1", "a\n")
    assert find_misses(pairs, tmp_path, "selection_1") is None
    require_matches(Missed(path, 1, 1, (), bad=1), 0)


def test_unreadable_lists_are_errors(tmp_path: Path) -> None:
    path = selection_path(tmp_path, "total")
    path.symlink_to("total.txt")
    with pytest.raises(UserError, match=r"total\.txt: expected .* leads back to itself"):
        read_selection(tmp_path, "total")
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="expected the list of stems of total"):
        read_selection(tmp_path, "total")
