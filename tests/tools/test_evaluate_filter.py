"""python -m tools.evaluate_filter: its counts, and planted faults that the filter must find."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data.cleaning.decisions import RULES
from data.cleaning.evaluation import MEASURE_OF, _auc, evaluate
from data.cleaning.faults import COPIES, FAULTS
from options.errors import UserError
from tests.data.cleaning.scenes import write_scenes
from tools.evaluate_filter import main


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    known = {rule.measure for rule in RULES} | {"layout_similarity"}
    assert set(MEASURE_OF.values()) <= known


def test_planted_faults_are_found(dataset: Path) -> None:
    found = evaluate(dataset, rounds=1, workers=1)
    rows = {row.fault: row for row in found.rows}
    assert set(rows) == set(MEASURE_OF)
    for fault, least in (
        ("swapped", 0.95), ("shifted", 0.9), ("mirrored", 0.9), ("relabeled", 0.85),
        ("speckled", 0.95), ("striped", 0.95), ("backlit", 0.95), ("duplicate", 0.95),
        ("retaken", 0.95),
    ):  # fmt: skip
        assert rows[fault].measure_auc >= least, rows[fault]
    assert rows["shifted"].injected == 12 and rows["duplicate"].injected == 24
    assert rows["shifted"].recall > 0.9 and rows["shifted"].precision > 0.8
    assert found.clean_out_of_1 <= 0.05 and found.clean_backlit <= 0.05
    assert "shifted" in found.text() and "without faults:" in found.text()


def test_the_same_seed_gives_the_same_numbers(dataset: Path) -> None:
    one, two = (
        evaluate(dataset, rounds=1, workers=workers, faults=["striped"]) for workers in (1, 2)
    )
    assert one == two


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--faults", "blurred"], "--faults: expected some of"),
        (["--share", "0.7"], "--share: expected a number between 0 and 0.5"),
        (["--count", "10"], "expected 40 pairs or more"),
        (["--rounds", "x"], "--rounds: expected an integer, got 'x'"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(
    dataset: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    assert main(["--input_path", str(dataset), *flags]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and words in captured.err.splitlines()[0]


def test_synthetic_landscapes_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--count", "40", "--size", "48", "64", "--rounds", "1", "--faults", "speckled"]
    assert main([*flags, "--json", "--workers", "2"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pairs"] == 40 and report["rows"][0]["fault"] == "speckled"
    assert report["rows"][0]["measure_auc"] > 0.95


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected photos and labels"):
        evaluate(tmp_path)
