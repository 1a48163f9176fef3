"""Which precision a route can have."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from options.errors import UserError
from options.run import Precision
from tools.cuda import CudaRoute, Driver, Toolkit
from tools.cuda_home import CudaHome
from tools.set_up import Route
from tools.start import check_precision, least_capability

REPOSITORY = Path(__file__).parents[2]
CUDA_12 = CudaRoute(
    name="cuda12.2",
    toolkit=Toolkit(Path("/cuda/bin/nvcc"), (12, 2), (8, 9)),
    driver=Driver((12, 4), ("NVIDIA A100",)),
    environment={},
)
CUDA_13 = replace(CUDA_12, home=CudaHome(Path("/home"), {}, {}))


def route(cuda: CudaRoute | None) -> Route:
    device = "cpu" if cuda is None else "cuda"
    return Route(device, "", {}, None, False, cuda, None, Path("/cache"))


@pytest.mark.parametrize("cuda", [None, CUDA_12, CUDA_13])
def test_float32_is_everywhere(cuda: CudaRoute | None) -> None:
    check_precision("float32", route(cuda), 0)


@pytest.mark.parametrize(
    ("precision", "cuda", "capability", "reason"),
    [
        ("bfloat16", None, 0, "needs a GPU: this run is on the CPU"),
        ("float16", None, 0, "needs a GPU"),
        ("bfloat16", CUDA_12, 90, "needs CUDA 13 with cuDNN 9: with CUDA 12.2, cuDNN 8.9"),
        ("bfloat16", CUDA_13, 75, "needs compute capability 8.0: this card has 7.5"),
    ],
)
def test_what_a_route_has_not_is_refused_in_a_line(
    precision: Precision, cuda: CudaRoute | None, capability: int, reason: str
) -> None:
    with pytest.raises(UserError) as error:
        check_precision(precision, route(cuda), capability)
    assert reason in str(error.value) and f"--precision {precision} " in str(error.value)
    assert "\n" not in str(error.value)


def test_the_import_of_jittor_leaves_signals_as_they_were(tmp_path: Path) -> None:
    """A stub of Jittor takes signals as Jittor does: behind Python's back."""
    (tmp_path / "jittor.py").write_text(
        "import os, signal\n"
        "seen = os.environ.get('JPY_PARENT_PID')\n"
        "for number in (signal.SIGQUIT, signal.SIGCHLD):\n"
        "    signal.signal(number, lambda *_: None)\n"
    )
    code = (
        "import os, signal, sys\n"
        "from tools.start import import_jittor\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD)\n"
        "before = [signal.getsignal(number) for number in numbers]\n"
        "assert import_jittor().seen and 'JPY_PARENT_PID' not in os.environ\n"
        "assert [signal.getsignal(number) for number in numbers] == before\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_what_it_has_is_taken() -> None:
    check_precision("float16", route(CUDA_13), 75)
    check_precision("bfloat16", route(CUDA_13), 80)
    assert least_capability() == 0
