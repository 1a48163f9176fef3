"""Writes docs/fidelity.md from what the golden tests measured.

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

PAGE = Path(__file__).resolve().parents[2] / "docs" / "fidelity.md"
SECTIONS = {
    "out": "forward, largest absolute difference",
    "grad": "gradients, worst relative in norm",
    "after": "state after, worst relative in norm",
}
HEAD = """# Fidelity: how far from the published mathematics

Every row is a test that runs the project's layer or network and compares it with a PyTorch
reference written from the papers (`tests/reference`), number for number: the outputs in training
and in evaluation mode, the gradients of all parameters and inputs, and what a pass leaves behind
(running statistics, the vectors of spectral norm, parameters after five steps of both sides with
TTUR Adam). Allowed are 1e-4 absolute in the outputs and 1e-3 relative in norm in gradients and
states. Measured on a CPU by the tests named, which fail beyond those limits; nothing here was
measured on a GPU.

Made by `python -m tests.reference.write_fidelity` (its docstring has the two commands).

"""


def read_rows(path: Path) -> Iterator[tuple[str, str, dict[str, float]]]:
    """(file, test, differences) of each test that recorded any, in the order of the run."""
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
    """The page's text."""
    lines = [f"| module | case | {' | '.join(SECTIONS.values())} |", "|---|---|---|---|---|"]
    for module, title, found in read_rows(path):
        cells = [f"{found[key]:.1e}" if key in found else "" for key in SECTIONS]
        lines.append(f"| {module} | {title} | {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_text(PAGE, write_page(Path(sys.argv[1])))
