"""Compiles and links Jittor's CUDA build on this machine; no GPU and no driver are needed.

    python -m tools.dev.cuda_build                  Jittor's core and its five libraries
    python -m tools.dev.cuda_build --kernels        also every kernel of `tools.doctor --gpu`
    python -m tools.dev.cuda_build --kernels --precision bfloat16        its 16-bit products

Uses the backend that the set-up would choose with a driver, and a separate cache. A stub library
replaces the driver and skips all computation. The build shows that nvcc compiles and links
everything; it does not check any number. `python -m tools.doctor --gpu` does, on a GPU, and
`python -m tools.dev.imitate_gpu` does within its limits.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from options.groups import Precision
from runtime import ROOT
from runtime.checks import check_python_side
from runtime.core import telling_line
from runtime.cuda_home import write_home
from runtime.machine import jittor_home, own_folder
from runtime.onednn import place_onednn
from runtime.program import ToolParser, exit_codes
from runtime.settings import CACHE_PREFIX, environment_of_user, settings_for
from tools.dev.imitate_gpu import backend_without_driver, compile_stub_library

# Everything that Jittor builds and links at its import; a library that did not load is None.
# Ends at once: Jittor's cleanup at the exit fails with the stub library.
IMPORT = """
import json, os
import jittor as jt
from jittor import compile_extern as built
names = ("cublas", "cudnn", "curand", "cufft", "cusparse", "cub_ops")
missing = [name for name in names if not getattr(built, name, None)]
print("BUILT " + json.dumps([jt.compiler.cache_path, missing]), flush=True)
os._exit(0)
"""


@exit_codes(stopped="stopped; compiled files are kept, and the same command resumes")
def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 1 if a file did not compile or link, 2 for a user error."""
    parser = ToolParser("tools.dev.cuda_build", __doc__)
    parser.add_argument("--kernels", action="store_true", help="also this project's kernels")
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="float32",
        help="precision of the kernels (float32)",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=45.0,
        help="time limit of the kernels (45); compiled files are kept",
    )
    parser.add_argument(
        "--capability",
        type=int,
        default=90,
        help="compute capability to compile for (90, which is 9.0)",
    )
    arguments = parser.parse_args(argv)
    environment = build(arguments.capability)
    if environment is None:
        return 1
    if not arguments.kernels:
        return 0
    return compile_kernels(environment, arguments.precision, arguments.minutes)


def build(capability: int) -> dict[str, str] | None:
    """Compile, link and report; return the environment for programs, None on failure."""
    before, _ = environment_of_user()
    check_python_side(before)
    home = jittor_home(before)
    backend = backend_without_driver(before, home)
    print(f"backend {backend.name}: {backend.toolkit.nvcc}")
    if backend.home:
        write_home(backend.home)
        print(f"CUDA home: {backend.home.folder}")
    own = own_folder(home)
    own.mkdir(parents=True, exist_ok=True)
    environment = before | settings_for(before, backend, place_onednn(home), own)
    environment |= {
        "cache_name": f"{CACHE_PREFIX}build-{backend.name}-{capability}",
        "cuda_archs": str(capability),
        "LD_PRELOAD": str(compile_stub_library(own, backend)),
        "log_silent": "0",
    }
    started = time.monotonic()
    first = [sys.executable, "-c", IMPORT]
    # after a change of flags Jittor's first import exits with 0 and asks for a second one
    for _ in range(3):
        done = subprocess.run(first, cwd=own, env=environment, capture_output=True, text=True)
        if done.returncode or "BUILT " in done.stdout:
            break
    seconds = time.monotonic() - started
    line = next((x for x in done.stdout.splitlines() if x.startswith("BUILT ")), None)
    log = own / "cuda_build.log"
    log.write_text(done.stdout + done.stderr)
    if done.returncode or line is None:
        reason = telling_line(done.stdout + done.stderr)
        print(f"FAILED after {seconds:.0f} s: {reason} (log: {log})")
        return None
    cache, missing = json.loads(line.removeprefix("BUILT "))
    print(f"compiled, linked and loaded in {seconds:.0f} s, in {cache}:")
    for path in sorted(Path(cache).rglob("*.so")):
        if "jit" not in path.parent.name:
            print(f"  {path.name}  {path.stat().st_size / 1e6:.1f} MB")
    if missing:
        print(f"FAILED: {', '.join(missing)} did not load (log: {log})")
        return None
    return environment


def compile_kernels(environment: dict[str, str], precision: Precision, minutes: float) -> int:
    """Compile every kernel in `precision`; return the exit code, 1 also at the time limit."""
    print("kernels:", flush=True)
    command = [sys.executable, "-m", "tools.dev.gpu_check", "--compile-only"]
    command += ["--precision", precision]
    environment = environment | {"log_silent": "1"}
    # a separate process group: its compilers end with it
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        return process.wait(60 * minutes)
    except subprocess.TimeoutExpired:
        print(
            f"STOPPED after {minutes:g} minutes: compiled files are kept, and the same command "
            "resumes; --minutes sets the limit"
        )
        return 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
