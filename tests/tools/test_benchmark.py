"""Where the rows of python -m tools.benchmark are written, and where they are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from options.errors import UserError
from tools import benchmark


def test_rows_and_plot_do_not_replace_a_persons_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"model": "spade", "axis": "width", "value": 256, "seconds": 1.0}
    rows = [row | {"axis": axis} for axis in ("width", "batch", "classes")]
    asked = []
    monkeypatch.setattr(benchmark, "measure_growth", lambda given: asked.append(given) or rows)
    table, plot = tmp_path / "new/rows.json", tmp_path / "plot.svg"
    flags = ["growth", "--json", str(table), "--plot", str(plot)]
    for _ in range(2):
        assert benchmark.main(flags) == 0
    assert json.loads(table.read_text()) == rows and "<svg" in plot.read_text()
    for path in (table, plot):
        content = path.read_text()
        path.write_text("mine")
        # benchmark.main would print it
        assert benchmark.main(flags) == 2
        assert path.read_text() == "mine"
        path.write_text(content)
    assert len(asked) == 2  # told before anything was measured
    with pytest.raises(UserError, match="name another file with --json"):
        benchmark.output_file(plot / "rows.json", "name another file with --json")
