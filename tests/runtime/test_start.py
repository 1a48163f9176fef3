"""The precisions of each backend, and the import of Jittor."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from options.errors import UserError
from options.groups import Precision
from runtime.cuda import CudaBackend, Driver, Toolkit
from runtime.cuda_home import CudaHome
from runtime.set_up import Backend
from runtime.start import check_precision, least_capability

REPOSITORY = Path(__file__).parents[2]
CUDA_12 = CudaBackend(
    name="cuda12.2",
    toolkit=Toolkit(Path("/cuda/bin/nvcc"), (12, 2), (8, 9)),
    driver=Driver((12, 4), ("NVIDIA A100",)),
    environment={},
)
CUDA_13 = replace(CUDA_12, home=CudaHome(Path("/home"), {}, {}))


def backend(cuda: CudaBackend | None) -> Backend:
    device = "cpu" if cuda is None else "cuda"
    return Backend(device, "", {}, None, False, cuda, None, Path("/cache"))


@pytest.mark.parametrize("cuda", [None, CUDA_12, CUDA_13])
def test_every_backend_has_float32(cuda: CudaBackend | None) -> None:
    check_precision("float32", backend(cuda), 0)


@pytest.mark.parametrize(
    ("precision", "cuda", "capability", "reason"),
    [
        ("bfloat16", None, 0, ": expected a GPU, got the CPU"),
        ("float16", None, 0, ": expected a GPU"),
        ("bfloat16", CUDA_12, 90, ": expected CUDA 13 with cuDNN 9, got CUDA 12.2, cuDNN 8.9"),
        ("bfloat16", CUDA_13, 75, ": expected compute capability 8.0, got a GPU with 7.5"),
    ],
)
def test_an_unavailable_precision_is_one_line(
    precision: Precision, cuda: CudaBackend | None, capability: int, reason: str
) -> None:
    with pytest.raises(UserError) as error:
        check_precision(precision, backend(cuda), capability)
    assert reason in str(error.value) and f"--precision {precision}: " in str(error.value)
    assert "\n" not in str(error.value)


def test_the_import_of_jittor_keeps_signal_handlers(tmp_path: Path) -> None:
    """A stub of Jittor replaces handlers as Jittor does."""
    (tmp_path / "jittor.py").write_text(
        "import os, signal\n"
        "seen = os.environ.get('JPY_PARENT_PID')\n"
        "for number in (signal.SIGQUIT, signal.SIGCHLD):\n"
        "    signal.signal(number, lambda *_: None)\n"
    )
    code = (
        "import os, signal, sys\n"
        "from runtime.start import import_jittor\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD)\n"
        "before = [signal.getsignal(number) for number in numbers]\n"
        "assert import_jittor().seen and 'JPY_PARENT_PID' not in os.environ\n"
        "assert [signal.getsignal(number) for number in numbers] == before\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_available_precisions_are_valid() -> None:
    check_precision("float16", backend(CUDA_13), 75)
    check_precision("bfloat16", backend(CUDA_13), 80)
    assert least_capability() == 0
