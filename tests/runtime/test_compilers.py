"""Parallel compilation: only with the lock, and with the same results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.settings import environment_of_user

REPOSITORY = Path(__file__).parents[2]

START = """
import ctypes, glob
from runtime.start import start_jittor
start_jittor("cpu")
import jittor as jt
"""
# Whether Jittor compiles through the lock, and the number of threads.
REPORT = """
core, = glob.glob(glob.escape(jt.compiler.cache_path) + "/jittor_core*.so")
hook = ctypes.c_void_p.in_dll(ctypes.CDLL(core), "_ZN6jittor15do_compile_hookE")
print(bool(hook), jt.flags.use_parallel_op_compiler)
"""
# Every operator here is a convolution of the same variable, and each differs from the others.
CONVOLVE = """
jt.set_global_seed(0)
x, weight = jt.random((1, 2, 9, 9)), jt.random((3, 2, 3, 3))
jt.sync_all()
results = [
    jt.nn.conv2d(x, weight, stride=stride, padding=padding)
    for stride in (1, 2, 3) for padding in (1, 2)
]
print(*(repr(float(result.sum().item())) for result in results))
"""


def run(code: str, threads: str | None) -> list[str]:
    environ, _ = environment_of_user()
    environ.pop("use_parallel_op_compiler", None)
    if threads:
        environ["use_parallel_op_compiler"] = threads
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=environ,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("asked", "reported"), [(None, ["False", "1"]), ("0", ["False", "0"]), ("4", ["True", "4"])]
)
def test_several_threads_compile_through_the_lock(asked: str | None, reported: list[str]) -> None:
    assert run(START + REPORT, asked) == reported


def test_several_threads_compile_the_same_operators() -> None:
    results = run(START + CONVOLVE, "4")
    assert len(results) == 6 and results == run(START + CONVOLVE, "1")


def test_without_the_lock_one_thread_compiles(tmp_path: Path) -> None:
    source = tmp_path / "broken.cc"
    source.write_text("broken")
    code = f"""
from pathlib import Path
from runtime import compilers
compilers.SOURCE, compilers.LIBRARY = Path({str(source)!r}), "broken.so"
"""
    assert run(code + START + REPORT, "4") == ["False", "1"]
