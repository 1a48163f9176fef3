"""Writes docs/fidelity.md from the measurements of the golden tests.

bash tools/run_tests.sh tests/models --junitxml=measured.xml
.venv/bin/python -m tests.reference.write_fidelity measured.xml
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from data.files import write_text
from runtime import ROOT

PAGE = ROOT / "docs" / "fidelity.md"
SECTIONS = {
    "out": "forward, largest absolute difference",
    "grad": "gradients, worst relative in norm",
    "after": "state after, worst relative in norm",
}
HEAD = """# Fidelity to the published mathematics

Each row is a test that runs one layer or network of this project and compares it with a PyTorch
reference written from the papers (`tests/reference`). It compares the outputs in training and
evaluation mode, the gradients of all parameters and inputs, and the state after a pass: running
statistics, the vectors of spectral norm, and parameters after five steps of generator and
discriminator with TTUR Adam. The limits are 1e-4 absolute for outputs and 1e-3 relative in norm for
gradients and states; the tests fail beyond them. All numbers were measured on a CPU, none on a GPU.

`python -m tests.reference.write_fidelity` writes this page; its docstring has the two commands.

"""


def read_rows(path: Path) -> Iterator[tuple[str, str, dict[str, float]]]:
    """(module, title, differences) of each test that recorded any, in the order of the run."""
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        found = {
            str(entry.get("name")): float(str(entry.get("value")))
            for entry in case.iter("property")
            if entry.get("name") in SECTIONS
        }
        if found:
            module = str(case.get("classname")).rpartition("tests.models.")[2]
            yield module.replace("test_", ""), _title(str(case.get("name"))), found


def _title(name: str) -> str:
    match = re.fullmatch(r"test_(\w+?)(?:\[(.*)\])?", name)
    assert match is not None
    words = match[1].replace("_as_published", "").replace("as_published", "").replace("_", " ")
    return " ".join(filter(None, (words, match[2]))) or "all"


def write_page(path: Path) -> str:
    """The text of the page, from a JUnit XML file."""
    lines = [f"| module | case | {' | '.join(SECTIONS.values())} |", "|---|---|---|---|---|"]
    for module, title, found in read_rows(path):
        cells = [f"{found[key]:.1e}" if key in found else "" for key in SECTIONS]
        lines.append(f"| {module} | {title} | {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_text(PAGE, write_page(Path(sys.argv[1])))
