"""Compiles and links Jittor's CUDA build on this machine; no GPU and no driver are needed.

    python -m tools.cuda_build                  Jittor's core and its five libraries
    python -m tools.cuda_build --kernels        also every kernel of `tools.doctor --gpu`
    python -m tools.cuda_build --kernels --precision bfloat16        ... of its 16-bit products

It takes the route of the set-up, as if a driver were there, with a cache of its own. Where there is
no GPU, a stand-in leaves out what one would compute: this shows that nvcc compiles and links
everything, never that a number is right. That is shown by `python -m tools.doctor --gpu` on a GPU,
and as far as it goes by `python -m tools.imitate_gpu`.
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

from options.run import Precision
from tools import set_up
from tools.arguments import ToolParser, exit_codes
from tools.cuda_home import write_home
from tools.imitate_gpu import compile_stand_in, route_without_driver

ROOT = Path(__file__).resolve().parents[1]

# Everything that Jittor builds and links at its import; a library that did not load is None.
# Ends at once: without a GPU there is nothing to give back, and the stand-in upsets what would.
IMPORT = """
import json, os
import jittor as jt
from jittor import compile_extern as built
names = ("cublas", "cudnn", "curand", "cufft", "cusparse", "cub_ops")
missing = [name for name in names if not getattr(built, name, None)]
print("BUILT " + json.dumps([jt.compiler.cache_path, missing]), flush=True)
os._exit(0)
"""


@exit_codes(stopped="stopped; what is compiled is kept, and the same command goes on from there")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 where something did not compile or link, 2 for what the user must mend."""
    parser = ToolParser("cuda_build", __doc__)
    parser.add_argument("--kernels", action="store_true", help="also the project's own kernels")
    parser.add_argument(
        "--precision", choices=get_args(Precision), default="float32", help="of those kernels"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=45.0,
        help="stop the kernels after so long; what is compiled is kept",
    )
    parser.add_argument(
        "--capability", type=int, default=90, help="of the card to compile for, 90 for 9.0"
    )
    arguments = parser.parse_args(argv)
    environment = build(arguments.capability)
    if environment is None:
        return 1
    if not arguments.kernels:
        return 0
    return compile_kernels(environment, arguments.precision, arguments.minutes)


def build(capability: int) -> dict[str, str] | None:
    """Compile and link, and say what there is then; what to start a program with, None if not."""
    before, _ = set_up.environment_of_user()
    set_up.check_python_side(before)
    home = set_up.jittor_home(before)
    route = route_without_driver(before, home)
    print(f"route {route.name}: {route.toolkit.nvcc}")
    if route.home:
        write_home(route.home)
        print(f"CUDA home: {route.home.folder}")
    own = set_up.own_folder(home)
    own.mkdir(parents=True, exist_ok=True)
    environment = before | set_up.settings_for(before, route, set_up.place_onednn(home), own)
    environment |= {
        "cache_name": f"{set_up.CACHE_PREFIX}build-{route.name}-{capability}",
        "cuda_archs": str(capability),
        "LD_PRELOAD": str(compile_stand_in(own, route)),
        "log_silent": "0",
    }
    started = time.monotonic()
    first = [sys.executable, "-c", IMPORT]
    # after a change of flags Jittor's first import only asks for another one, and exits with 0
    for _ in range(3):
        said = subprocess.run(first, cwd=own, env=environment, capture_output=True, text=True)
        if said.returncode or "BUILT " in said.stdout:
            break
    seconds = time.monotonic() - started
    line = next((x for x in said.stdout.splitlines() if x.startswith("BUILT ")), None)
    log = own / "cuda_build.log"
    log.write_text(said.stdout + said.stderr)
    if said.returncode or line is None:
        reason = set_up.telling_line(said.stdout + said.stderr)
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
    """Compile every kernel in that precision; the exit code, 1 also where time was too short."""
    print("kernels:", flush=True)
    command = [sys.executable, "-m", "tools.gpu_check", "--compile-only", "--precision", precision]
    environment = environment | {"log_silent": "1"}
    # of its own group: the compilers that it has started end with it
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        return process.wait(60 * minutes)
    except subprocess.TimeoutExpired:
        print(
            f"STOPPED after {minutes:g} minutes: what is compiled is kept, and the same command "
            "goes on from there; --minutes gives it more time"
        )
        return 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
