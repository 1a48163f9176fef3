"""Takes nvcc's place where a GPU is imitated: Jittor's kernels are compiled for the host by g++.

    nvcc.py NVCC ARGUMENTS...

Whatever is no kernel goes on to that NVCC as it is: Jittor's own libraries, and questions.
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
    """The compiler's exit code."""
    nvcc, *asked = arguments
    source = next((a for a in asked if re.search(r"/jit/[^/]*\.cc$", a)), None)
    if source is None:
        os.execv(nvcc, [nvcc, *asked])
    flags = list(flags_of_host(asked))
    compiler = next(a for a in asked if a.startswith("-ccbin")).partition("=")[2]
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "kernel.ii"
        # launches may come out of macros: they are looked for in what the preprocessor has left
        compiling = [a for a in flags if a != source and not a.startswith(("-l", "-L", "-Wl"))]
        del compiling[compiling.index("-o") : compiling.index("-o") + 2]
        command = [compiler, "-E", "-P", "-x", "c++", *compiling, "-include", str(HEADER), source]
        done = subprocess.run([*command, "-o", str(whole)])
        if done.returncode:
            return done.returncode
        whole.write_text(launches_as_loops(whole.read_text()))
        flags[flags.index(source)] = str(whole)
        # Jittor looks at seven algorithms in a list of six: nvcc's host code reads past its end,
        # and GCC may take such a loop for endless
        optimising = ["-O2", "-fno-aggressive-loop-optimizations"]
        return subprocess.run([compiler, *optimising, "-x", "c++", *flags]).returncode


def launches_as_loops(source: str) -> str:
    """The source with every launch of a kernel as a loop over its threads."""
    loop = r"for (imitated::Launch launch_(\2); launch_.more(); launch_.next()) \1("
    return LAUNCH.sub(loop, source)


def flags_of_host(arguments: Sequence[str]) -> Iterator[str]:
    """nvcc's arguments as g++ takes them."""
    given = iter(arguments)
    for argument in given:
        if argument == "-Xcompiler":
            yield next(given)
        elif argument == "-Xlinker":
            yield f"-Wl,{next(given)}"
        elif argument == "-x":
            next(given)
        elif not argument.startswith(("--", "-ccbin", "-arch=", "-code=")):
            yield argument


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
