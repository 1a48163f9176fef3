from __future__ import annotations

import pytest

from options.errors import UserError, gpu_fault, gpu_without_room, list_names


def test_is_a_value_error_that_keeps_its_line() -> None:
    error = UserError("--classes takes a whole number: 'x' is not; write --classes 29")
    assert isinstance(error, ValueError)
    assert str(error).startswith("--classes takes")


# As Jittor 1.3.11 words them.
OPERATOR = (
    "[f executor.cc:686]\nExecute fused operator(450/1436) failed.\n[Reason]: \x1b[38;5;1m[f "
)


@pytest.mark.parametrize(
    ("said", "shown"),
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
def test_a_gpu_without_room_is_told_in_one_line(said: str, shown: str) -> None:
    line = gpu_without_room(RuntimeError(OPERATOR + said))
    assert line and shown in line and "smaller batches" in line
    assert line.isprintable()


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("CUDA error at /x/y.cc:12  code=700( cudaErrorIllegalAddress ) sync", "IllegalAddress"),
        ("CUDA error at y.cc:12 code=14( CUBLAS_STATUS_INTERNAL_ERROR ) gemm", "INTERNAL_ERROR"),
        ("CUDA error at y.cc:1 code=8( CUDNN_STATUS_EXECUTION_FAILED ) conv", "EXECUTION_FAILED"),
    ],
)
def test_a_fault_of_the_gpu_is_told_in_one_line(said: str, name: str) -> None:
    line = gpu_fault(RuntimeError(OPERATOR + said))
    assert line and name in line and line.isprintable()
    assert gpu_without_room(RuntimeError(said)) is None


@pytest.mark.parametrize(
    "said",
    [
        "shapes do not match",
        "CUDA error at y.cc:12  code=9( CUDNN_STATUS_NOT_SUPPORTED ) conv",
        "Unable to find cudaErrors",
    ],
)
def test_what_is_neither_is_left_alone(said: str) -> None:
    assert gpu_fault(RuntimeError(said)) is None
    assert gpu_without_room(RuntimeError(said)) is None


def test_ten_names_at_most_are_listed() -> None:
    assert list_names([]) == ""
    assert list_names(str(n) for n in range(10)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert list_names(str(n) for n in range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
    assert list_names(["a", "b", "c"], most=1) == "a and 2 more"
