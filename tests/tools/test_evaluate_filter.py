"""python -m tools.evaluate_filter: what it counts, and that the filter finds planted faults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data.cleaning.evaluation import MEASURE_OF, _auc, evaluate
from data.cleaning.faults import COPIES, FAULTS
from data.cleaning.verdicts import RULES
from options.errors import UserError
from tests.data.cleaning.scenes import write_scenes
from tools.evaluate_filter import main


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evaluated") / "set"
    write_scenes(root, 60)
    return root


def test_auc_counts_ties_half() -> None:
    values = np.array([3.0, 1.0, 2.0, 2.0])
    assert _auc(values, np.array([True, False, False, False])) == 1
    assert _auc(values, np.array([False, True, False, False])) == 0
    assert _auc(values, np.array([False, False, True, False])) == pytest.approx(0.5)
    unknown = np.array([np.nan, 1.0, 2.0, -np.inf])
    assert _auc(unknown, np.array([True, False, False, False])) == pytest.approx(1 / 6)


def test_each_fault_has_its_measure() -> None:
    assert {*FAULTS, *COPIES} == set(MEASURE_OF)
    known = {rule.measure for rule in RULES} | {"layout_likeness"}
    assert set(MEASURE_OF.values()) <= known


def test_planted_faults_are_found(drawn: Path) -> None:
    found = evaluate(drawn, rounds=1, workers=1)
    rows = {row.fault: row for row in found.rows}
    assert set(rows) == set(MEASURE_OF)
    for fault, least in (
        ("swapped", 0.95), ("shifted", 0.9), ("mirrored", 0.9), ("relabelled", 0.85),
        ("speckled", 0.95), ("striped", 0.95), ("backlit", 0.95), ("duplicate", 0.95),
        ("retaken", 0.95),
    ):  # fmt: skip
        assert rows[fault].measure_auc >= least, rows[fault]
    assert rows["shifted"].planted == 12 and rows["duplicate"].planted == 24
    assert rows["shifted"].recall > 0.9 and rows["shifted"].precision > 0.8
    assert found.clean_out_of_1 <= 0.05 and found.clean_backlit <= 0.05
    assert "shifted" in found.text() and "without faults:" in found.text()


def test_the_same_seed_gives_the_same_numbers(drawn: Path) -> None:
    one, two = (
        evaluate(drawn, rounds=1, workers=workers, faults=["striped"]) for workers in (1, 2)
    )
    assert one == two


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--faults", "blurred"], "a fault must be one of"),
        (["--share", "0.7"], "share must be in 0..0.5"),
        (["--count", "10"], "needs 40 pairs or more"),
        (["--rounds", "x"], "is no whole number"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(
    drawn: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    assert main(["--input_path", str(drawn), *flags]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and words in captured.err.splitlines()[0]


def test_drawn_landscapes_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--count", "40", "--size", "48", "64", "--rounds", "1", "--faults", "speckled"]
    assert main([*flags, "--json", "--workers", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pairs"] == 40 and told["rows"][0]["fault"] == "speckled"
    assert told["rows"][0]["measure_auc"] > 0.95


def test_a_folder_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected photographs and labels"):
        evaluate(tmp_path)
