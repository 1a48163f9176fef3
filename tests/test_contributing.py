"""A generator is added as CONTRIBUTING describes, in a copy of the project, and trained."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.tiny import write_dataset, write_schedule

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("options", "runtime", "data", "models", "weights", "metrics", "inference", "training")

NETWORK = '''"""A toy: one convolution on the layout."""

from __future__ import annotations

import jittor as jt
from jittor import nn

from models.layers.convolution import Conv2d
from models.layouts.layout import Layout


class ToyGenerator(nn.Module):
    def __init__(self, *, layout_channels: int):
        super().__init__()
        self.last = Conv2d(layout_channels, 3, 3, padding=1)

    def execute(self, layout: Layout) -> jt.Var:
        return jt.tanh(self.last(layout.one_hot()))
'''
METHOD = '''"""The toy as a method."""

from __future__ import annotations

from typing import final

import jittor as jt
from jittor import nn

from models.gans.base import Method
from models.layouts.layout import Content
from models.networks.toy import ToyGenerator


@final
class ToyMethod(Method):
    def noise_shape(self, count: int) -> tuple[int, ...] | None:
        return None

    def create_generator(self) -> nn.Module:
        return ToyGenerator(layout_channels=self.layout_channels)

    def run_generator(self, content: Content, style: jt.Var | None, noise: jt.Var | None) -> jt.Var:
        return self.networks["generator"](content)
'''


def add_line(path: Path, after: str, line: str) -> None:
    """Insert a line after the one that begins with `after`."""
    lines = path.read_text().splitlines()
    (place,) = (number for number, text in enumerate(lines, 1) if text.startswith(after))
    path.write_text("\n".join([*lines[:place], line, *lines[place:], ""]))


def steps_of(title: str) -> list[str]:
    """The files that the numbered steps of a section of CONTRIBUTING name first."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    section = text.split(f"## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"^\d\. `([\w/.]+)`", section, re.MULTILINE)


def test_a_toy_generator_takes_the_steps_of_contributing(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, project / name, ignore=ignored)
    shutil.copy(REPOSITORY / "train.py", project)
    (project / "models/networks/toy.py").write_text(NETWORK)
    (project / "models/gans/toy.py").write_text(METHOD)
    changes = {
        "options/generators.py": ("GENERATORS: dict", '    "toy": GeneratorSpec(4, 8, "none"),'),
        "models/gans/__init__.py": ("METHODS: dict", '    "toy": ToyMethod,'),
    }
    steps = steps_of("Adding a generator")
    assert set(changes) <= set(steps) and len(steps) <= 3
    for name, (after, line) in changes.items():
        add_line(project / name, after, line)
    add_line(
        project / "models/gans/__init__.py",
        "from models.gans.tsit",
        "from models.gans.toy import ToyMethod",
    )
    schedule = write_schedule(tmp_path / "tiny.txt", "I 1 2 total 1e-3")
    data = write_dataset(tmp_path / "data", pairs=2, tests=1)
    command = [sys.executable, "train.py", "--data", str(data), "--schedule", str(schedule)]
    command += ["--generator", "toy", "--name", "toy", "--results-path", str(tmp_path / "results")]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "results/toy/submission/t0.jpg").is_file()


def test_a_kind_of_dataset_takes_three_files() -> None:
    steps = steps_of("Adding a kind of dataset")
    assert len(steps) <= 3 and all((REPOSITORY / name).is_file() for name in steps)
