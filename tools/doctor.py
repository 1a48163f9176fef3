"""Says what this machine has of what the project needs, with the mend beside each fault.

    python -m tools.doctor              a table; exit code 1 if something needed is missing
    python -m tools.doctor --import     also imports Jittor and runs a convolution
    python -m tools.doctor --gpu        also compares CUDA with the CPU, operator by operator
    python -m tools.doctor --json       the same for programs

Works with the standard library alone, so that it can say what is not installed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import itertools
import json
import os
import platform
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from options.errors import UserError
from options.run import LossOptions, Precision
from tools import set_up
from tools.arguments import ToolParser, exit_codes
from tools.cuda import CudaRoute, Refusal, find_toolkits, text_of
from tools.start import check_precision, import_jittor, least_capability

REPOSITORY = Path(__file__).resolve().parents[1]
PIP_MEND = "python -m pip install -r requirements.txt"
GIB = 1024**3

# Jittor's cache grows by each new operator; a training run adds its checkpoints
DISK_NEEDED = 2 * GIB
MEMORY_WISHED = 4 * GIB


@dataclass(frozen=True)
class Finding:
    """One line of the report: 'ok', a 'note' about something optional, or a 'fault'."""

    name: str
    status: Literal["ok", "note", "fault"]
    value: str
    mend: str = ""


@dataclass(frozen=True)
class Machine:
    """What the checks look at: environment variables and the folder that holds .cache/jittor."""

    environ: Mapping[str, str]
    home: Path
    vgg_weights: str | None = None


def check_python(_machine: Machine) -> list[Finding]:
    """The interpreter's version and headers."""
    version = sys.version_info
    text = f"{platform.python_version()}, {sys.executable}"
    fits = (3, 10) <= version[:2] <= (3, 12)
    mend = "take Python 3.10 to 3.12: PYTHON=/path/to/python3.12 bash train.sh"
    headers = set_up.check_headers(_machine.environ)
    return [
        Finding("Python", "ok", text) if fits else Finding("Python", "fault", text, mend),
        _from_fault("Python headers", headers, "found"),
    ]


def check_compiler(machine: Machine) -> list[Finding]:
    """The C++ compiler that Jittor would take."""
    fault = set_up.check_compiler(machine.environ)
    name = machine.environ.get("cc_path") or "g++"
    version = "" if fault else set_up.first_line([name, "--version"])
    return [_from_fault("C++ compiler", fault, version)]


def check_packages(_machine: Machine) -> list[Finding]:
    """The pinned packages, numpy and OpenCV by name."""
    missing, other, count = [], [], 0
    for name, version in pinned(REPOSITORY / "requirements.txt"):
        count += 1
        try:
            there = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if there != version:
            other.append(f"{name} {there} (pinned: {version})")
    mend = f"`bash train.sh` sets everything up, or: {PIP_MEND}"
    if missing:
        packages = Finding("Packages", "fault", f"missing: {', '.join(missing)}", mend)
    elif other:
        packages = Finding("Packages", "note", f"not as pinned: {', '.join(other)}", mend)
    else:
        packages = Finding("Packages", "ok", f"all {count} as pinned")
    return [packages, _numpy(), _opencv()]


def pinned(requirements: Path) -> list[tuple[str, str]]:
    """Names and versions of a requirements file that apply to this machine."""
    pins = []
    for line in requirements.read_text().splitlines():
        found = re.match(r"([A-Za-z0-9._-]+)==([^\s;#]+)", line)
        if found and not ("platform_machine" in line and platform.machine() not in line):
            pins.append((found[1], found[2]))
    return pins


def check_onednn(machine: Machine) -> list[Finding]:
    """Which oneDNN Jittor's convolutions run on."""
    there = set_up.onednn_of(machine.home)
    if there:
        whose = "put there by this project" if there.ours else "was there before, left as it is"
        return [Finding("oneDNN", "ok", f"{there.version}, {there.folder} ({whose})")]
    if set_up.onednn_wheel_files():
        return [Finding("oneDNN", "ok", "installed as wheels; the first start hands it to Jittor")]
    if platform.machine() == "x86_64":
        return [Finding("oneDNN", "fault", "not installed", PIP_MEND)]
    return [Finding("oneDNN", "note", f"no wheel for {platform.machine()}: convolutions are slow")]


def check_cuda(machine: Machine) -> list[Finding]:
    """The CUDA route, or why there is none, and every toolkit that was found."""
    answer = set_up.find_cuda(machine.environ)
    if isinstance(answer, CudaRoute):
        driver = f"driver for CUDA {text_of(answer.driver.version)}"
        findings = [Finding("CUDA", "ok", f"{answer.line}, {driver}, route {answer.name}")]
    else:
        findings = [Finding("CUDA", "note", f"not used: {answer.reason}", answer.mend)]
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
    """OpenMPI, which only training in several processes needs."""
    compiler = set_up.mpi_compiler(machine.environ)
    runner = shutil.which("mpirun", path=machine.environ.get("PATH"))
    if compiler and runner:
        return [Finding("MPI", "ok", f"{set_up.first_line([runner, '--version'])}, {compiler}")]
    missing = " and ".join(n for n, p in (("mpicc", compiler), ("mpirun", runner)) if not p)
    value = f"no {missing}; only training in several processes needs it"
    return [Finding("MPI", "note", value, set_up.apt_get("libopenmpi-dev", "openmpi-bin"))]


def check_jittor(machine: Machine) -> list[Finding]:
    """Jittor's version and the state of its cache."""
    try:
        version = importlib.metadata.version("jittor")
    except importlib.metadata.PackageNotFoundError:
        mend = f"`bash train.sh` sets everything up, or: {PIP_MEND}"
        return [Finding("Jittor", "fault", "not installed", mend)]
    cache = jittor_cache(machine)
    findings = [Finding("Jittor", "ok", version)]
    if cache:
        size = sum(p.stat().st_size for p in cache.rglob("*") if p.is_file()) / 1e6
        findings.append(Finding("Jittor cache", "ok", f"{size:.0f} MB, {cache}"))
    else:
        value = "core not compiled yet for this machine; the first start takes about 2 minutes more"
        findings.append(Finding("Jittor cache", "ok", value))
    return findings


def jittor_cache(machine: Machine) -> Path | None:
    """Where the operators of the route of 'auto' are compiled, None while there are none."""
    if set_up.check_packages(machine.environ):
        return None
    answer = set_up.find_cuda(machine.environ)
    cuda = None if isinstance(answer, Refusal) else answer
    onednn = set_up.onednn_of(machine.home)
    own = set_up.own_folder(machine.home)
    settings = set_up.settings_for(machine.environ, cuda, onednn, own)
    return set_up.compiled_cache({**machine.environ, **settings}, onednn, own)


def check_vgg_weights(machine: Machine) -> list[Finding]:
    """The VGG-19 weights of the perceptual loss."""
    try:
        # needs numpy, which may be what is missing
        from training.vgg_weights import fetch_advice, find_weights
    except ImportError as error:
        return [Finding("VGG weights", "note", f"not looked for: {error}")]
    cache = jittor_cache(machine) or set_up.own_folder(machine.home)
    try:
        path = find_weights(LossOptions(vgg_weights=machine.vgg_weights), cache / "checkpoints")
    except UserError as error:
        return [Finding("VGG weights", "fault", str(error))]
    if path:
        return [Finding("VGG weights", "ok", f"{path} ({path.stat().st_size / 1e6:.0f} MB)")]
    value = "none here; schedule quick trains without them"
    return [Finding("VGG weights", "note", value, fetch_advice())]


def check_room(machine: Machine) -> list[Finding]:
    """Free disk, memory and processor cores."""
    findings = []
    folders = {"Disk (project)": REPOSITORY, "Disk (Jittor cache)": machine.home}
    for name, folder in folders.items():
        there = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(there).free
        status: Literal["ok", "fault"] = "ok" if free >= DISK_NEEDED else "fault"
        mend = "" if status == "ok" else f"free at least {DISK_NEEDED // GIB} GB there"
        findings.append(Finding(name, status, f"{free / GIB:.0f} GB free, {folder}", mend))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    enough = memory >= MEMORY_WISHED
    mend = "" if enough else "train at a smaller --size, or with a schedule of smaller batches"
    text = f"{memory / GIB:.1f} GB"
    findings.append(Finding("Memory", "ok" if enough else "note", text, mend))
    threads = set_up.openmp_threads(machine.environ) or len(os.sched_getaffinity(0))
    findings.append(Finding("Processor", "ok", f"{threads} threads of {os.cpu_count()}"))
    return findings


def check_import(device: set_up.Device) -> list[Finding]:
    """Imports Jittor and compares a convolution and its gradient with numpy's sums."""
    try:
        route = set_up.prepare(device)
    except UserError as error:
        return [Finding("Jittor import", "fault", str(error))]
    started = time.monotonic()
    jt = import_jittor()
    np: Any = importlib.import_module("numpy")
    imported = time.monotonic() - started
    jt.flags.use_cuda = int(route.device == "cuda")
    random = np.random.default_rng(0)
    image = random.standard_normal((2, 8, 10, 12), dtype=np.float32)
    weight = random.standard_normal((4, 8, 3, 3), dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(2, 3))
    expected = np.einsum("nchwij,ocij->nohw", windows, weight)
    gradient = np.einsum("nchwij,nohw->ocij", windows, expected)
    layer_weight = jt.array(weight)
    output = jt.nn.conv2d(jt.array(image), layer_weight)
    got = jt.grad((output * jt.array(expected)).sum(), layer_weight).numpy()
    off = max(
        float(np.abs(output.numpy() - expected).max() / np.abs(expected).max()),
        float(np.abs(got - gradient).max() / np.abs(gradient).max()),
    )
    seconds = time.monotonic() - started
    text = f"{imported:.1f} s; a convolution on {route.device} off by {off:.1e}, {seconds:.1f} s"
    # TF32, the default of new GPUs, keeps 10 bits of mantissa
    limit = 1e-5 if route.device == "cpu" else 5e-3
    if off < limit:
        return [Finding("Jittor import", "ok", text)]
    mend = f"remove {route.cache} and start again"
    return [Finding("Jittor import", "fault", text, mend)]


def check_gpu(device: set_up.Device) -> list[Finding]:
    """Compares every operator in use on CUDA, or on the CPU once more, with the CPU."""
    try:
        route = set_up.prepare("cuda" if device == "auto" else device)
    except UserError as error:
        return [Finding("GPU", "fault", str(error))]
    import_jittor()
    gpu_check: Any = importlib.import_module("tools.gpu_check")
    cases = itertools.chain(*map(gpu_check.cases_in, _precisions_to_check(route)))
    findings = []
    name = "GPU" if route.device == "cuda" else "CPU again"
    runs = gpu_check.on_device("cpu"), gpu_check.on_device(route.device)
    for result in gpu_check.compare(cases, *runs):
        first, second = (1000 * seconds for seconds in result.seconds)
        text = f"{result.difference:.1e} (at most {result.limit:.0e}), CPU {first:.1f} ms, "
        text = result.fault or text + f"{name} {second:.1f} ms"
        mend = "" if result.agrees else "NVIDIA_TF32_OVERRIDE=0 tells whether TF32 is why"
        status: Literal["ok", "fault"] = "ok" if result.agrees else "fault"
        findings.append(Finding(result.name, status, text, mend))
    return findings


def _precisions_to_check(route: set_up.Route) -> list[Precision]:
    """Those that the GPU can have; on the CPU all, which its arithmetic can imitate."""
    if route.device == "cpu":
        return list(get_args(Precision))
    found: list[Precision] = []
    for precision in get_args(Precision):
        with contextlib.suppress(UserError):
            check_precision(precision, route, least_capability())
            found.append(precision)
    return found


CHECKS: tuple[Callable[[Machine], list[Finding]], ...] = (
    check_python,
    check_compiler,
    check_packages,
    check_onednn,
    check_cuda,
    check_mpi,
    check_jittor,
    check_vgg_weights,
    check_room,
)


def examine(machine: Machine) -> list[Finding]:
    """Runs every check; one that the user's files break is a fault of its own."""
    findings = []
    for check in CHECKS:
        try:
            findings += check(machine)
        except UserError as error:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            findings.append(Finding(name, "fault", str(error)))
    return findings


def table(findings: Iterable[Finding], width: int) -> str:
    """The report for people: status, name, value, and the mend on a line of its own."""
    findings = list(findings)
    column = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        head = f"{finding.status:5}  {finding.name:{column}}  "
        room = max(40, width - len(head))
        parts = textwrap.wrap(finding.value, room, break_long_words=False, break_on_hyphens=False)
        if finding.mend:
            parts += textwrap.wrap(
                f"-> {finding.mend}",
                room,
                subsequent_indent="   ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        indent = " " * len(head)
        lines += [(head if not i else indent) + part for i, part in enumerate(parts or [""])]
    return "\n".join(lines)


@exit_codes(stopped="stopped")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 where something needed is missing, 2 for what the user must mend."""
    parser = ToolParser("doctor", "What this machine has of what the project needs.")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--import", dest="run", action="store_true", help="also import Jittor and run a convolution"
    )
    parser.add_argument(
        "--gpu",
        action="store_true",
        help="also compare CUDA with the CPU, forward and backward, for every operator in use",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="what --import and --gpu run on",
    )
    parser.add_argument("--vgg-weights", metavar="FILE", help="the file that would be trained with")
    asked = parser.parse_args(argv)
    environ, _ = set_up.environment_of_user()
    home = set_up.jittor_home(environ)
    findings = examine(Machine(environ, home, asked.vgg_weights))
    if asked.run and not any(f.status == "fault" for f in findings):
        findings += check_import(asked.device)
    if asked.gpu and not any(f.status == "fault" for f in findings):
        findings += check_gpu(asked.device)
    faults = sum(finding.status == "fault" for finding in findings)
    if asked.json:
        report = {"ok": not faults, "findings": [asdict(finding) for finding in findings]}
        print(json.dumps(report, indent=2))
    else:
        print(table(findings, shutil.get_terminal_size((100, 24)).columns))
        print(f"{faults} to mend" if faults else "Everything needed is there.")
    return 1 if faults else 0


def _from_fault(name: str, fault: str | None, value: str) -> Finding:
    """A finding out of a check of tools.set_up, whose faults end with ': <mend>'."""
    if fault is None:
        return Finding(name, "ok", value)
    text, _, mend = fault.rpartition(": ")
    return Finding(name, "fault", text, mend)


def _numpy() -> Finding:
    try:
        version = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        return Finding("numpy", "fault", "not installed", PIP_MEND)
    if int(version.split(".")[0]) >= 2:
        value = f"{version}; Jittor computes wrong numbers with numpy 2"
        return Finding("numpy", "fault", value, PIP_MEND)
    return Finding("numpy", "ok", f"{version} (below 2, as Jittor needs)")


def _opencv() -> Finding:
    try:
        cv2: Any = importlib.import_module("cv2")
    except ImportError as error:
        mend = PIP_MEND
        if "libGL" in str(error) or "libgthread" in str(error):
            mend = "python -m pip uninstall opencv-python; " + mend
        return Finding("OpenCV", "fault", str(error), mend)
    return Finding("OpenCV", "ok", str(cv2.__version__))


if __name__ == "__main__":
    sys.exit(main())
