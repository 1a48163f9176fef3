"""The doctor's findings on machines that lack something."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tools import doctor, set_up
from tools.cuda import CudaRoute, Driver, Refusal, Toolkit
from tools.doctor import Finding, Machine

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine({"PATH": "", "nvcc_path": ""}, tmp_path)


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_every_fault_has_its_mend(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(set_up, "onednn_wheel_files", lambda: None)
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": "/nowhere"})
    findings = doctor.examine(machine)
    named = by_name(findings)
    for name in ("Python headers", "C++ compiler", "Packages", "numpy", "Jittor"):
        assert named[name].status == "fault", name
    for finding in findings:
        assert finding.mend or finding.status == "ok" or finding.name == "oneDNN", finding
    assert "apt-get install g++" in named["C++ compiler"].mend
    assert named["MPI"].status == named["CUDA"].status == "note"


def test_this_machine_is_reported_as_a_table_and_as_json() -> None:
    command = [sys.executable, "-m", "tools.doctor"]
    table = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    told = subprocess.run(
        [*command, "--json"], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    report = json.loads(told.stdout)
    faults = [finding for finding in report["findings"] if finding["status"] == "fault"]
    assert report["ok"] == (not faults)
    assert table.returncode == told.returncode == (1 if faults else 0)
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
    # Jittor is running this very test
    assert next(f for f in report["findings"] if f["name"] == "Jittor cache")["value"].endswith(
        str(set_up.prepare("auto").cache)
    )


def test_packages_missing_or_other_than_pinned_are_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text(
        "# comment\nnumpy==0.0.1   # why\nno-such-package==1.0\n"
        'elsewhere==1 ; platform_machine == "no-machine"\n'
    )
    monkeypatch.setattr(doctor, "REPOSITORY", tmp_path)
    packages = by_name(doctor.check_packages(machine))["Packages"]
    assert packages.status == "fault" and packages.value == "missing: no-such-package"
    (tmp_path / "requirements.txt").write_text("numpy==0.0.1\n")
    packages = by_name(doctor.check_packages(machine))["Packages"]
    assert packages.status == "note" and "(pinned: 0.0.1)" in packages.value


def test_the_cuda_route_and_every_toolkit_are_shown(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolkit = Toolkit(Path("/cuda/bin/nvcc"), (12, 2), (8, 9, 7))
    route = CudaRoute("cuda12.2", toolkit, Driver((12, 4), ("NVIDIA A100",)), {})
    monkeypatch.setattr(set_up, "find_cuda", lambda environ: route)
    monkeypatch.setattr(doctor, "find_toolkits", lambda environ, home: [toolkit])
    found = by_name(doctor.check_cuda(machine))
    assert found["CUDA"].status == "ok"
    for part in ("12.2", "8.9.7", "NVIDIA A100", "12.4"):
        assert part in found["CUDA"].value
    monkeypatch.setattr(set_up, "find_cuda", lambda environ: Refusal("no driver", "install it"))
    refused = by_name(doctor.check_cuda(machine))
    assert refused["CUDA"] == Finding("CUDA", "note", "not used: no driver", "install it")
    assert "8.9.7" in refused["CUDA toolkit"].value


def test_too_little_room_is_a_fault(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISK_NEEDED", 10**18)
    assert by_name(doctor.check_room(machine))["Disk (project)"].status == "fault"


def test_the_named_vgg_weights_are_looked_at(tmp_path: Path) -> None:
    missing = doctor.check_vgg_weights(Machine({}, tmp_path, str(tmp_path / "gone.pth")))
    assert missing[0].status == "fault"
    file = tmp_path / "vgg19.pth"
    file.write_bytes(b"0" * 3_000_000)
    there = doctor.check_vgg_weights(Machine({}, tmp_path, str(file)))
    assert there[0].status == "ok" and "(3 MB)" in there[0].value


def test_long_values_are_wrapped_under_their_column() -> None:
    findings = [
        Finding("Name", "fault", "a " * 60, "mend " * 30),
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
