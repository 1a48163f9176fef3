"""Errors of packages, of the home folder and of CUDA, as one line each."""

from __future__ import annotations

import pytest

from runtime.failures import (
    broken_package,
    gpu_fault,
    gpu_out_of_memory,
    missing_package,
    no_home,
)

# As Jittor 1.3.11 words them.
OPERATOR = (
    "[f executor.cc:686]\nExecute fused operator(450/1436) failed.\n[Reason]: \x1b[38;5;1m[f "
)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "allocator.cc:31] Unable to alloc cuda device memory for size 2097152\x1b[m\x1b[m",
            "(Unable to alloc cuda device memory for size 2097152)",
        ),
        (
            "mem_info.cc:272]\n*****\nGPU memory is overflow, please reduce your batch_size",
            "(GPU memory is overflow)",
        ),
        (
            "x.cc:128] CUDA error at /cache/op.cc:229  code=4( CUDNN_STATUS_ALLOC_FAILED ) cudnnF",
            "(CUDNN_STATUS_ALLOC_FAILED)",
        ),
        (
            "x.cc:128] CUDA error at op.cc:2  code=2( cudaErrorMemoryAllocation ) cudaMalloc",
            "(cudaErrorMemoryAllocation)",
        ),
    ],
)
def test_a_gpu_out_of_memory_is_one_line(message: str, shown: str) -> None:
    line = gpu_out_of_memory(RuntimeError(OPERATOR + message))
    assert line and shown in line and "smaller batches" in line
    assert line.isprintable()


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("CUDA error at /x/y.cc:12  code=700( cudaErrorIllegalAddress ) sync", "IllegalAddress"),
        ("CUDA error at y.cc:12 code=14( CUBLAS_STATUS_INTERNAL_ERROR ) gemm", "INTERNAL_ERROR"),
        ("CUDA error at y.cc:1 code=8( CUDNN_STATUS_EXECUTION_FAILED ) conv", "EXECUTION_FAILED"),
    ],
)
def test_a_gpu_fault_is_one_line(message: str, name: str) -> None:
    line = gpu_fault(RuntimeError(OPERATOR + message))
    assert line and name in line and line.isprintable()
    assert gpu_out_of_memory(RuntimeError(message)) is None


@pytest.mark.parametrize(
    "message",
    [
        "shapes do not match",
        "CUDA error at y.cc:12  code=9( CUDNN_STATUS_NOT_SUPPORTED ) conv",
        "Unable to find cudaErrors",
    ],
)
def test_any_other_error_is_left_alone(message: str) -> None:
    assert gpu_fault(RuntimeError(message)) is None
    assert gpu_out_of_memory(RuntimeError(message)) is None
    assert no_home(RuntimeError(message)) is None


def test_packages_and_home_are_one_line_with_a_fix() -> None:
    assert "got no numpy. Run `bash train.sh`" in missing_package(ModuleNotFoundError(name="numpy"))
    error = ImportError("libGL.so.1: no\nsuch file", name="cv2", path="/lib/cv2.so")
    line = broken_package(error)
    assert "got cv2 that fails to import (libGL.so.1: no such file, /lib/cv2.so)" in line
    home = no_home(RuntimeError("Could not determine home directory."))
    assert home is not None and home.startswith("HOME: expected a home folder")
