"""Computes every operator that networks and training use on two devices and compares them.

    python -m tools.dev.gpu_check                   CUDA against the CPU, forward and backward
    python -m tools.dev.gpu_check --device cpu      the CPU against itself
    python -m tools.dev.gpu_check --compile-only    compiles the CUDA kernels of one precision

A case is a function of arrays. Its outputs, and the gradients of their weighted sum with respect to
every float input, are compared by the largest difference over the largest value. The precisions
that the GPU lacks are skipped. `--compile-only` serves tools.dev.cuda_build: it keeps the
environment as it is, needs no GPU and checks no numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from data.ownership import output_file
from options.errors import UserError
from options.groups import Precision
from runtime.core import telling_line
from runtime.program import ToolParser, exit_codes
from runtime.set_up import Backend, Device, prepare
from runtime.start import check_precision, import_jittor, least_capability

if TYPE_CHECKING:
    from tools.dev.operators.comparison import Comparison


@exit_codes(stopped="stopped; compiled kernels are kept")
def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 1 if a case disagrees or does not compile, 2 for a user error."""
    arguments = _parser().parse_args(argv)
    if arguments.compile_only:
        return compile_kernels(arguments.precision)
    return compare_devices(arguments.device, Path(arguments.json) if arguments.json else None)


def _parser() -> argparse.ArgumentParser:
    parser = ToolParser("tools.dev.gpu_check", __doc__)
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cuda", help="compared with the CPU (cuda)")
    add("--json", metavar="FILE", help="write the comparisons as JSON")
    add("--compile-only", action="store_true", help="compile the CUDA kernels, compare nothing")
    add(
        "--precision", choices=get_args(Precision), default="float32",
        help="of --compile-only (float32)",
    )  # fmt: skip
    return parser


def compare_devices(device: Device, path: Path | None = None) -> int:
    """Compare a device with the CPU; print a line per case and write them to `path`."""
    fix = "name another file with --json"
    folder = output_file(path, fix) if path else None
    backend = prepare(device)
    import_jittor()
    from tools.dev.operators.cases import cases_in
    from tools.dev.operators.comparison import compare, on_device

    cases = itertools.chain.from_iterable(map(cases_in, available_precisions(backend)))
    comparisons = []
    for result in compare(cases, on_device("cpu"), on_device(backend.device)):
        comparisons.append(result)
        status = "ok   " if result.agrees else "fault"
        print(f"{status}  {result.name}: {_describe(result)}", flush=True)
    disagree = sum(not result.agrees for result in comparisons)
    print(f"{disagree} of {len(comparisons)} cases disagree")
    if folder and path:
        text = json.dumps([result.to_dict() for result in comparisons], indent=1) + "\n"
        try:
            folder.write({path.name: text})
        except OSError as error:
            raise UserError(
                f"--json: expected a writable file, got {path}: {error}. {fix}."
            ) from None
    return 1 if disagree else 0


def _describe(result: Comparison) -> str:
    first, second = (1000 * seconds for seconds in result.seconds)
    text = f"{result.difference:.1e} (limit {result.limit:.0e}), {first:.1f} and {second:.1f} ms"
    return result.fault or text


def available_precisions(backend: Backend) -> list[Precision]:
    """The precisions that the GPU supports; on the CPU all, which its arithmetic emulates."""
    if backend.device == "cpu":
        return list(get_args(Precision))
    found: list[Precision] = []
    for precision in get_args(Precision):
        with contextlib.suppress(UserError):
            check_precision(precision, backend, least_capability())
            found.append(precision)
    return found


def compile_kernels(precision: Precision) -> int:
    """Compile every case for CUDA and ignore its results; 1 if a case does not compile."""
    jt = import_jittor()
    from tools.dev.operators.cases import cases_in
    from tools.dev.operators.comparison import compute

    cases = list(cases_in(precision))
    failed = 0
    for number, case in enumerate(cases, 1):
        started = time.perf_counter()
        try:
            with jt.flag_scope(use_cuda=1):
                compute(case)
        except Exception as error:
            # the other kernels are still compiled
            failed += 1
            print(f"  FAILED {case.name}: {telling_line(str(error))}", flush=True)
            continue
        seconds = time.perf_counter() - started
        print(f"  {number}/{len(cases)} {case.name}: {seconds:.1f} s", flush=True)
    print(f"{failed} did not compile" if failed else "every kernel compiled, linked and loaded")
    return 1 if failed else 0


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    # Ends at once: Jittor's cleanup at the exit fails without a real GPU.
    os._exit(exit_code)
