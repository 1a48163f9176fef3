from __future__ import annotations

from pathlib import Path

import pytest

from data.folders import Pair
from data.selections import (
    read_selection,
    select_pairs,
    selection_path,
    selections_folder,
    subsets_to_make,
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
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
    assert "selection_1.txt is not there" in str(caught.value)


def test_files_that_select_nothing(tmp_path: Path) -> None:
    _write(tmp_path, "selection_1", "# nothing\n")
    with pytest.raises(UserError, match="at least one stem"):
        read_selection(tmp_path, "selection_1")
    _write(tmp_path, "selection_1", "a.jpg\n")
    with pytest.raises(UserError, match=r"none of the 1 .*such as a\.jpg.*without suffix"):
        select_pairs(_pairs("a"), tmp_path, "selection_1")
    selection_path(tmp_path, "selection_1").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(UserError, match="readable UTF-8"):
        read_selection(tmp_path, "selection_1")


def test_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one of total, selection_1, selection_2: selection_3"):
        read_selection(tmp_path, "selection_3")


def test_only_a_dataset_without_any_list_is_cleaned_unasked(tmp_path: Path) -> None:
    wanted = ("total", "selection_2", "selection_1", "selection_2")
    assert subsets_to_make(tmp_path, wanted) == ["selection_2", "selection_1"]
    assert subsets_to_make(tmp_path, ("total",)) == []
    _write(tmp_path, "selection_1", "mine\n")
    assert subsets_to_make(tmp_path, wanted) == []


def test_a_run_s_own_lists_go_before_the_dataset_s(tmp_path: Path) -> None:
    dataset, own = tmp_path / "dataset", tmp_path / "run/selections"
    dataset.mkdir()
    own.mkdir(parents=True)
    (own / "keep.txt").write_text("a\n")
    assert selections_folder(dataset, own) == dataset / "selections"
    _write(dataset / "selections", "selection_1", "a\n")
    assert selections_folder(dataset, own) == dataset / "selections"
    _write(own, "selection_2", "b\n")
    assert selections_folder(dataset, own) == own
