"""The files that python -m tools.dev.benchmark writes, and those that it keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.dev import benchmark


def test_rows_and_plot_do_not_replace_files_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"model": "spade", "axis": "width", "value": 256, "seconds": 1.0}
    rows = [row | {"axis": axis} for axis in ("width", "batch", "classes")]
    measured = []

    def measure(arguments: object) -> list[dict[str, object]]:
        measured.append(arguments)
        return rows

    monkeypatch.setattr(benchmark, "measure_growth", measure)
    table, plot = tmp_path / "new/rows.json", tmp_path / "plot.svg"
    flags = ["growth", "--json", str(table), "--plot", str(plot)]
    for _ in range(2):
        assert benchmark.main(flags) == 0
    assert json.loads(table.read_text()) == rows and "<svg" in plot.read_text()
    for path, flag in ((table, "--json"), (plot, "--plot")):
        content = path.read_text()
        path.write_text("mine")
        capsys.readouterr()
        assert benchmark.main(flags) == 2
        assert f"name another file with {flag}" in capsys.readouterr().err
        assert path.read_text() == "mine"
        path.write_text(content)
    assert len(measured) == 2  # the error precedes any measurement
