"""Programs under an imitated GPU: the GPU that they see, and user errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from options.errors import UserError
from runtime import ROOT
from runtime.cuda import CudaBackend, Driver, Toolkit
from runtime.cuda_home import CudaHome
from tools.dev import imitate_gpu
from tools.dev.imitate_gpu import backend_without_driver, compile_stub_library, imitation

# The requests of the set-up, Jittor and the memory measurement.
QUESTIONS = """
import ctypes
from tools.dev.benchmarks.gpu_memory import PeakMemory
from runtime.cuda import ask_driver
driver = ask_driver()
assert (driver.version, driver.devices) == ((13, 0), ("imitated GPU 0",)), driver
lib = ctypes.CDLL(None)
number, memory, sizes = ctypes.c_int(), ctypes.c_void_p(), (ctypes.c_size_t * 2)()
for attribute, expected in ((75, 9), (76, 0)):
    lib.cuDeviceGetAttribute(ctypes.byref(number), attribute, 0)
    assert number.value == expected
assert lib.cudaGetDeviceCount(ctypes.byref(number)) == 0 and number.value == 1
with PeakMemory() as peak:
    assert lib.cudaMalloc(ctypes.byref(memory), ctypes.c_size_t(3 << 20)) == 0
    assert ctypes.string_at(memory, 9) == b"\\xff" * 9, "new memory must be NaN"
    import time; time.sleep(0.1)
assert peak.megabytes == 3, peak.megabytes
lib.cudaMemGetInfo(ctypes.byref(sizes, 0), ctypes.byref(sizes, 8))
assert sizes[1] == 1 << 29 and (5 << 19) < sizes[1] - sizes[0] < (7 << 19)
assert lib.cudaFree(memory) == 0
assert lib.cudaMalloc(ctypes.byref(memory), ctypes.c_size_t(1 << 30)) == 2, "more than the GPU has"
assert lib.cudaLaunchKernel() == 98, "a kernel of nvcc cannot run"
"""

# A process under mpirun sees only the GPU of its rank.
RANKS = """
import os, sys
from runtime.cuda import ask_driver, gpu_of_rank
environment = {**os.environ, "OMPI_COMM_WORLD_LOCAL_RANK": sys.argv[1]}
os.environ["CUDA_VISIBLE_DEVICES"] = gpu_of_rank(environment)
assert ask_driver().devices == (f"imitated GPU {sys.argv[2]}",), ask_driver()
"""


@pytest.fixture
def toolkit(tmp_path: Path) -> Toolkit:
    """A CUDA 13 toolkit whose nvcc prints its arguments."""
    nvcc = tmp_path / "cuda/bin/nvcc"
    nvcc.parent.mkdir(parents=True)
    (tmp_path / "cuda/include").mkdir()
    nvcc.write_text('#!/bin/sh\necho "$@"\n')
    nvcc.chmod(0o755)
    return Toolkit(nvcc, (13, 0), (9, 19))


@pytest.fixture
def backend(toolkit: Toolkit, tmp_path: Path) -> CudaBackend:
    """The backend with a CUDA home."""
    home = CudaHome(tmp_path / "home", {}, {})
    return CudaBackend("cuda13-0", toolkit, Driver((13, 0), ("none",)), {}, home)


def test_the_backend_needs_no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toolkit = Toolkit(Path("/cuda/bin/nvcc"), (12, 2), (8, 9))
    monkeypatch.setattr(imitate_gpu, "find_toolkits", lambda environ, home: [toolkit])
    backend = backend_without_driver({}, tmp_path)
    assert isinstance(backend, CudaBackend) and backend.toolkit == toolkit
    with pytest.raises(UserError, match="only CUDA 13"):
        imitation(backend, tmp_path, 16)
    monkeypatch.setattr(imitate_gpu, "find_toolkits", lambda environ, home: [])
    with pytest.raises(UserError, match="no nvcc found"):
        backend_without_driver({}, tmp_path)


def test_a_program_sees_a_gpu_with_the_given_memory(
    backend: CudaBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imitate_gpu, "backend_without_driver", lambda environ, home: backend)
    monkeypatch.setattr("tools.dev.imitate_gpu.own_folder", lambda home: tmp_path / "own")
    monkeypatch.chdir(ROOT)

    def python(code: str) -> list[str]:
        return ["--gib", "0.5", sys.executable, "-c", code]

    assert imitate_gpu.main(python(QUESTIONS)) == 0
    assert imitate_gpu.main(python("raise SystemExit(7)")) == 7
    check = "import os; raise SystemExit('IMITATED_GPU_WITHOUT_PRODUCTS' in os.environ)"
    assert imitate_gpu.main(python(check)) == 0
    assert imitate_gpu.main(["--without-products", *python(check)]) == 1
    for rank, gpu in (("0", "0"), ("1", "1"), ("2", "0")):
        assert imitate_gpu.main(["--gpus", "2", *python(RANKS), rank, gpu]) == 0
    # created once and atomically
    (folder,) = (tmp_path / "own").iterdir()
    assert {entry.name for entry in folder.iterdir()} == {"bin", "gpu.so", "include"}
    printed = subprocess.run([folder / "bin/nvcc", "--version"], capture_output=True, text=True)
    assert printed.stdout == "--version\n"


def test_a_launch_has_no_effect_in_the_build(backend: CudaBackend, tmp_path: Path) -> None:
    path = compile_stub_library(tmp_path / "cuda", backend)
    code = "import ctypes; assert ctypes.CDLL(None).cudaLaunchKernel() == 0"
    environment = {"LD_PRELOAD": str(path), "PATH": os.environ["PATH"]}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_a_failed_compilation_leaves_no_files(
    backend: CudaBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    for name in ("device.c", "libraries.c"):
        (sources / name).write_text("no C\n")
    monkeypatch.setattr(imitate_gpu, "SOURCES", sources)
    with pytest.raises(UserError, match="gcc cannot compile"):
        imitation(backend, tmp_path / "own", 16)
    assert not list((tmp_path / "own").iterdir())


def test_a_user_error_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imitate_gpu, "find_toolkits", lambda environ, home: [])
    assert imitate_gpu.main(["true"]) == 2
    assert capsys.readouterr().err.startswith("error: no nvcc found")
    assert imitate_gpu.main([]) == 2
    assert "expected a program, got none" in capsys.readouterr().err
    for wrong in (["--gpus", "0"], ["--gpus", "17"], ["--gib", "0"]):
        assert imitate_gpu.main([*wrong, "true"]) == 2
        assert "expected 1 to 16 GPUs" in capsys.readouterr().err
