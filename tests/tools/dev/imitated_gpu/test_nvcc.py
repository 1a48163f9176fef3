"""Kernels compiled for the host: launches as loops, and arguments for g++."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tools.dev.imitated_gpu import nvcc

INCLUDE = Path("/usr/local/cuda/include")
needs_headers = pytest.mark.skipif(
    not (INCLUDE / "cuda_bf16.h").is_file(), reason="needs CUDA's headers"
)
# Every thread adds its number to a bin, updates the maximum, and writes its place in a plane.
KERNEL = """
#define CONFIGURATION dim3(3, 2), dim3(4, 8)
__launch_bounds__(32) __global__ void fill(int* bins, float* most, float* plane, float half) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    int number = y * blockDim.x * gridDim.x + x;
    atomicAdd(bins + number % 5, number);
    int bits = __float_as_int(number * half);
    atomicMax((int*)most, bits);
    plane[number] += __half2float(__float2half(number + 0.1f));
}
template <class T> __global__ void twice(T* values) { values[threadIdx.x] *= 2; }
extern "C" void run(int* bins, float* most, float* plane) {
    fill<<<CONFIGURATION>>>(bins, most, plane, 0.5f);
    twice<int> <<<1, 5, 0, 0>>>(bins);
}
"""


def test_launches_become_loops() -> None:
    loop = "for (imitated::Launch launch_({}); launch_.more(); launch_.next()) {}("
    source = nvcc.launches_as_loops("f<<<a, b>>>(x); if (c) g<int, 3> <<<1,2,0,s>>>\n(y);")
    assert (
        source == f"{loop.format('a, b', 'f')}x); if (c) {loop.format('1,2,0,s', 'g<int, 3>')}y);"
    )
    assert nvcc.launches_as_loops("a = b << c; d >>= 1;") == "a = b << c; d >>= 1;"


def test_arguments_are_translated_for_gcc() -> None:
    arguments = "-std=c++17 -Xcompiler -fPIC -Xlinker -rpath=x -x cu --use_fast_math -ccbin=g++ -Ii"
    arguments += " -o f -arch=compute_90 -code=sm_90,compute_90 -w"
    expected = "-std=c++17 -fPIC -Wl,-rpath=x -Ii -o f -w"
    assert list(nvcc.flags_of_host(arguments.split())) == expected.split()


def test_other_files_go_to_nvcc(tmp_path: Path) -> None:
    command = [sys.executable, nvcc.__file__, "/bin/echo", "-c", "/cache/obj_files/op.cc"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "-c /cache/obj_files/op.cc\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A kernel where Jittor puts one."""
    path = tmp_path / "jit/fill_op.cc"
    path.parent.mkdir()
    path.write_text(KERNEL)
    return path


def arguments_for(source: Path) -> list[str]:
    """Jittor's arguments for a kernel."""
    flags = f"-std=c++17 -Xcompiler -fPIC -shared -x cu -ccbin={shutil.which('g++')} -w -I{INCLUDE}"
    return ["/no/nvcc", str(source), *flags.split(), "-o", str(source.with_suffix(".so"))]


@needs_headers
def test_a_kernel_runs_on_the_host(source: Path) -> None:
    assert nvcc.main(arguments_for(source)) == 0
    bins, most = np.zeros(5, np.int32), np.zeros(1, np.float32)
    plane = np.zeros(192, np.float32)
    library = ctypes.CDLL(str(source.with_suffix(".so")))
    library.run(*(ctypes.c_void_p(array.ctypes.data) for array in (bins, most, plane)))
    numbers = np.arange(192)
    assert bins.tolist() == [2 * int(numbers[i::5].sum()) for i in range(5)]
    assert most.tolist() == [95.5]
    np.testing.assert_array_equal(plane, (numbers + np.float32(0.1)).astype(np.float16))


@needs_headers
@pytest.mark.parametrize(("change", "message"), [
    ("__syncthreads();", "threads that wait"), ("", "more than 1024")
])  # fmt: skip
def test_unsupported_kernels_end_the_program(source: Path, change: str, message: str) -> None:
    text = KERNEL.replace("int x =", f"{change} int x =")
    source.write_text(text if change else text.replace("dim3(4, 8)", "dim3(1025)"))
    assert nvcc.main(arguments_for(source)) == 0
    code = f"import ctypes; ctypes.CDLL({str(source.with_suffix('.so'))!r}).run(None, None, None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode < 0 and message in done.stderr


def test_the_compilers_exit_code_is_returned(source: Path) -> None:
    source.write_text("#include <no_such_header.h>\n")
    assert nvcc.main(arguments_for(source)) == 1
