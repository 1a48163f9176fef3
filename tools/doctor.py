"""Checks this machine's requirements and prints a fix for each problem.

    python -m tools.doctor              prints a table; exit code 1 if a requirement is missing
    python -m tools.doctor --import     also imports Jittor and runs a convolution
    python -m tools.doctor --gpu        also compares CUDA with the CPU, operator by operator
    python -m tools.doctor --json       prints the findings as JSON

The basic checks need only the standard library, so they also report missing packages.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from options.errors import UserError
from options.groups import LossOptions
from runtime import ROOT, checks, set_up
from runtime.core import compiled_cache, telling_line
from runtime.cuda import CudaBackend, Unavailable, find_toolkits, text_of
from runtime.machine import apt_get, first_line, jittor_home, own_folder
from runtime.onednn import onednn_of, onednn_wheel_files
from runtime.program import ToolParser, exit_codes
from runtime.settings import environment_of_user, mpi_compiler, openmp_threads, settings_for
from runtime.start import import_jittor

PIP_FIX = "python -m pip install -r requirements.txt"
SET_UP_FIX = f"run `bash train.sh`, which sets up everything, or: {PIP_FIX}"
GIB = 1024**3

# Jittor's cache grows with each new operator; a training run adds its checkpoints.
DISK_NEEDED = 2 * GIB
MEMORY_RECOMMENDED = 4 * GIB


@dataclass(frozen=True)
class Finding:
    """One entry of the report: 'ok', a 'note' about an optional feature, or a 'fault'.

    `fix` tells the user how to solve the problem; it is empty if there is none.
    """

    name: str
    status: Literal["ok", "note", "fault"]
    value: str
    fix: str = ""


@dataclass(frozen=True)
class Machine:
    """Inputs of the checks: environment variables, and the folder that holds .cache/jittor."""

    environ: Mapping[str, str]
    home: Path
    vgg_weights: str | None = None


def check_python(_machine: Machine) -> list[Finding]:
    """Checks the interpreter's version and headers."""
    version = sys.version_info
    text = f"{platform.python_version()}, {sys.executable}"
    fits = (3, 10) <= version[:2] <= (3, 12)
    fix = "use Python 3.10 to 3.12: PYTHON=/path/to/python3.12 bash train.sh"
    headers = checks.check_headers(_machine.environ)
    return [
        Finding("Python", "ok", text) if fits else Finding("Python", "fault", text, fix),
        _from_problem("Python headers", headers, "found"),
    ]


def check_compiler(machine: Machine) -> list[Finding]:
    """Checks the C++ compiler that Jittor uses."""
    fault = checks.check_compiler(machine.environ)
    name = machine.environ.get("cc_path") or "g++"
    version = "" if fault else first_line([name, "--version"])
    return [_from_problem("C++ compiler", fault, version)]


def check_packages(_machine: Machine) -> list[Finding]:
    """Checks the pinned packages; numpy and OpenCV get findings of their own."""
    missing, other, count = [], [], 0
    for name, version in pinned(ROOT / "requirements.txt"):
        count += 1
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if installed != version:
            other.append(f"{name} {installed} (pinned: {version})")
    if missing:
        packages = Finding("Packages", "fault", f"missing: {', '.join(missing)}", SET_UP_FIX)
    elif other:
        packages = Finding("Packages", "note", f"not as pinned: {', '.join(other)}", SET_UP_FIX)
    else:
        packages = Finding("Packages", "ok", f"all {count} as pinned")
    return [packages, _numpy(), _opencv()]


def pinned(requirements: Path) -> list[tuple[str, str]]:
    """Names and versions in a requirements file that apply to this machine."""
    pins = []
    for line in requirements.read_text().splitlines():
        found = re.match(r"([A-Za-z0-9._-]+)==([^\s;#]+)", line)
        if found and not ("platform_machine" in line and platform.machine() not in line):
            pins.append((found[1], found[2]))
    return pins


def check_onednn(machine: Machine) -> list[Finding]:
    """Finds the oneDNN that runs Jittor's convolutions."""
    onednn = onednn_of(machine.home)
    if onednn:
        origin = "installed by this project" if onednn.ours else "existed before, unchanged"
        return [Finding("oneDNN", "ok", f"{onednn.version}, {onednn.folder} ({origin})")]
    if onednn_wheel_files():
        value = "installed as wheels; the first start copies it to Jittor's folder"
        return [Finding("oneDNN", "ok", value)]
    if platform.machine() == "x86_64":
        return [Finding("oneDNN", "fault", "not installed", PIP_FIX)]
    return [Finding("oneDNN", "note", f"no wheel for {platform.machine()}: convolutions are slow")]


def check_cuda(machine: Machine) -> list[Finding]:
    """Reports the CUDA backend, or why CUDA is unavailable, and lists the toolkits."""
    answer = set_up.find_cuda(machine.environ)
    if isinstance(answer, CudaBackend):
        driver = f"driver for CUDA {text_of(answer.driver.version)}"
        findings = [Finding("CUDA", "ok", f"{answer.line}, {driver}, backend {answer.name}")]
    else:
        findings = [Finding("CUDA", "note", f"not used: {answer.reason}", answer.fix)]
    for toolkit in find_toolkits(machine.environ, machine.home):
        cudnn = f"cuDNN {text_of(toolkit.cudnn)}" if toolkit.cudnn else "no cuDNN"
        value = f"{text_of(toolkit.version)} with {cudnn}, {toolkit.nvcc}"
        findings.append(Finding("CUDA toolkit", "ok", value))
        findings += [
            Finding("CUDA library", "ok", f"{lib.name} {text_of(lib.version)}, {lib.folder}")
            for lib in toolkit.libraries
        ]
    return findings


def check_mpi(machine: Machine) -> list[Finding]:
    """Checks OpenMPI, which only training in several processes needs."""
    compiler = mpi_compiler(machine.environ)
    runner = shutil.which("mpirun", path=machine.environ.get("PATH"))
    if compiler and runner:
        return [Finding("MPI", "ok", f"{first_line([runner, '--version'])}, {compiler}")]
    missing = " and ".join(n for n, p in (("mpicc", compiler), ("mpirun", runner)) if not p)
    value = f"no {missing}; only training in several processes needs it"
    return [Finding("MPI", "note", value, apt_get("libopenmpi-dev", "openmpi-bin"))]


def check_jittor(machine: Machine) -> list[Finding]:
    """Reports Jittor's version and the state of its cache."""
    try:
        version = importlib.metadata.version("jittor")
    except importlib.metadata.PackageNotFoundError:
        return [Finding("Jittor", "fault", "not installed", SET_UP_FIX)]
    cache = jittor_cache(machine)
    findings = [Finding("Jittor", "ok", version)]
    if cache:
        size = sum(p.stat().st_size for p in cache.rglob("*") if p.is_file()) / 1e6
        findings.append(Finding("Jittor cache", "ok", f"{size:.0f} MB, {cache}"))
    else:
        value = "core not compiled yet for this machine; the first start needs 2 extra minutes"
        findings.append(Finding("Jittor cache", "ok", value))
    return findings


def jittor_cache(machine: Machine) -> Path | None:
    """Folder of the compiled operators of the 'auto' backend; None if there are none yet."""
    if checks.check_packages(machine.environ):
        return None
    answer = set_up.find_cuda(machine.environ)
    cuda = None if isinstance(answer, Unavailable) else answer
    onednn = onednn_of(machine.home)
    own = own_folder(machine.home)
    settings = settings_for(machine.environ, cuda, onednn, own)
    return compiled_cache({**machine.environ, **settings}, onednn, own)


def check_vgg_weights(machine: Machine) -> list[Finding]:
    """Looks for the VGG-19 weights of the perceptual loss."""
    try:
        # this import needs numpy, which may be missing
        from weights.pretrained import fetch_advice, find_weights
    except ImportError as error:
        return [Finding("VGG weights", "note", f"not searched for: {error}")]
    cache = jittor_cache(machine) or own_folder(machine.home)
    try:
        path = find_weights(LossOptions(vgg_weights=machine.vgg_weights), cache / "checkpoints")
    except UserError as error:
        return [Finding("VGG weights", "fault", str(error))]
    if path:
        return [Finding("VGG weights", "ok", f"{path} ({path.stat().st_size / 1e6:.0f} MB)")]
    value = "not found; the schedule quick trains without them"
    return [Finding("VGG weights", "note", value, fetch_advice())]


def check_resources(machine: Machine) -> list[Finding]:
    """Checks free disk space, memory and processor cores."""
    findings = []
    folders = {"Disk (project)": ROOT, "Disk (Jittor cache)": machine.home}
    for name, folder in folders.items():
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(existing).free
        status: Literal["ok", "fault"] = "ok" if free >= DISK_NEEDED else "fault"
        fix = "" if status == "ok" else f"free at least {DISK_NEEDED // GIB} GB on that disk"
        findings.append(Finding(name, status, f"{free / GIB:.0f} GB free, {folder}", fix))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    enough = memory >= MEMORY_RECOMMENDED
    fix = "" if enough else "train with a smaller --size or a schedule with smaller batches"
    text = f"{memory / GIB:.1f} GB"
    findings.append(Finding("Memory", "ok" if enough else "note", text, fix))
    threads = openmp_threads(machine.environ) or len(os.sched_getaffinity(0))
    findings.append(Finding("Processor", "ok", f"{threads} threads of {os.cpu_count()}"))
    return findings


def check_import(device: set_up.Device) -> list[Finding]:
    """Imports Jittor and compares a convolution and its gradient with numpy's results."""
    try:
        backend = set_up.prepare(device)
    except UserError as refused:
        return [Finding("Jittor import", "fault", str(refused))]
    started = time.monotonic()
    jt = import_jittor()
    np: Any = importlib.import_module("numpy")
    imported = time.monotonic() - started
    jt.flags.use_cuda = int(backend.device == "cuda")
    random = np.random.default_rng(0)
    image = random.standard_normal((2, 8, 10, 12), dtype=np.float32)
    weight = random.standard_normal((4, 8, 3, 3), dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(2, 3))
    expected = np.einsum("nchwij,ocij->nohw", windows, weight)
    gradient = np.einsum("nchwij,nohw->ocij", windows, expected)
    layer_weight = jt.array(weight)
    output = jt.nn.conv2d(jt.array(image), layer_weight)
    got = jt.grad((output * jt.array(expected)).sum(), layer_weight).numpy()
    error = max(
        float(np.abs(output.numpy() - expected).max() / np.abs(expected).max()),
        float(np.abs(got - gradient).max() / np.abs(gradient).max()),
    )
    seconds = time.monotonic() - started
    text = f"{imported:.1f} s; convolution on {backend.device}: error {error:.1e}, {seconds:.1f} s"
    # TF32, the default of new GPUs, keeps 10 bits of the mantissa
    limit = 1e-5 if backend.device == "cpu" else 5e-3
    if error < limit:
        return [Finding("Jittor import", "ok", text)]
    fix = f"remove {backend.cache}, then run this command again"
    return [Finding("Jittor import", "fault", text, fix)]


def check_gpu(device: set_up.Device) -> list[Finding]:
    """Compares every operator in use on CUDA, or again on the CPU, with the CPU.

    The comparison runs in a child process: a GPU error there does not end this report.
    """
    try:
        backend = set_up.prepare("cuda" if device == "auto" else device)
    except UserError as error:
        return [Finding("GPU", "fault", str(error))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "comparisons.json"
        command = [sys.executable, "-m", "tools.dev.gpu_check", "--json", str(path)]
        command += ["--device", backend.device]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if not path.is_file():
            message = telling_line(done.stdout + done.stderr)
            return [Finding("GPU", "fault", f"{message} (exit code {done.returncode})")]
        comparisons = json.loads(path.read_text())
    name = "GPU" if backend.device == "cuda" else "CPU again"
    return [_compared(comparison, name) for comparison in comparisons]


def _compared(comparison: Mapping[str, Any], second: str) -> Finding:
    """The finding of one comparison, as tools.dev.gpu_check writes it."""
    name = comparison["name"]
    if comparison["agrees"]:
        status: Literal["ok", "fault"] = "ok"
        fix = ""
    else:
        status = "fault"
        fix = "run again with NVIDIA_TF32_OVERRIDE=0; the fault is TF32 if it disappears"
    if comparison["fault"]:
        return Finding(name, status, comparison["fault"], fix)
    on_cpu, on_second = (1000 * seconds for seconds in comparison["seconds"])
    difference = comparison["difference"]
    shown = "not finite" if difference is None else f"{difference:.1e}"
    text = f"{shown} (limit {comparison['limit']:.0e}), CPU {on_cpu:.1f} ms, "
    return Finding(name, status, f"{text}{second} {on_second:.1f} ms", fix)


CHECKS: tuple[Callable[[Machine], list[Finding]], ...] = (
    check_python,
    check_compiler,
    check_packages,
    check_onednn,
    check_cuda,
    check_mpi,
    check_jittor,
    check_vgg_weights,
    check_resources,
)


def examine(machine: Machine) -> list[Finding]:
    """Runs every check; a UserError of a check becomes a fault."""
    findings = []
    for check in CHECKS:
        try:
            findings += check(machine)
        except UserError as error:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            findings.append(Finding(name, "fault", str(error)))
    return findings


def table(findings: Iterable[Finding], width: int) -> str:
    """The report as text: status, name, value, and the fix on a separate line."""
    findings = list(findings)
    column = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        head = f"{finding.status:5}  {finding.name:{column}}  "
        column_width = max(40, width - len(head))
        wrap = functools.partial(
            textwrap.wrap, width=column_width, break_long_words=False, break_on_hyphens=False
        )
        parts = wrap(finding.value)
        if finding.fix:
            parts += wrap(f"-> {finding.fix}", subsequent_indent="   ")
        indent = " " * len(head)
        lines += [(head if not i else indent) + part for i, part in enumerate(parts or [""])]
    return "\n".join(lines)


@exit_codes(stopped="stopped")
def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 1 if a requirement is missing, 2 for a user error."""
    parser = ToolParser("tools.doctor", __doc__)
    add = parser.add_argument
    add("--json", action="store_true", help="print the findings as JSON")
    add(
        "--import", dest="run", action="store_true", help="also import Jittor and run a convolution"
    )
    add(
        "--gpu",
        action="store_true",
        help="also compare CUDA with the CPU, forward and backward, for every operator in use",
    )
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="device of --import and --gpu (auto)",
    )
    add("--vgg-weights", metavar="FILE", help="VGG-19 weights, as train.py takes them")
    arguments = parser.parse_args(argv)
    environ, _ = environment_of_user()
    home = jittor_home(environ)
    findings = examine(Machine(environ, home, arguments.vgg_weights))
    if arguments.run and not any(f.status == "fault" for f in findings):
        findings += check_import(arguments.device)
    if arguments.gpu and not any(f.status == "fault" for f in findings):
        findings += check_gpu(arguments.device)
    faults = sum(finding.status == "fault" for finding in findings)
    if arguments.json:
        report = {"ok": not faults, "findings": [asdict(finding) for finding in findings]}
        print(json.dumps(report, indent=2))
    else:
        print(table(findings, shutil.get_terminal_size((100, 24)).columns))
        print(f"{faults} to fix" if faults else "All requirements are met.")
    return 1 if faults else 0


def _from_problem(name: str, problem: checks.Problem | None, value: str) -> Finding:
    """The finding of a check of runtime.checks."""
    if problem is None:
        return Finding(name, "ok", value)
    return Finding(name, "fault", problem.text, problem.fix)


def _numpy() -> Finding:
    try:
        version = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        return Finding("numpy", "fault", "not installed", PIP_FIX)
    if int(version.split(".")[0]) >= 2:
        value = f"{version}; Jittor computes wrong numbers with numpy 2"
        return Finding("numpy", "fault", value, PIP_FIX)
    return Finding("numpy", "ok", f"{version} (Jittor needs a version below 2)")


def _opencv() -> Finding:
    try:
        cv2: Any = importlib.import_module("cv2")
    except ImportError as error:
        fix = PIP_FIX
        if "libGL" in str(error) or "libgthread" in str(error):
            fix = "python -m pip uninstall opencv-python; " + fix
        return Finding("OpenCV", "fault", str(error), fix)
    return Finding("OpenCV", "ok", str(cv2.__version__))


if __name__ == "__main__":
    sys.exit(main())
