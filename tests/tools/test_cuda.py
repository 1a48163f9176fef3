"""The choice of a CUDA route: every machine there may be, made of folders and small scripts."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from tools.cuda import (
    CudaRoute,
    Driver,
    Refusal,
    Toolkit,
    ask_driver,
    choose_cuda,
    find_toolkits,
)

NVCC = Path("/toolkit/bin/nvcc")
DRIVER = Driver((12, 4), ("NVIDIA A100",))
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
        ([], NO_DRIVER, "no nvcc, and no NVIDIA driver answers"),
        ([], DRIVER, "no nvcc found for NVIDIA A100"),
        (
            [Toolkit(NVCC, (13, 0), (9, 1))],
            DRIVER,
            "nvcc 13.0 found, but Jittor builds with",
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


def test_the_driver_of_this_machine_answers_or_is_refused() -> None:
    answer = ask_driver()
    if isinstance(answer, Driver):
        assert answer.devices and answer.version >= (10,)
    else:
        assert "driver" in answer.reason and answer.mend
