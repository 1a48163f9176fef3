"""The program that runs others with an imitated GPU: what they find, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from options.errors import UserError
from tools import imitate_gpu
from tools.cuda import CudaRoute, Driver, Toolkit
from tools.cuda_home import CudaHome
from tools.imitate_gpu import compile_stand_in, imitation, route_without_driver

ROOT = Path(__file__).resolve().parents[2]

# What the set-up, Jittor and the measurement of memory ask a GPU.
QUESTIONS = """
import ctypes
from tools.benchmarks.gpu_memory import PeakMemory
from tools.cuda import ask_driver
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
    assert ctypes.string_at(memory, 9) == b"\\xff" * 9, "what nobody has written must show"
    import time; time.sleep(0.1)
assert peak.megabytes == 3, peak.megabytes
lib.cudaMemGetInfo(ctypes.byref(sizes, 0), ctypes.byref(sizes, 8))
assert sizes[1] == 1 << 29 and (5 << 19) < sizes[1] - sizes[0] < (7 << 19)
assert lib.cudaFree(memory) == 0
assert lib.cudaMalloc(ctypes.byref(memory), ctypes.c_size_t(1 << 30)) == 2, "more than the card has"
assert lib.cudaLaunchKernel() == 98, "a kernel of nvcc cannot be computed"
"""

# A process under mpirun sees the card of its rank, and that one alone.
RANKS = """
import os, sys
from tools.cuda import ask_driver, card_of_rank
environment = {**os.environ, "OMPI_COMM_WORLD_LOCAL_RANK": sys.argv[1]}
os.environ["CUDA_VISIBLE_DEVICES"] = card_of_rank(environment)
assert ask_driver().devices == (f"imitated GPU {sys.argv[2]}",), ask_driver()
"""


@pytest.fixture
def toolkit(tmp_path: Path) -> Toolkit:
    """A toolkit of CUDA 13 that tells its arguments."""
    nvcc = tmp_path / "cuda/bin/nvcc"
    nvcc.parent.mkdir(parents=True)
    (tmp_path / "cuda/include").mkdir()
    nvcc.write_text('#!/bin/sh\necho "$@"\n')
    nvcc.chmod(0o755)
    return Toolkit(nvcc, (13, 0), (9, 19))


@pytest.fixture
def route(toolkit: Toolkit, tmp_path: Path) -> CudaRoute:
    """The route through a home."""
    home = CudaHome(tmp_path / "home", {}, {})
    return CudaRoute("cuda13-0", toolkit, Driver((13, 0), ("none",)), {}, home)


def test_the_route_is_that_of_a_driver_that_knows_the_toolkit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolkit = Toolkit(Path("/cuda/bin/nvcc"), (12, 2), (8, 9))
    monkeypatch.setattr(imitate_gpu, "find_toolkits", lambda environ, home: [toolkit])
    route = route_without_driver({}, tmp_path)
    assert isinstance(route, CudaRoute) and route.toolkit == toolkit
    with pytest.raises(UserError, match="CUDA 13 alone"):
        imitation(route, tmp_path, 16)
    monkeypatch.setattr(imitate_gpu, "find_toolkits", lambda environ, home: [])
    with pytest.raises(UserError, match="no nvcc found"):
        route_without_driver({}, tmp_path)


def test_a_program_finds_a_gpu_with_that_much_memory(
    route: CudaRoute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imitate_gpu, "route_without_driver", lambda environ, home: route)
    monkeypatch.setattr("tools.set_up.own_folder", lambda home: tmp_path / "own")
    monkeypatch.chdir(ROOT)

    def ask(code: str) -> list[str]:
        return ["--gib", "0.5", sys.executable, "-c", code]

    assert imitate_gpu.main(ask(QUESTIONS)) == 0
    assert imitate_gpu.main(ask("raise SystemExit(7)")) == 7
    told = "import os; raise SystemExit('IMITATED_GPU_WITHOUT_PRODUCTS' in os.environ)"
    assert imitate_gpu.main(ask(told)) == 0
    assert imitate_gpu.main(["--without-products", *ask(told)]) == 1
    for rank, card in (("0", "0"), ("1", "1"), ("2", "0")):
        assert imitate_gpu.main(["--gpus", "2", *ask(RANKS), rank, card]) == 0
    # made once, whole
    (folder,) = (tmp_path / "own").iterdir()
    assert {entry.name for entry in folder.iterdir()} == {"bin", "gpu.so", "include"}
    asked = subprocess.run([folder / "bin/nvcc", "--version"], capture_output=True, text=True)
    assert asked.stdout == "--version\n"


def test_without_results_a_launch_is_left_out(route: CudaRoute, tmp_path: Path) -> None:
    path = compile_stand_in(tmp_path / "cuda", route)
    code = "import ctypes; assert ctypes.CDLL(None).cudaLaunchKernel() == 0"
    environment = {"LD_PRELOAD": str(path), "PATH": os.environ["PATH"]}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_a_stand_in_that_does_not_compile_leaves_nothing(
    route: CudaRoute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    for name in ("device.c", "libraries.c"):
        (sources / name).write_text("no C\n")
    monkeypatch.setattr(imitate_gpu, "SOURCES", sources)
    with pytest.raises(UserError, match="does not compile"):
        imitation(route, tmp_path / "own", 16)
    assert not list((tmp_path / "own").iterdir())


def test_what_the_user_must_mend_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imitate_gpu, "find_toolkits", lambda environ, home: [])
    assert imitate_gpu.main(["true"]) == 2
    assert capsys.readouterr().err.startswith("error: no nvcc found")
    assert imitate_gpu.main([]) == 2
    assert "name the program to run" in capsys.readouterr().err
    for wrong in (["--gpus", "0"], ["--gpus", "17"], ["--gib", "0"]):
        assert imitate_gpu.main([*wrong, "true"]) == 2
        assert "--gpus must be 1 to 16" in capsys.readouterr().err
