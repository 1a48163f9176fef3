"""The build without a GPU: what is compiled, and what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import cuda_build
from tools.cuda import Toolkit


@pytest.mark.parametrize(
    ("python", "code", "says"),
    [
        ("import sys; print('x.cu(3): error: no such name'); sys.exit(1)", 1, "no such name"),
        ('print(\'BUILT ["/nowhere", ["cudnn"]]\')', 1, "cudnn did not load"),
        ("print('BUILT [\"/nowhere\", []]')", 0, "compiled, linked and loaded"),
        ("print('please run again')", 1, "please run again"),
    ],
)
def test_what_became_of_the_build_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    python: str,
    code: int,
    says: str,
) -> None:
    toolkit = Toolkit(Path("/cuda/bin/nvcc"), (12, 2), (8, 9))
    monkeypatch.setattr("tools.imitate_gpu.find_toolkits", lambda environ, home: [toolkit])
    monkeypatch.setattr("tools.set_up.own_folder", lambda home: tmp_path)
    monkeypatch.setattr(cuda_build, "IMPORT", python)
    assert cuda_build.main([]) == code
    assert says in capsys.readouterr().out
    assert (tmp_path / "cuda_build.log").is_file()


def test_kernels_are_compiled_in_the_precision_that_is_asked_for_and_in_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cuda_build, "build", lambda capability: {"PATH": os.environ["PATH"]})
    asked: list[list[str]] = []
    programs = iter(["", "import sys; sys.exit(1)", "import time; time.sleep(60)"])
    real = subprocess.Popen

    def starts(command: list[str], **named: Any) -> subprocess.Popen:
        asked.append(command)
        return real([sys.executable, "-c", next(programs)], **named)

    monkeypatch.setattr(subprocess, "Popen", starts)
    for code in (0, 1):
        assert cuda_build.main(["--kernels", "--precision", "bfloat16"]) == code
    assert asked[0][-2:] == ["--precision", "bfloat16"]
    assert cuda_build.main(["--kernels", "--minutes", "0.002"]) == 1
    assert "the same command goes on" in capsys.readouterr().out
    assert asked[-1][-2:] == ["--precision", "float32"]
    monkeypatch.setattr(cuda_build, "build", lambda capability: None)
    assert cuda_build.main(["--kernels"]) == 1 and len(asked) == 3
