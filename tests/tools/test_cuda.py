"""The choice of a CUDA route: every machine there may be, made of folders and small scripts."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from options.errors import UserError
from tools import cuda_home
from tools.cuda import (
    CudaRoute,
    Driver,
    Refusal,
    Toolkit,
    ask_driver,
    card_of_rank,
    choose_cuda,
    find_toolkits,
)
from tools.cuda_home import SHIMS, WHEELS, write_home

NVCC = Path("/toolkit/bin/nvcc")
DRIVER = Driver((12, 4), ("NVIDIA A100",))
DRIVER_13 = Driver((13, 0), ("NVIDIA H200",))
NO_DRIVER = Refusal("no NVIDIA driver answers", "install it")


def make_toolkit(root: Path, release: str, cudnn: str = "", headers: bool = True) -> Path:
    """A folder that looks like a CUDA toolkit, with a script for its nvcc."""
    for folder in ("bin", "include", "lib64"):
        (root / folder).mkdir(parents=True)
    nvcc = root / "bin/nvcc"
    nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V{release}.1'\n")
    nvcc.chmod(0o755)
    if headers:
        (root / "include/cuda_runtime.h").touch()
    if cudnn:
        major, minor, patch = cudnn.split(".")
        (root / "include/cudnn_version.h").write_text(
            f"#define CUDNN_MAJOR {major}\n#define CUDNN_MINOR {minor}\n"
            f"#define CUDNN_PATCHLEVEL {patch}\n#define CUDNN_VERSION (CUDNN_MAJOR * 1000)\n"
        )
        (root / f"lib64/libcudnn.so.{major}").touch()
    return nvcc


@pytest.mark.parametrize(
    ("version", "cudnn"),
    [((10, 2), (7, 6)), ((10, 2), (8, 2)), ((11, 8), (8, 9)), ((12, 2), (8, 9))],
)
def test_what_jittor_knows_is_taken(version: tuple[int, ...], cudnn: tuple[int, ...]) -> None:
    route = choose_cuda([Toolkit(NVCC, version, cudnn)], DRIVER)
    assert isinstance(route, CudaRoute)
    assert route.environment["nvcc_path"] == str(NVCC)
    assert "NVIDIA A100" in route.line


def test_two_versions_do_not_share_a_cache() -> None:
    routes = [choose_cuda([Toolkit(NVCC, v, (8, 9))], DRIVER) for v in ((11, 8), (12, 2))]
    names = {route.name for route in routes if isinstance(route, CudaRoute)}
    assert len(names) == 2


@pytest.mark.parametrize(
    ("toolkits", "driver", "reason"),
    [
        (
            [Toolkit(NVCC, (13, 0), None)],
            NO_DRIVER,
            "nvcc 13.0 found, but no NVIDIA driver",
        ),
        (
            [Toolkit(NVCC, (14, 0), (10, 0))],
            Driver((14, 0), ("NVIDIA H200",)),
            "nvcc 14.0 found, but CUDA 13 is the newest",
        ),
        ([], NO_DRIVER, "no nvcc, and no NVIDIA driver answers"),
        ([], DRIVER, "no nvcc found for NVIDIA A100"),
        (
            [Toolkit(NVCC, (13, 0), (9, 1))],
            DRIVER,
            "nvcc 13.0 found, but the driver knows CUDA 12.4 at most",
        ),
        (
            [Toolkit(NVCC, (9, 2), (7, 0))],
            DRIVER,
            "nvcc 9.2 found, but Jittor builds with",
        ),
        ([Toolkit(NVCC, (12, 2), None)], DRIVER, "nvcc 12.2 found, but no cuDNN beside it"),
        ([Toolkit(NVCC, (12, 2), (9, 1))], DRIVER, "nvcc 12.2 found, but cuDNN 9.1 beside it"),
        ([Toolkit(NVCC, (11, 8), (7, 6))], DRIVER, "nvcc 11.8 found, but cuDNN 7.6 beside it"),
        (
            [Toolkit(NVCC, (12, 2), (8, 9))],
            Driver((11, 4), ("Tesla T4",)),
            "nvcc 12.2 found, but the driver knows CUDA 11.4 at most",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(
    toolkits: list[Toolkit], driver: Driver | Refusal, reason: str
) -> None:
    answer = choose_cuda(toolkits, driver)
    assert isinstance(answer, Refusal)
    assert answer.reason.startswith(reason)
    assert answer.mend


def test_an_older_toolkit_beside_a_newer_one_is_taken() -> None:
    older = Toolkit(Path("/older/bin/nvcc"), (12, 1), (8, 9))
    route = choose_cuda([Toolkit(NVCC, (13, 0), (9, 1)), older], DRIVER)
    assert isinstance(route, CudaRoute)
    assert route.toolkit == older


def test_toolkits_are_read_from_their_files(tmp_path: Path) -> None:
    nvcc = make_toolkit(tmp_path / "cuda", "12.2", "8.9.7")
    assert find_toolkits({"nvcc_path": str(nvcc)}, tmp_path) == [Toolkit(nvcc, (12, 2), (8, 9, 7))]
    by_path = find_toolkits({"PATH": str(nvcc.parent)}, tmp_path)
    assert by_path[0] == Toolkit(nvcc, (12, 2), (8, 9, 7))
    by_home = find_toolkits({"PATH": "", "CUDA_HOME": str(tmp_path / "cuda")}, tmp_path)
    assert by_home[0].nvcc == nvcc


def test_the_download_of_jittor_comes_first(tmp_path: Path) -> None:
    own = make_toolkit(tmp_path / ".cache/jittor/jtcuda/cuda12.2_cudnn8_linux", "12.2", "8.8.0")
    other = make_toolkit(tmp_path / "cuda", "13.0")
    found = find_toolkits({"PATH": str(other.parent)}, tmp_path)
    assert [toolkit.nvcc for toolkit in found[:2]] == [own, other]


def test_a_wrapper_without_headers_or_a_broken_nvcc_is_no_toolkit(tmp_path: Path) -> None:
    wrapper = make_toolkit(tmp_path / "wrapper", "12.2", headers=False)
    assert find_toolkits({"nvcc_path": str(wrapper)}, tmp_path) == []
    broken = make_toolkit(tmp_path / "broken", "12.2")
    broken.write_text("#!/bin/sh\nexit 1\n")
    assert find_toolkits({"nvcc_path": str(broken)}, tmp_path) == []
    assert find_toolkits({"nvcc_path": ""}, tmp_path) == []
    assert find_toolkits({"nvcc_path": str(tmp_path / "missing")}, tmp_path) == []


def test_headers_of_cudnn_without_its_library_do_not_count(tmp_path: Path) -> None:
    nvcc = make_toolkit(tmp_path / "cuda", "12.2", "8.9.7")
    (tmp_path / "cuda/lib64/libcudnn.so.8").unlink()
    machine = "x86_64" if platform.machine() == "x86_64" else "aarch64"
    if any(Path(f"/usr/lib/{machine}-linux-gnu").glob("libcudnn.so*")):
        pytest.skip("this machine has a cuDNN of its own")
    assert find_toolkits({"nvcc_path": str(nvcc)}, tmp_path)[0].cudnn is None


@pytest.mark.parametrize(
    ("rank", "visible", "card"),
    [("0", "3,5", "3"), ("1", "3, 5", "5"), ("2", "3,5", "3"), ("0", "", None), (None, "3", None)],
)
def test_processes_of_mpirun_take_the_cards_in_turn(
    rank: str | None, visible: str, card: str | None
) -> None:
    local = {} if rank is None else {"OMPI_COMM_WORLD_LOCAL_RANK": rank}
    assert card_of_rank({"CUDA_VISIBLE_DEVICES": visible, **local}) == card


def test_the_driver_of_this_machine_answers_or_is_refused() -> None:
    answer = ask_driver()
    if isinstance(answer, Driver):
        assert answer.devices and answer.version >= (10,)
    else:
        assert "driver" in answer.reason and answer.mend


def make_library(root: Path, name: str, version: str, folder: str = "lib") -> None:
    """A header and a shared object, as NVIDIA's wheels hold them."""
    for part in ("include", folder):
        (root / part).mkdir(parents=True, exist_ok=True)
    numbers = zip(("MAJOR", "MINOR", "PATCHLEVEL"), version.split("."), strict=True)
    middle = "" if name == "cudnn" else "VER_"
    lines = [f"#define {name.upper()}_{middle}{part} {number}" for part, number in numbers]
    text = "\n".join(lines).replace("PATCHLEVEL", "PATCHLEVEL" if name == "cudnn" else "PATCH")
    (root / f"include/{name}.h").write_text(text + "\n")
    (root / f"{folder}/lib{name}.so.{version.split('.')[0]}").touch()


def make_wheels(root: Path, cudnn: str = "9.19.0") -> Path:
    """An environment with a Python's NVIDIA wheels for CUDA 13; returns its bin/."""
    nvidia = root / "lib/python3.11/site-packages/nvidia"
    for name in WHEELS:
        if name != "cudnn":
            make_library(nvidia / "cu13", name, "13.1.0")
    (nvidia / "cu13/include/cudalibxt.h").touch()
    make_library(nvidia / "cudnn", "cudnn", cudnn)
    for part in ("ops", "cnn"):
        (nvidia / f"cudnn/lib/libcudnn_{part}.so.{cudnn.split('.')[0]}").touch()
    (root / "bin").mkdir()
    return root / "bin"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of our own without wheels, and a machine without CUDA libraries."""
    folder = tmp_path / "venv"
    monkeypatch.setattr(cuda_home, "environment_folder", lambda: folder)
    monkeypatch.setattr("tools.cuda.SYSTEM_INCLUDE", tmp_path / "no/include")
    monkeypatch.setattr("tools.cuda.SYSTEM_LIBRARIES", tmp_path / "no/lib")
    monkeypatch.setattr("sys.prefix", str(folder))
    monkeypatch.setattr("sys.base_prefix", str(folder))
    return folder


def cuda_13_route(tmp_path: Path, wheels: Path) -> CudaRoute | Refusal:
    nvcc = tmp_path / "cuda/bin/nvcc"
    if not nvcc.exists():
        make_toolkit(tmp_path / "cuda", "13.0")
        (tmp_path / "cuda/include/cccl/nv").mkdir(parents=True)
        (tmp_path / "cuda/lib64/libcudart.so.13").touch()
    environ = {"nvcc_path": str(nvcc), "PATH": str(wheels)}
    return choose_cuda(find_toolkits(environ, tmp_path), DRIVER_13)


def test_cuda_13_with_the_wheels_of_a_python_on_the_path(tmp_path: Path, environment: Path) -> None:
    route = cuda_13_route(tmp_path, make_wheels(tmp_path / "torch"))
    assert isinstance(route, CudaRoute) and route.home is not None
    assert route.toolkit.cudnn == (9, 19, 0)
    assert {library.name for library in route.toolkit.libraries} == set(WHEELS)
    assert route.home.folder.parent == environment and not environment.exists()
    assert route.environment["nvcc_path"] == str(route.home.folder / "bin/nvcc")
    assert "cuDNN 9.19.0 on NVIDIA H200" in route.line
    write_home(route.home)
    home = route.home.folder
    for name in (
        "include/cuda_runtime.h",
        "include/cublas.h",
        "include/cudalibxt.h",
        "include/cudnn.h",
        "include/cub/cub.cuh",
        "include/npp.h",
        "include/nv",
        "real/cudnn.h",
        "lib64/libcudart.so",
        "lib64/libcublas.so",
        "lib64/libcublas.so.13",
        "lib64/libcudnn_ops_infer.so",
        "lib64/libcudnn_cnn_train.so",
    ):
        assert (home / name).exists(), name
    assert '"../real/cudnn.h"' in (home / "include/cudnn.h").read_text()
    assert "CUDNN_MAJOR" in (home / "real/cudnn.h").read_text()
    assert [path.name for path in environment.iterdir()] == [home.name]
    # a second time is the same, and nothing is written
    stamp = home.stat().st_mtime_ns
    write_home(route.home)
    assert home.stat().st_mtime_ns == stamp


def test_cuda_13_with_everything_beside_the_toolkit(tmp_path: Path, environment: Path) -> None:
    nvcc = make_toolkit(tmp_path / "cuda", "13.0")
    for name in WHEELS:
        make_library(tmp_path / "cuda", name, "9.1.0", "lib64")
    (tmp_path / "cuda/include/npp.h").touch()
    toolkits = find_toolkits({"nvcc_path": str(nvcc), "PATH": ""}, tmp_path)
    route = choose_cuda(toolkits, DRIVER_13)
    assert isinstance(route, CudaRoute) and route.home is not None
    assert "include/npp.h" in route.home.links


def test_another_cudnn_is_another_home_and_another_cache(tmp_path: Path, environment: Path) -> None:
    routes = [
        cuda_13_route(tmp_path, make_wheels(tmp_path / cudnn, cudnn))
        for cudnn in ("9.19.0", "9.20.0")
    ]
    names = {route.name for route in routes if isinstance(route, CudaRoute)}
    assert len(names) == 2


def test_cuda_13_names_the_wheels_that_are_missing(tmp_path: Path, environment: Path) -> None:
    wheels = make_wheels(tmp_path / "torch")
    nvidia = tmp_path / "torch/lib/python3.11/site-packages/nvidia"
    (nvidia / "cudnn/lib/libcudnn.so.9").unlink()
    (nvidia / "cu13/include/curand.h").unlink()
    answer = cuda_13_route(tmp_path, wheels)
    assert isinstance(answer, Refusal)
    assert answer.reason.startswith("nvcc 13.0 found, but no cudnn, curand")
    assert answer.mend.endswith("-m pip install nvidia-cudnn-cu13 nvidia-curand")


def test_cuda_13_wants_cudnn_9(tmp_path: Path, environment: Path) -> None:
    answer = cuda_13_route(tmp_path, make_wheels(tmp_path / "torch", "8.9.7"))
    assert isinstance(answer, Refusal)
    assert "cuDNN 8.9.7 with it, not 9" in answer.reason


@pytest.mark.parametrize(
    ("given", "received"),
    [
        (["-std=c++14", "a b.cu"], ["-std=c++17", "a b.cu"]),
        (["-arch=compute_80", "-code=sm_90"], ["-arch=compute_80", "-code=sm_90"]),
        (["-arch=compute_90", "-code=sm_90"], ["-arch=compute_90", "-code=sm_90,compute_90"]),
    ],
)
def test_the_compiler_of_the_home_gets_what_cuda_13_needs(
    tmp_path: Path, environment: Path, given: list[str], received: list[str]
) -> None:
    route = cuda_13_route(tmp_path, make_wheels(tmp_path / "torch"))
    assert isinstance(route, CudaRoute) and route.home is not None
    write_home(route.home)
    (tmp_path / "cuda/bin/nvcc").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    said = subprocess.run([route.home.nvcc, *given], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == received


def test_convolutions_of_16_bits_add_up_in_float32(tmp_path: Path) -> None:
    for name in ("include", "real"):
        (tmp_path / name).mkdir()
    (tmp_path / "include/cudnn.h").write_text((SHIMS / "cudnn.h").read_text())
    (tmp_path / "real/cudnn.h").write_text(
        """
        #pragma once
        #define CUDNN_MAJOR 9
        enum cudnnStatus_t { CUDNN_STATUS_NOT_SUPPORTED };
        enum cudnnConvolutionMode_t { CUDNN_CROSS_CORRELATION };
        enum cudnnDataType_t {
            CUDNN_DATA_FLOAT, CUDNN_DATA_DOUBLE, CUDNN_DATA_HALF, CUDNN_DATA_BFLOAT16 };
        typedef cudnnDataType_t* cudnnConvolutionDescriptor_t;
        inline cudnnStatus_t cudnnSetConvolutionNdDescriptor(
            cudnnConvolutionDescriptor_t d, int, const int[], const int[], const int[],
            cudnnConvolutionMode_t, cudnnDataType_t type) {
            *d = type;
            return cudnnStatus_t();
        }
        """
    )
    # the call as Jittor makes it
    (tmp_path / "main.cpp").write_text(
        """
        #include <cudnn.h>
        int main() {
            const int one[] = {1, 1};
            int expected[] = {CUDNN_DATA_FLOAT, CUDNN_DATA_DOUBLE, CUDNN_DATA_FLOAT,
                              CUDNN_DATA_FLOAT};
            for (int type = 0; type < 4; type++) {
                cudnnDataType_t sums;
                cudnnSetConvolutionNdDescriptor(&sums, 2, one, one, one,
                    CUDNN_CROSS_CORRELATION, cudnnDataType_t(type));
                if (sums != expected[type]) return 1 + type;
            }
            return 0;
        }
        """
    )
    program = tmp_path / "program"
    command = ["g++", "-std=c++17", f"-I{tmp_path / 'include'}", "-o", str(program)]
    subprocess.run([*command, str(tmp_path / "main.cpp")], check=True)
    assert subprocess.run([program]).returncode == 0


def test_a_home_that_cannot_be_written_is_said(tmp_path: Path, environment: Path) -> None:
    route = cuda_13_route(tmp_path, make_wheels(tmp_path / "torch"))
    assert isinstance(route, CudaRoute) and route.home is not None
    environment.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written"):
        write_home(route.home)
