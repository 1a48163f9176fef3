"""Replaces nvcc for the imitated GPU: g++ compiles Jittor's kernels for the host.

    nvcc.py NVCC ARGUMENTS...

Everything else, such as Jittor's own libraries and `--version`, goes unchanged to NVCC.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

HEADER = Path(__file__).with_name("kernels.h")
# name<<<blocks, threads>>>( or name<type><<<blocks, threads>>>(
LAUNCH = re.compile(r"([\w:]+(?:<[^<>;{}]*>)?)\s*<<<(.*?)>>>\s*\(", re.DOTALL)


def main(arguments: Sequence[str]) -> int:
    """Returns the compiler's exit code."""
    nvcc, *given = arguments
    source = next((a for a in given if re.search(r"/jit/[^/]*\.cc$", a)), None)
    if source is None:
        os.execv(nvcc, [nvcc, *given])
    flags = list(flags_of_host(given))
    compiler = next(a for a in given if a.startswith("-ccbin")).partition("=")[2]
    with tempfile.TemporaryDirectory() as folder:
        kernel = Path(folder) / "kernel.ii"
        # macros may contain launches, so the preprocessor runs first
        compiling = [a for a in flags if a != source and not a.startswith(("-l", "-L", "-Wl"))]
        del compiling[compiling.index("-o") : compiling.index("-o") + 2]
        command = [compiler, "-E", "-P", "-x", "c++", *compiling, "-include", str(HEADER), source]
        done = subprocess.run([*command, "-o", str(kernel)])
        if done.returncode:
            return done.returncode
        kernel.write_text(launches_as_loops(kernel.read_text()))
        flags[flags.index(source)] = str(kernel)
        # Jittor reads seven entries of a list of six; GCC may turn such a loop into an endless one
        optimizing = ["-O2", "-fno-aggressive-loop-optimizations"]
        return subprocess.run([compiler, *optimizing, "-x", "c++", *flags]).returncode


def launches_as_loops(source: str) -> str:
    """Replace every kernel launch in the source with a loop over its threads."""
    loop = r"for (imitated::Launch launch_(\2); launch_.more(); launch_.next()) \1("
    return LAUNCH.sub(loop, source)


def flags_of_host(arguments: Sequence[str]) -> Iterator[str]:
    """Translate nvcc's arguments for g++."""
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "-Xcompiler":
            yield next(remaining)
        elif argument == "-Xlinker":
            yield f"-Wl,{next(remaining)}"
        elif argument == "-x":
            next(remaining)
        elif not argument.startswith(("--", "-ccbin", "-arch=", "-code=")):
            yield argument


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
