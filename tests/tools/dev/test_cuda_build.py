"""The CUDA build without a GPU: its result and its report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runtime.cuda import Toolkit
from tools.dev import cuda_build


@pytest.mark.parametrize(
    ("python", "code", "message"),
    [
        ("import sys; print('x.cu(3): error: no such name'); sys.exit(1)", 1, "no such name"),
        ('print(\'BUILT ["/nowhere", ["cudnn"]]\')', 1, "cudnn did not load"),
        ("print('BUILT [\"/nowhere\", []]')", 0, "compiled, linked and loaded"),
        ("print('please run again')", 1, "please run again"),
    ],
)
def test_the_result_of_the_build_is_reported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    python: str,
    code: int,
    message: str,
) -> None:
    toolkit = Toolkit(Path("/cuda/bin/nvcc"), (12, 2), (8, 9))
    monkeypatch.setattr("tools.dev.imitate_gpu.find_toolkits", lambda environ, home: [toolkit])
    monkeypatch.setattr("tools.dev.cuda_build.own_folder", lambda home: tmp_path)
    monkeypatch.setattr(cuda_build, "IMPORT", python)
    assert cuda_build.main([]) == code
    assert message in capsys.readouterr().out
    assert (tmp_path / "cuda_build.log").is_file()


def test_kernels_are_compiled_in_the_requested_precision_and_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cuda_build, "build", lambda capability: {"PATH": os.environ["PATH"]})
    commands: list[list[str]] = []
    programs = iter(["", "import sys; sys.exit(1)", "import time; time.sleep(60)"])
    original = subprocess.Popen

    def start(command: list[str], **named: Any) -> subprocess.Popen:
        commands.append(command)
        return original([sys.executable, "-c", next(programs)], **named)

    monkeypatch.setattr(subprocess, "Popen", start)
    for code in (0, 1):
        assert cuda_build.main(["--kernels", "--precision", "bfloat16"]) == code
    assert commands[0][-2:] == ["--precision", "bfloat16"]
    assert cuda_build.main(["--kernels", "--minutes", "0.002"]) == 1
    assert "the same command resumes" in capsys.readouterr().out
    assert commands[-1][-2:] == ["--precision", "float32"]
    monkeypatch.setattr(cuda_build, "build", lambda capability: None)
    assert cuda_build.main(["--kernels"]) == 1 and len(commands) == 3
