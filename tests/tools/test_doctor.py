"""The doctor's findings on machines that lack a requirement."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from runtime import ROOT, set_up
from runtime.cuda import CudaBackend, Driver, Toolkit, Unavailable
from tools import doctor
from tools.doctor import Finding, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine({"PATH": "", "nvcc_path": ""}, tmp_path)


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_every_fault_has_a_fix(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(doctor, "onednn_wheel_files", lambda: None)
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": "/nowhere"})
    findings = doctor.examine(machine)
    named = by_name(findings)
    for name in ("Python headers", "C++ compiler", "Packages", "numpy", "Jittor"):
        assert named[name].status == "fault", name
    for finding in findings:
        assert finding.fix or finding.status == "ok" or finding.name == "oneDNN", finding
    assert "apt-get install g++" in named["C++ compiler"].fix
    assert named["MPI"].status == named["CUDA"].status == "note"


def test_this_machine_is_reported_as_table_and_json() -> None:
    command = [sys.executable, "-m", "tools.doctor"]
    table = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    as_json = subprocess.run(
        [*command, "--json"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    report = json.loads(as_json.stdout)
    faults = [finding for finding in report["findings"] if finding["status"] == "fault"]
    assert report["ok"] == (not faults)
    assert table.returncode == as_json.returncode == (1 if faults else 0)
    names = [finding["name"] for finding in report["findings"]]
    for name in (
        "Python",
        "C++ compiler",
        "numpy",
        "OpenCV",
        "oneDNN",
        "CUDA",
        "MPI",
        "Jittor",
        "Memory",
    ):
        assert name in names
        assert any(line[7:].startswith(name) for line in table.stdout.splitlines())
    # this test itself runs in Jittor
    assert next(f for f in report["findings"] if f["name"] == "Jittor cache")["value"].endswith(
        str(set_up.prepare("auto").cache)
    )


def test_missing_and_unpinned_packages_are_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text(
        "# comment\nnumpy==0.0.1   # why\nno-such-package==1.0\n"
        'elsewhere==1 ; platform_machine == "no-machine"\n'
    )
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    packages = by_name(doctor.check_packages(machine))["Packages"]
    assert packages.status == "fault" and packages.value == "missing: no-such-package"
    (tmp_path / "requirements.txt").write_text("numpy==0.0.1\n")
    packages = by_name(doctor.check_packages(machine))["Packages"]
    assert packages.status == "note" and "(pinned: 0.0.1)" in packages.value


def test_the_cuda_backend_and_every_toolkit_are_reported(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolkit = Toolkit(Path("/cuda/bin/nvcc"), (12, 2), (8, 9, 7))
    backend = CudaBackend("cuda12.2", toolkit, Driver((12, 4), ("NVIDIA A100",)), {})
    monkeypatch.setattr(set_up, "find_cuda", lambda environ: backend)
    monkeypatch.setattr(doctor, "find_toolkits", lambda environ, home: [toolkit])
    found = by_name(doctor.check_cuda(machine))
    assert found["CUDA"].status == "ok"
    for part in ("12.2", "8.9.7", "NVIDIA A100", "12.4"):
        assert part in found["CUDA"].value
    monkeypatch.setattr(set_up, "find_cuda", lambda environ: Unavailable("no driver", "install it"))
    unavailable = by_name(doctor.check_cuda(machine))
    assert unavailable["CUDA"] == Finding("CUDA", "note", "not used: no driver", "install it")
    assert "8.9.7" in unavailable["CUDA toolkit"].value


def test_too_little_disk_space_is_a_fault(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "DISK_NEEDED", 10**18)
    assert by_name(doctor.check_resources(machine))["Disk (project)"].status == "fault"


def test_the_named_vgg_weights_are_checked(tmp_path: Path) -> None:
    missing = doctor.check_vgg_weights(Machine({}, tmp_path, str(tmp_path / "gone.pth")))
    assert missing[0].status == "fault"
    file = tmp_path / "vgg19.pth"
    file.write_bytes(b"0" * 3_000_000)
    found = doctor.check_vgg_weights(Machine({}, tmp_path, str(file)))
    assert found[0].status == "ok" and "(3 MB)" in found[0].value


def test_long_values_are_wrapped_under_their_column() -> None:
    findings = [
        Finding("Name", "fault", "a " * 60, "fix " * 30),
        Finding("Longer name", "ok", "x"),
    ]
    lines = doctor.table(findings, 80).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("fault  Name         a a")
    assert all(line.startswith(" " * 20) for line in lines[1:-1])
    assert lines[-1] == "ok     Longer name  x"


def test_a_convolution_agrees_with_numpy() -> None:
    finding = doctor.check_import("auto")[0]
    assert finding.status == "ok", finding


def comparison(**changes: object) -> dict[str, object]:
    row = {"name": "square", "agrees": True, "difference": 1e-6, "limit": 2e-4}
    return row | {"seconds": [0.001, 0.002], "fault": ""} | changes


@pytest.mark.parametrize(
    ("row", "status", "value"),
    [
        (comparison(), "ok", "1.0e-06 (limit 2e-04), CPU 1.0 ms, CPU again 2.0 ms"),
        (comparison(agrees=False, difference=0.01), "fault", "1.0e-02"),
        (comparison(agrees=False, difference=None), "fault", "not finite"),
        (comparison(agrees=False, difference=None, fault="no kernel"), "fault", "no kernel"),
    ],
)
def test_each_comparison_of_devices_is_a_finding(
    row: dict[str, object],
    status: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(command: list[str], **named: object) -> subprocess.CompletedProcess[str]:
        assert command[1:3] == ["-m", "tools.dev.gpu_check"] and command[-1] == "cpu"
        Path(command[command.index("--json") + 1]).write_text(json.dumps([row]))
        return subprocess.CompletedProcess(command, int(status == "fault"), "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(doctor, "examine", lambda machine: [])
    code = doctor.main(["--gpu", "--device", "cpu", "--json"])
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (code, finding["name"], finding["status"]) == (status == "fault", "square", status)
    assert value in finding["value"] and bool(finding["fix"]) == (status == "fault")


def test_a_comparison_that_crashes_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(command: list[str], **named: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, -11, "", "CUDA error at x.cc (cudaError)\n")

    monkeypatch.setattr(subprocess, "run", crash)
    (finding,) = doctor.check_gpu("cpu")
    assert finding.status == "fault"
    assert finding.value == "CUDA error at x.cc (cudaError) (exit code -11)"
