"""Jittor's environment variables, and the files that they name."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from options.errors import UserError
from runtime import settings
from runtime.cuda import CudaBackend, Driver, Toolkit
from runtime.set_up import prepare
from runtime.settings import openmp_threads, operator_header, python_config, settings_for


def test_settings_of_the_cpu(tmp_path: Path) -> None:
    found = settings_for({"nvcc_path": "/usr/bin/nvcc"}, None, None, tmp_path)
    assert found["nvcc_path"] == ""
    assert found["cache_name"] == "landscape-cpu"
    assert found["use_mpi"] == "0"
    assert found["log_silent"] == "1"
    assert found["use_parallel_op_compiler"] == "1"
    header = operator_header({}, tmp_path)
    assert header.parent.parent == tmp_path
    assert found["kernel_flags"].split() == ["-include", f'"{header}"']
    kept = {"cache_name": "mine", "kernel_flags": "-O1", "log_silent": "0", "OMP_NUM_THREADS": "1"}
    found = settings_for(kept, None, None, tmp_path)
    assert {name: found.get(name, kept[name]) for name in kept} == kept


def test_settings_of_cuda(tmp_path: Path) -> None:
    toolkit = Toolkit(Path("/cuda/bin/nvcc"), (12, 2), (8, 9))
    variables = {"nvcc_path": "/cuda/bin/nvcc", "use_cutt": "0"}
    backend = CudaBackend("cuda12.2", toolkit, Driver((12, 2), ("A100",)), variables)
    found = settings_for({}, backend, None, tmp_path)
    assert found["nvcc_path"] == "/cuda/bin/nvcc"
    assert found["cache_name"] == "landscape-cuda12.2"
    assert found["use_cutt"] == "0"


def test_the_operator_header_is_for_g_plus_plus_on_the_cpu(tmp_path: Path) -> None:
    assert "kernel_flags" not in settings_for({"cc_path": "clang++"}, None, None, tmp_path)
    # as in a child process whose parent has imported Jittor
    inherited = {"cc_path": shutil.which("g++") or "g++"}
    assert "kernel_flags" in settings_for(inherited, None, None, tmp_path)
    for environment in (inherited, {"use_mpi": "1"}):
        assert operator_header({}, tmp_path) == operator_header(environment, tmp_path)
    assert operator_header({}, tmp_path) != operator_header({"cc_flags": "-O1"}, tmp_path)


def test_operators_are_compiled_with_the_compiled_header(tmp_path: Path) -> None:
    include = prepare("cpu").environment.get("kernel_flags", "")
    if "operators.h" not in include:
        pytest.skip("this environment sets its own compiler or kernel_flags")
    import jittor as jt

    (tmp_path / "operator.cc").write_text("#define JIT 1\n#define JIT_cpu 1\njittor::Var* x;\n")
    flags = [word for word in shlex.split(jt.flags.cc_flags) if word != "-shared"]
    # -H marks a used compiled header with !, and an unused one with x
    command = ["g++", *flags, "-g", "-H", "-S", str(tmp_path / "operator.cc"), "-o", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    header = shlex.split(include)[1]
    assert done.stderr.splitlines()[0] == f"! {header}.gch"


def test_mpi_is_used_only_under_mpirun(tmp_path: Path) -> None:
    mpicc = tmp_path / "mpicc"
    mpicc.write_text("#!/bin/sh\n")
    mpicc.chmod(0o755)
    env = {"PATH": str(tmp_path)}
    assert settings_for(env, None, None, tmp_path)["use_mpi"] == "0"
    env["OMPI_COMM_WORLD_SIZE"] = "2"
    assert settings_for(env, None, None, tmp_path)["use_mpi"] == "1"
    with pytest.raises(UserError, match="apt-get install libopenmpi-dev"):
        settings_for({"PATH": "", "OMPI_COMM_WORLD_SIZE": "2"}, None, None, tmp_path)


def test_threads_follow_the_quota_and_the_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(settings, "_processor_quota", lambda: None)
    assert openmp_threads({}) is None
    assert openmp_threads({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}) == 4
    assert openmp_threads({"OMPI_COMM_WORLD_LOCAL_SIZE": "64"}) == 1
    assert openmp_threads({"OMP_NUM_THREADS": "3"}) is None
    monkeypatch.setattr(settings, "_processor_quota", lambda: 2)
    assert openmp_threads({}) == 2
    # bound to its own cores: OpenMP sees only these
    monkeypatch.setattr(settings, "_processor_quota", lambda: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert openmp_threads({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}) is None


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_container_is_read(
    tmp_path: Path, files: dict[str, str], quota: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert settings._processor_quota(tmp_path) == quota


def test_the_replacement_of_python_config_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "isfile", lambda path: False)
    found = python_config({}, tmp_path)
    assert found is not None
    script, text = found
    script.write_text(text)
    script.chmod(0o755)
    answers = [
        subprocess.run([script, flag], capture_output=True, text=True, check=True).stdout.strip()
        for flag in ("--includes", "--extension-suffix")
    ]
    assert answers == [
        f'-I"{sysconfig.get_paths()["include"]}"',
        sysconfig.get_config_var("EXT_SUFFIX"),
    ]
