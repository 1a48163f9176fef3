"""The build without a GPU: its route, its stand-in, and what it says."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from options.errors import UserError
from tools import cuda_build
from tools.cuda import CudaRoute, Toolkit
from tools.cuda_build import compile_stand_in, last_error, route_without_driver


def test_the_route_is_that_of_a_driver_that_knows_the_toolkit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolkit = Toolkit(Path("/cuda/bin/nvcc"), (12, 2), (8, 9))
    monkeypatch.setattr(cuda_build, "find_toolkits", lambda environ, home: [toolkit])
    route = route_without_driver({}, tmp_path)
    assert isinstance(route, CudaRoute) and route.toolkit == toolkit
    monkeypatch.setattr(cuda_build, "find_toolkits", lambda environ, home: [])
    with pytest.raises(UserError, match="no nvcc found"):
        route_without_driver({}, tmp_path)


def test_the_stand_in_has_memory_and_launches_nothing(tmp_path: Path) -> None:
    path = compile_stand_in(tmp_path)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    code = (
        "import ctypes; lib = ctypes.CDLL(None); count = ctypes.c_int(); "
        "assert lib.cudaGetDeviceCount(ctypes.byref(count)) == 0 and count.value == 1; "
        "memory = ctypes.c_void_p(); "
        "assert lib.cudaMalloc(ctypes.byref(memory), ctypes.c_size_t(8)) == 0 and memory.value; "
        "assert ctypes.string_at(memory, 8) == bytes(8); "
        "assert lib.cudaLaunchKernel() == 0 and lib.cudaFree(memory) == 0"
    )
    done = subprocess.run(
        ["python3", "-c", code], env={"LD_PRELOAD": str(path), "PATH": "/usr/bin:/usr/local/bin"}
    )
    assert done.returncode == 0
    algorithms = (ctypes.c_int * 10)(*[7] * 10)
    count = ctypes.c_int()
    library = ctypes.CDLL(str(path))
    pointers = [ctypes.c_void_p() for _ in range(5)]
    library.cudnnGetConvolutionForwardAlgorithm_v7(
        *pointers, 1, ctypes.byref(count), ctypes.byref(algorithms)
    )
    assert count.value == 1 and algorithms[0] == algorithms[1] == 0


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
    monkeypatch.setattr(cuda_build, "find_toolkits", lambda environ, home: [toolkit])
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


def test_the_compilers_first_complaint_is_shown() -> None:
    output = "Compiling\n\x1b[31mcufft.h:57: fatal error: no such file\x1b[0m\nerror: and more\nend"
    assert last_error(output) == "cufft.h:57: fatal error: no such file"
    assert last_error("") == "no output"
