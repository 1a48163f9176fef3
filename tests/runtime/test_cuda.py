"""The choice of a CUDA backend, on imitated machines of folders and small scripts."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from options.errors import UserError
from runtime import cuda_home
from runtime.cuda import (
    CudaBackend,
    Driver,
    Toolkit,
    Unavailable,
    ask_driver,
    choose_cuda,
    find_toolkits,
    gpu_of_rank,
)
from runtime.cuda_home import SHIMS, WHEELS, write_home

NVCC = Path("/toolkit/bin/nvcc")
DRIVER = Driver((12, 4), ("NVIDIA A100",))
DRIVER_13 = Driver((13, 0), ("NVIDIA H200",))
NO_DRIVER = Unavailable("no NVIDIA driver answers", "install it")


def make_toolkit(root: Path, release: str, cudnn: str = "", headers: bool = True) -> Path:
    """A folder like a CUDA toolkit, with a script as its nvcc."""
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
def test_a_version_that_jittor_supports_is_used(
    version: tuple[int, ...], cudnn: tuple[int, ...]
) -> None:
    backend = choose_cuda([Toolkit(NVCC, version, cudnn)], DRIVER)
    assert isinstance(backend, CudaBackend)
    assert backend.environment["nvcc_path"] == str(NVCC)
    assert "NVIDIA A100" in backend.line


def test_two_versions_do_not_share_a_cache() -> None:
    backends = [choose_cuda([Toolkit(NVCC, v, (8, 9))], DRIVER) for v in ((11, 8), (12, 2))]
    names = {backend.name for backend in backends if isinstance(backend, CudaBackend)}
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
            "nvcc 13.0 found, but the driver supports CUDA 12.4 at most",
        ),
        (
            [Toolkit(NVCC, (9, 2), (7, 0))],
            DRIVER,
            "nvcc 9.2 found, but Jittor needs CUDA 10.2",
        ),
        ([Toolkit(NVCC, (12, 2), None)], DRIVER, "nvcc 12.2 found, but no cuDNN with it"),
        ([Toolkit(NVCC, (12, 2), (9, 1))], DRIVER, "nvcc 12.2 found, but cuDNN 9.1 with it"),
        ([Toolkit(NVCC, (11, 8), (7, 6))], DRIVER, "nvcc 11.8 found, but cuDNN 7.6 with it"),
        (
            [Toolkit(NVCC, (12, 2), (8, 9))],
            Driver((11, 4), ("Tesla T4",)),
            "nvcc 12.2 found, but the driver supports CUDA 11.4 at most",
        ),
    ],
)
def test_an_unusable_version_has_a_reason_and_a_fix(
    toolkits: list[Toolkit], driver: Driver | Unavailable, reason: str
) -> None:
    answer = choose_cuda(toolkits, driver)
    assert isinstance(answer, Unavailable)
    assert answer.reason.startswith(reason)
    assert answer.fix


def test_an_older_toolkit_is_used_instead_of_a_newer_unusable_one() -> None:
    older = Toolkit(Path("/older/bin/nvcc"), (12, 1), (8, 9))
    backend = choose_cuda([Toolkit(NVCC, (13, 0), (9, 1)), older], DRIVER)
    assert isinstance(backend, CudaBackend)
    assert backend.toolkit == older


def test_toolkits_are_read_from_their_files(tmp_path: Path) -> None:
    nvcc = make_toolkit(tmp_path / "cuda", "12.2", "8.9.7")
    assert find_toolkits({"nvcc_path": str(nvcc)}, tmp_path) == [Toolkit(nvcc, (12, 2), (8, 9, 7))]
    by_path = find_toolkits({"PATH": str(nvcc.parent)}, tmp_path)
    assert by_path[0] == Toolkit(nvcc, (12, 2), (8, 9, 7))
    by_home = find_toolkits({"PATH": "", "CUDA_HOME": str(tmp_path / "cuda")}, tmp_path)
    assert by_home[0].nvcc == nvcc


def test_the_download_of_jittor_has_priority(tmp_path: Path) -> None:
    download = make_toolkit(
        tmp_path / ".cache/jittor/jtcuda/cuda12.2_cudnn8_linux", "12.2", "8.8.0"
    )
    other = make_toolkit(tmp_path / "cuda", "13.0")
    found = find_toolkits({"PATH": str(other.parent)}, tmp_path)
    assert [toolkit.nvcc for toolkit in found[:2]] == [download, other]


def test_a_wrapper_without_headers_and_a_broken_nvcc_do_not_count(tmp_path: Path) -> None:
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
        pytest.skip("this machine has its own cuDNN")
    assert find_toolkits({"nvcc_path": str(nvcc)}, tmp_path)[0].cudnn is None


@pytest.mark.parametrize(
    ("rank", "visible", "gpu"),
    [("0", "3,5", "3"), ("1", "3, 5", "5"), ("2", "3,5", "3"), ("0", "", None), (None, "3", None)],
)
def test_processes_of_mpirun_use_the_gpus_in_turn(
    rank: str | None, visible: str, gpu: str | None
) -> None:
    local = {} if rank is None else {"OMPI_COMM_WORLD_LOCAL_RANK": rank}
    assert gpu_of_rank({"CUDA_VISIBLE_DEVICES": visible, **local}) == gpu


def test_the_driver_of_this_machine_answers_or_is_unavailable() -> None:
    answer = ask_driver()
    if isinstance(answer, Driver):
        assert answer.devices and answer.version >= (10,)
    else:
        assert "driver" in answer.reason and answer.fix


def make_library(root: Path, name: str, version: str, folder: str = "lib") -> None:
    """A header and a shared object, as in NVIDIA's wheels."""
    for part in ("include", folder):
        (root / part).mkdir(parents=True, exist_ok=True)
    numbers = zip(("MAJOR", "MINOR", "PATCHLEVEL"), version.split("."), strict=True)
    middle = "" if name == "cudnn" else "VER_"
    lines = [f"#define {name.upper()}_{middle}{part} {number}" for part, number in numbers]
    text = "\n".join(lines).replace("PATCHLEVEL", "PATCHLEVEL" if name == "cudnn" else "PATCH")
    (root / f"include/{name}.h").write_text(text + "\n")
    (root / f"{folder}/lib{name}.so.{version.split('.')[0]}").touch()


def make_wheels(root: Path, cudnn: str = "9.19.0") -> Path:
    """An environment with NVIDIA's wheels for CUDA 13; returns its bin/."""
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
    """Our environment without wheels, on a machine without CUDA libraries."""
    folder = tmp_path / "venv"
    monkeypatch.setattr(cuda_home, "environment_folder", lambda: folder)
    monkeypatch.setattr("runtime.cuda.SYSTEM_INCLUDE", tmp_path / "no/include")
    monkeypatch.setattr("runtime.cuda.SYSTEM_LIBRARIES", tmp_path / "no/lib")
    monkeypatch.setattr("sys.prefix", str(folder))
    monkeypatch.setattr("sys.base_prefix", str(folder))
    return folder


def cuda_13_backend(tmp_path: Path, wheels: Path) -> CudaBackend | Unavailable:
    nvcc = tmp_path / "cuda/bin/nvcc"
    if not nvcc.exists():
        make_toolkit(tmp_path / "cuda", "13.0")
        (tmp_path / "cuda/include/cccl/nv").mkdir(parents=True)
        (tmp_path / "cuda/lib64/libcudart.so.13").touch()
    environ = {"nvcc_path": str(nvcc), "PATH": str(wheels)}
    return choose_cuda(find_toolkits(environ, tmp_path), DRIVER_13)


def test_cuda_13_with_the_wheels_of_a_python_on_the_path(tmp_path: Path, environment: Path) -> None:
    backend = cuda_13_backend(tmp_path, make_wheels(tmp_path / "torch"))
    assert isinstance(backend, CudaBackend) and backend.home is not None
    assert backend.toolkit.cudnn == (9, 19, 0)
    assert {library.name for library in backend.toolkit.libraries} == set(WHEELS)
    assert backend.home.folder.parent == environment and not environment.exists()
    assert backend.environment["nvcc_path"] == str(backend.home.folder / "bin/nvcc")
    assert "cuDNN 9.19.0 on NVIDIA H200" in backend.line
    write_home(backend.home)
    home = backend.home.folder
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
    # the second call writes no file
    stamp = home.stat().st_mtime_ns
    write_home(backend.home)
    assert home.stat().st_mtime_ns == stamp


def test_cuda_13_with_all_libraries_in_the_toolkit(tmp_path: Path, environment: Path) -> None:
    nvcc = make_toolkit(tmp_path / "cuda", "13.0")
    for name in WHEELS:
        make_library(tmp_path / "cuda", name, "9.1.0", "lib64")
    (tmp_path / "cuda/include/npp.h").touch()
    toolkits = find_toolkits({"nvcc_path": str(nvcc), "PATH": ""}, tmp_path)
    backend = choose_cuda(toolkits, DRIVER_13)
    assert isinstance(backend, CudaBackend) and backend.home is not None
    assert "include/npp.h" in backend.home.links


def test_another_cudnn_means_another_home_and_cache(tmp_path: Path, environment: Path) -> None:
    backends = [
        cuda_13_backend(tmp_path, make_wheels(tmp_path / cudnn, cudnn))
        for cudnn in ("9.19.0", "9.20.0")
    ]
    names = {backend.name for backend in backends if isinstance(backend, CudaBackend)}
    assert len(names) == 2


def test_cuda_13_names_the_wheels_that_are_missing(tmp_path: Path, environment: Path) -> None:
    wheels = make_wheels(tmp_path / "torch")
    nvidia = tmp_path / "torch/lib/python3.11/site-packages/nvidia"
    (nvidia / "cudnn/lib/libcudnn.so.9").unlink()
    (nvidia / "cu13/include/curand.h").unlink()
    answer = cuda_13_backend(tmp_path, wheels)
    assert isinstance(answer, Unavailable)
    assert answer.reason.startswith("nvcc 13.0 found, but no cudnn, curand")
    assert answer.fix.endswith("-m pip install nvidia-cudnn-cu13 nvidia-curand")


def test_cuda_13_needs_cudnn_9(tmp_path: Path, environment: Path) -> None:
    answer = cuda_13_backend(tmp_path, make_wheels(tmp_path / "torch", "8.9.7"))
    assert isinstance(answer, Unavailable)
    assert "cuDNN 8.9.7 with it, expected 9" in answer.reason


@pytest.mark.parametrize(
    ("given", "received"),
    [
        (["-std=c++14", "a b.cu"], ["-std=c++17", "a b.cu"]),
        (["-arch=compute_80", "-code=sm_90"], ["-arch=compute_80", "-code=sm_90"]),
        (["-arch=compute_90", "-code=sm_90"], ["-arch=compute_90", "-code=sm_90,compute_90"]),
    ],
)
def test_the_compiler_of_the_home_gets_the_flags_of_cuda_13(
    tmp_path: Path, environment: Path, given: list[str], received: list[str]
) -> None:
    backend = cuda_13_backend(tmp_path, make_wheels(tmp_path / "torch"))
    assert isinstance(backend, CudaBackend) and backend.home is not None
    write_home(backend.home)
    (tmp_path / "cuda/bin/nvcc").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    output = subprocess.run([backend.home.nvcc, *given], capture_output=True, text=True, check=True)
    assert output.stdout.splitlines() == received


def test_convolutions_of_16_bits_accumulate_in_float32(tmp_path: Path) -> None:
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
    # the call that Jittor makes
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


def test_a_read_only_environment_is_an_error(tmp_path: Path, environment: Path) -> None:
    backend = cuda_13_backend(tmp_path, make_wheels(tmp_path / "torch"))
    assert isinstance(backend, CudaBackend) and backend.home is not None
    environment.write_text("a file instead of the folder")
    with pytest.raises(UserError, match="expected a writable folder"):
        write_home(backend.home)
